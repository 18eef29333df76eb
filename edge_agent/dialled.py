"""A peer that this node calls: where it is, the connection to it, which comes and goes, and what waits for that.

When it is called is `edge_agent.dialling`'s concern.
"""

import socket
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from edge_agent import tcp
from edge_agent.connection import Connection, Phase
from edge_agent.wire_tensors import Frame

MAX_QUEUED_MESSAGES: Final = 1_000

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0

Address = tuple[int, tuple[object, ...]]
"""A family of addresses, and one of them as `socket` has it."""


class Dialled:
    """One peer. What is sent goes out once it has welcomed this node on a connection, held to its pace before."""

    def __init__(self, peer: str, endpoint: str) -> None:
        """Call `peer` at `tcp://host:port`."""
        self.peer, self.endpoint = peer, endpoint
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._waiting: deque[Frame] = deque()
        self._addresses: deque[Address] = deque()
        self._bytes_per_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._due_s: float | None = 0.0
        self._is_forgotten = False
        self.is_ready = False
        self.has_complained = False
        """It was said in the log that it cannot be called, and it could not be since."""

    def begin(self, at_s: float) -> bool:
        """Whether it is to be called now; the caller then does so, and nobody else."""
        with self._lock:
            if self._is_forgotten or self._due_s is None or at_s < self._due_s:
                return False
            self._due_s = None
            return True

    def address(self) -> Address | None:
        """The next address to try; None if they have to be found out first."""
        with self._lock:
            if not self._addresses:
                self._addresses.extend(_numeric(self.endpoint))
            return self._addresses.popleft() if self._addresses else None

    def found(self, addresses: Iterable[Address]) -> None:
        """Its name stands for these addresses now."""
        with self._lock:
            self._addresses.extend(addresses)

    def failed(self, at_s: float) -> float:
        """It cannot be reached; when to try again."""
        with self._lock:
            return self._put_off(at_s)

    def called(self, connection: Connection) -> bool:
        """A connection is being made; False if nobody wants it any more."""
        with self._lock:
            if self._is_forgotten:
                return False
            self._connection = connection
            return True

    def connected(self, connection: Connection) -> None:
        """It is there, but has nobody's word yet."""
        with self._lock:
            if self._bytes_per_s is not None:
                tcp.pace(connection.channel.socket, self._bytes_per_s)

    def welcomed(self, connection: Connection) -> None:
        """The peer takes messages on it: what waited goes out, in order."""
        with self._lock:
            if self._connection is not connection:
                return
            self.is_ready, self.has_complained, self._pause_s = True, False, _FIRST_PAUSE_S
            self._addresses.clear()
            while self._waiting and connection.send((self._waiting[0],)):
                self._waiting.popleft()

    def lost(self, connection: Connection, unsent: Sequence[Frame], at_s: float) -> float | None:
        """The connection has ended; when to call again, or None if another one has taken its place."""
        with self._lock:
            if self._connection is not connection:
                return None
            self._connection, self.is_ready = None, False
            self._waiting.extendleft(reversed(unsent))
            return self._put_off(at_s)

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send a message, or keep a copy of it; False if it found no room."""
        with self._lock:
            if self.is_ready and self._connection is not None and not self._waiting:
                if self._connection.send(frames):
                    return True
                if not self._connection.has_ended:
                    return False
            if self._is_forgotten or len(self._waiting) >= MAX_QUEUED_MESSAGES:
                return False
            self._waiting.append(b"".join(frames))
            return True

    def withdraw(self) -> list[Frame]:
        """Take back what waits for a connection, in order."""
        with self._lock:
            waiting: list[Frame] = [] if self.is_ready else list(self._waiting)
            if waiting:
                self._waiting.clear()
            return waiting

    def pace(self, bytes_per_s: float | None) -> None:
        """Send no faster than this."""
        with self._lock:
            self._bytes_per_s = bytes_per_s
            if self._connection is not None and self._connection.phase is not Phase.CONNECTING:
                tcp.pace(self._connection.channel.socket, bytes_per_s)

    def forget(self) -> Connection | None:
        """Nobody wants it any more: what waits is dropped; the connection that is to be ended."""
        with self._lock:
            self._is_forgotten = True
            self._waiting.clear()
            connection, self._connection = self._connection, None
            self.is_ready = False
            return connection

    def _put_off(self, at_s: float) -> float:
        if self._addresses:
            self._due_s = at_s  # another address of it may do
        else:
            self._due_s = at_s + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return self._due_s


def resolved(endpoint: str) -> list[Address]:
    """The addresses of `tcp://host:port`; waits for an answer of the name service. OSError if there is none."""
    return _addresses(endpoint, socket.AI_ADDRCONFIG)


def _numeric(endpoint: str) -> list[Address]:
    try:
        return _addresses(endpoint, socket.AI_NUMERICHOST)
    except OSError:
        return []


def _addresses(endpoint: str, flags: int) -> list[Address]:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
