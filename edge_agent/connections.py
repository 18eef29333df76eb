"""Every TCP connection of a transport, and the bounds on them: strangers, unfinished messages, and who was sent away.

What one connection does is `edge_agent.connection`'s.
"""

import threading
from dataclasses import dataclass
from typing import Final

from edge_agent.connection import Connection, Phase
from edge_agent.errors import WireError
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES, Frame

HANDSHAKE_S: Final = 5.0  # on the thinnest link of 0.05 Mbit/s a handshake of 4 KB takes 0.7 s and some round trips
MAX_STRANGERS: Final = 128
MAX_UNDER_WAY_BYTES: Final = 2 * MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class Passed:
    """Bytes that went over connections, all together."""

    sent_bytes: int
    received_bytes: int
    dropped: int


class Connections:
    """The connections by their descriptors; may be used by several threads.

    At most MAX_STRANGERS have not said who they are yet: the one of longest standing makes place, and each has to
    do so within HANDSHAKE_S. Messages that are under way here may have MAX_UNDER_WAY_BYTES together; beyond that, the
    connection with the largest is cut.
    """

    def __init__(self) -> None:
        """No connection is there yet."""
        self._lock = threading.Lock()
        self._held: dict[int, Connection] = {}
        self._gone = Passed(0, 0, 0)
        self.cut = 0
        """How many were cut for these bounds, or because their speaker is not admitted any more."""

    def get(self, descriptor: int) -> Connection | None:
        """The connection that has this descriptor now."""
        return self._held.get(descriptor)

    @property
    def passed(self) -> Passed:
        """What went over all connections, those that have ended too."""
        with self._lock:
            held, gone = list(self._held.values()), self._gone
        return Passed(
            gone.sent_bytes + sum(each.sent_bytes for each in held),
            gone.received_bytes + sum(each.reader.received_bytes for each in held if each.reader is not None),
            gone.dropped + sum(each.dropped for each in held),
        )

    def opened(self, connection: Connection) -> None:
        """A connection is there now; one that had its number has ended."""
        old = self._held.get(connection.descriptor)
        if old is not None:
            self.ended(old)
        with self._lock:
            self._held[connection.descriptor] = connection
            strangers = [each for each in self._held.values() if _is_strange(each)]
        if len(strangers) > MAX_STRANGERS:
            self.refuse(strangers[0])

    def ended(self, connection: Connection) -> list[Frame]:
        """Forget a connection, and end it if it has not; the messages of which nothing was sent."""
        unsent = connection.cut()
        with self._lock:
            if self._held.get(connection.descriptor) is connection:
                del self._held[connection.descriptor]
                gone, reader = self._gone, connection.reader
                self._gone = Passed(
                    gone.sent_bytes + connection.sent_bytes,
                    gone.received_bytes + (reader.received_bytes if reader is not None else 0),
                    gone.dropped + connection.dropped,
                )
        return unsent

    def refuse(self, connection: Connection) -> None:
        """Cut a connection for what it does, or for who speaks on it."""
        with self._lock:
            is_new = not connection.is_over
            self.cut += is_new
        self.ended(connection)

    def dismiss(self, speaker: str) -> None:
        """Cut every connection on which `speaker` called this node."""
        with self._lock:
            theirs = [each for each in self._held.values() if each.speaker == speaker]
        for each in theirs:
            self.refuse(each)

    def reserve(self, newcomer: Connection, size_bytes: int) -> None:
        """A message of this size begins on `newcomer`; WireError if that one was cut for it."""
        with self._lock:
            sizes = {
                each: each.reader.under_way_bytes
                for each in self._held.values()
                if each.reader is not None and each.reader.under_way_bytes
            }
        sizes[newcomer] = size_bytes
        while sum(sizes.values()) > MAX_UNDER_WAY_BYTES:
            largest = max(sizes, key=lambda each: sizes[each])
            del sizes[largest]
            self.refuse(largest)
        if newcomer.is_over:
            raise WireError(f"a message of {size_bytes} bytes beside others that are under way")

    def overdue(self, at_s: float) -> list[Connection]:
        """Those that take too long to be made, or to say who is there."""
        with self._lock:
            held = list(self._held.values())
        return [each for each in held if each.phase is not Phase.OPEN and at_s - each.since_s > HANDSHAKE_S]

    def close(self) -> None:
        """End them all."""
        for each in list(self._held.values()):
            self.ended(each)


def _is_strange(connection: Connection) -> bool:
    return connection.peer is None and connection.speaker is None
