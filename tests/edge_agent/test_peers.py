"""The other agents of a site, as their births and deaths tell."""

import msgspec
import pytest
from made_site import announcement

from broker.messages import PROTOCOL_VERSION, NodeStatus
from edge_agent.peers import Peers


class Site:
    """Stands for the transport and for the requests, and notes what it is told."""

    def __init__(self) -> None:
        self.connected: set[str] = set()
        self.lost: list[str] = []

    def connect(self, peer: str, endpoint: str, key: str | None, *, takes_mqtt: bool) -> None:
        """A peer is to be reached."""
        self.connected.add(peer)

    def disconnect(self, peer: str) -> None:
        """A peer is to be forgotten."""
        self.connected.discard(peer)

    def lose(self, node: str) -> None:
        """A node has gone."""
        self.lost.append(node)

    def reborn(self, node: str) -> None:
        """A node is there."""


def birth(session: str, *, protocol: int = PROTOCOL_VERSION) -> NodeStatus:
    """What the laptop says at its start."""
    return NodeStatus(
        node="laptop", session=session, state="online", announcement=announcement("laptop", protocol=protocol)
    )


@pytest.mark.parametrize(("protocol", "where"), [(PROTOCOL_VERSION - 1, "there"), (PROTOCOL_VERSION + 1, "here")])
def test_a_node_of_another_protocol_is_not_connected_to(
    protocol: int, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what to update."""
    site = Site()
    peers = Peers("pi", site, site, addresses={})  # type: ignore[arg-type]  # what it needs of the transport is there
    assert not peers.hear(birth("first", protocol=protocol))
    assert site.connected == set()
    assert f"laptop speaks protocol {protocol}, this agent {PROTOCOL_VERSION}" in caplog.text
    assert f"update Splitrail {where}" in caplog.text


def test_a_node_that_comes_back_with_another_protocol_is_let_go() -> None:
    """What was sent to it before would not be understood there; its death, which comes later, changes nothing."""
    site = Site()
    peers = Peers("pi", site, site, addresses={})  # type: ignore[arg-type]  # as above
    assert peers.hear(birth("first"))
    assert site.connected == {"laptop"}
    assert not peers.hear(birth("second", protocol=PROTOCOL_VERSION - 1))
    assert (site.connected, site.lost, len(peers)) == (set(), ["laptop"], 0)
    peers.hear(msgspec.structs.replace(birth("second"), state="offline", announcement=None))
    assert site.lost == ["laptop"]
    assert peers.hear(birth("third"))
    assert site.connected == {"laptop"}
