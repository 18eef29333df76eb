"""The seam beneath a transport's lines: whatever carries messages to a peer and brings what comes from there.

TCP is one way (`edge_agent.dialling`). Another one beside it is a `Way` too, gives what arrives to the same `Incoming`,
and may decide by `Dialler.is_ready` when to take which.
"""

from collections.abc import Sequence
from typing import Protocol

from edge_agent.stream import TensorMemory
from edge_agent.wire import WireMessage
from edge_agent.wire_tensors import Frame


class Way(Protocol):
    """Carries messages to peers; its methods may be called from any thread and never wait for a peer."""

    def open(self, peer: str, endpoint: str) -> None:
        """Reach `peer` at `endpoint`, in place of an earlier connection to it."""

    def shut(self, peer: str) -> None:
        """Forget `peer`: drop what waits for it, and take nothing more from it."""

    def pace(self, peer: str, bytes_per_s: float | None) -> None:
        """Send to `peer` no faster than this from now on, on later connections too; None lifts that."""

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Send one message, behind those before it, now or when the peer is reached.

        The memory of the frames may change once this returns: what has not gone was copied.
        """


class Caller(Protocol):
    """Who sent a message here, on the way on which it came."""

    def reply(self, message: WireMessage) -> None:
        """Answer it; nothing happens if it has gone or takes no replies."""


class Incoming(TensorMemory, Protocol):
    """Who takes what comes, on the thread that received it; it raises nothing."""

    def take(self, caller: Caller, src: str, message: WireMessage, at_ns: int) -> bool:
        """A message of the node `src`, stamped when it was whole; False if none of its kind may come from there."""

    def take_reply(self, peer: str, message: WireMessage, at_ns: int) -> bool:
        """An answer of a peer to something that was sent to it; False if it is none."""

    def attend(self) -> None:
        """Some time has passed: called several times a second, by one thread at a time."""
