"""The TCP connections of a tensor transport: how many strangers there are, and what has come in but makes no message.

ZeroMQ bounds frames and complete messages itself; here is what it does not bound: connections, and frames without end.
"""

from dataclasses import dataclass
from typing import Final

from edge_agent.tcp import SUPPORTED, TcpConnection
from edge_agent.wire import MAX_MESSAGE_BYTES

MAX_STRANGERS: Final = 128
MAX_UNREAD_BYTES: Final = MAX_MESSAGE_BYTES + 2**20
MAX_UNREAD_REPLY_BYTES: Final = 2**20
MAX_UNREAD_BYTES_IN_ALL: Final = 2 * MAX_MESSAGE_BYTES


@dataclass(slots=True)
class _Held:
    tcp: TcpConnection
    is_called: bool
    """This node called the other, which sends short replies only."""
    speaker: str | None = None
    """The node that spoke on it, None for a stranger."""
    has_told: bool = False
    """A whole message has come since the last look."""
    counted_bytes: int = 0
    """How much had come in when the last message was whole."""
    unread_bytes: int = 0
    was_over: bool = False


class Connections:
    """Every connection that ZeroMQ holds for a transport, by its descriptor; for one thread.

    At most MAX_STRANGERS have not said anything yet: the one that is silent for longest makes place. What came in since
    the last whole message may be MAX_UNREAD_BYTES (of replies MAX_UNREAD_REPLY_BYTES) on one connection, and
    MAX_UNREAD_BYTES_IN_ALL on all; beyond that, strangers and then the fullest are cut, one at each look.
    """

    def __init__(self) -> None:
        """No connection is there yet."""
        self._held: dict[int, _Held] = {}
        self._was_over_in_all = False
        self.cut = 0
        """How many were cut for these bounds, or because their speaker is not admitted any more."""

    def opened(self, descriptor: int, *, is_called: bool) -> TcpConnection:
        """ZeroMQ has a new connection under this descriptor."""
        # The number may have been another's, whose end was not told.
        self._held.pop(descriptor, None)
        strangers = [held for held in self._held.values() if held.speaker is None and not held.is_called]
        if len(strangers) >= MAX_STRANGERS:
            self._cut(strangers[0])
        tcp = TcpConnection(descriptor)
        self._held[descriptor] = _Held(tcp, is_called)
        return tcp

    def closed(self, descriptor: int) -> None:
        """The connection has ended."""
        self._held.pop(descriptor, None)

    def took(self, descriptor: int) -> None:
        """A whole message has come."""
        held = self._held.get(descriptor)
        if held is not None:
            held.has_told = True

    def spoke(self, descriptor: int, speaker: str) -> None:
        """What has come is a message of `speaker`, who is no stranger any more."""
        held = self._held.get(descriptor)
        if held is not None:
            held.speaker = speaker

    def refuse(self, descriptor: int) -> None:
        """Cut a connection whose speaker is not who it claims to be, or is not admitted any more."""
        held = self._held.get(descriptor)
        if held is not None:
            self._cut(held)

    def dismiss(self, speaker: str) -> None:
        """Cut every connection on which `speaker` called this node."""
        for held in [held for held in self._held.values() if held.speaker == speaker and not held.is_called]:
            self._cut(held)

    def look(self) -> None:
        """Cut what is too large, now and at the look before; to be called after the messages were taken."""
        if not SUPPORTED:
            return
        for descriptor, held in list(self._held.items()):
            received = held.tcp.received_bytes()
            if received is None:
                self._held.pop(descriptor)
                continue
            if held.has_told:
                held.counted_bytes, held.has_told = received, False
            held.unread_bytes = received - held.counted_bytes
            is_over = held.unread_bytes > (MAX_UNREAD_REPLY_BYTES if held.is_called else MAX_UNREAD_BYTES)
            # Once may be this process's own pause, in which nothing was taken.
            if is_over and held.was_over:
                self._cut(held)
            held.was_over = is_over
        is_over = sum(held.unread_bytes for held in self._held.values()) > MAX_UNREAD_BYTES_IN_ALL
        if is_over and self._was_over_in_all:
            self._cut(max(self._held.values(), key=lambda held: (held.speaker is None, held.unread_bytes)))
        self._was_over_in_all = is_over

    def _cut(self, held: _Held) -> None:
        held.tcp.cut()
        self._held.pop(held.tcp.descriptor, None)
        self.cut += 1
