"""The other agents of the site, as their births and deaths tell: each is connected to, and its requests are told of it.

What a node says of itself is `edge_agent.announcing`'s.
"""

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from broker.messages import PROTOCOL_VERSION, NodeStatus, PowerModel
from edge_agent.errors import TransportError
from edge_agent.transport import Transport

log = logging.getLogger("splitrail.agent")

MOST_PEERS: Final = 256  # as many nodes as a coordinator plans with


class Requests(Protocol):
    """Whose requests hang on the other nodes."""

    def lose(self, node: str) -> None:
        """A node has gone, or has begun anew and forgotten what it had."""

    def reborn(self, node: str) -> None:
        """A node is there."""


class Peers:
    """The nodes that are online, but this one; `hear` is for one thread, the rest for any.

    `addresses` are to be used for named nodes instead of those that they announce.
    """

    def __init__(self, node: str, transport: Transport, requests: Requests, *, addresses: Mapping[str, str]) -> None:
        self._node = node
        self._transport = transport
        self._requests = requests
        self._addresses = addresses
        self._known: dict[str, NodeStatus] = {}

    def __len__(self) -> int:
        return len(self._known)

    def hear(self, status: NodeStatus) -> bool:
        """Follow a birth or a death; whether a run of a node has begun that was not known."""
        if status.node == self._node:
            return False
        known = self._known.get(status.node)
        if status.state == "offline":
            if known is not None and known.session == status.session:
                self._forget(status.node)
            return False
        if status.announcement is None:
            return False
        if status.announcement.protocol != PROTOCOL_VERSION:
            spoken = status.announcement.protocol
            older = "there" if spoken < PROTOCOL_VERSION else "here"
            log.warning(
                "%s speaks protocol %d, this agent %d, so no tensors go there: update Splitrail %s",
                status.node,
                spoken,
                PROTOCOL_VERSION,
                older,
            )
            self._forget(status.node)
            return False
        if known is None and len(self._known) >= MOST_PEERS:
            log.warning("%s is ignored: %d nodes are known already", status.node, MOST_PEERS)
            return False
        self._known[status.node] = status
        try:
            self._transport.connect(
                status.node,
                self._addresses.get(status.node, status.announcement.endpoint),
                status.announcement.tensor_key,
                takes_mqtt=status.announcement.fallback == "mqtt",
            )
        except TransportError as error:
            self._transport.disconnect(status.node)
            if known is None or known.announcement != status.announcement:
                log.warning("%s cannot be reached: %s", status.node, error)
        if known is not None and known.session != status.session:
            self._requests.lose(status.node)
        self._requests.reborn(status.node)
        return known is None or known.session != status.session

    def powers(self) -> dict[str, PowerModel]:
        """The power model of each."""
        return {
            node: status.announcement.power
            for node, status in list(self._known.items())
            if status.announcement is not None
        }

    def emulated(self) -> frozenset[str]:
        """Those that are emulated."""
        return frozenset(
            node
            for node, status in list(self._known.items())
            if status.announcement is not None and status.announcement.emulated is not None
        )

    def _forget(self, node: str) -> None:
        if self._known.pop(node, None) is not None:
            self._transport.disconnect(node)
            self._requests.lose(node)
