"""One TCP connection of a transport: what waits to be sent on it, what comes in, and when the poll shall tell of it.

What its messages mean is `edge_agent.sockets`'; how many there may be is `edge_agent.connections`'.
"""

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import Final

from edge_agent.channels import Channel, PlainChannel
from edge_agent.stream import MessageReader
from edge_agent.wire import WireMessage, encode
from edge_agent.wire_tensors import Frame

MAX_WAITING_MESSAGES: Final = 1_000

_READ: Final = select.EPOLLIN
_WRITE: Final = select.EPOLLOUT
_RECORD_BYTES: Final = 17_408  # as much may be with TLS already, which waits for the rest of a record


class Phase(Enum):
    """How far a connection has come."""

    CONNECTING = "connecting"
    SECURING = "securing"
    GREETING = "greeting"
    """A Hello, or the Welcome to it, is awaited."""
    OPEN = "open"


class _Rest:
    """What the kernel did not take of one message."""

    __slots__ = ("is_whole", "view")

    def __init__(self, view: memoryview, *, is_whole: bool) -> None:
        self.view, self.is_whole = view, is_whole


class Connection:
    """One connection. One thread at a time reads it, having claimed that; any thread sends.

    Whoever opens it has claimed it until `watch`. The poll tells of it once, and then again only when it is armed anew.
    """

    def __init__(self, connected: socket.socket, poll: "select.epoll", *, peer: str | None) -> None:
        """A socket that does not block, called to reach `peer`; None where the other end called."""
        self.peer = peer
        self.speaker: str | None = None
        """The node that called, once it has said who it is and was believed."""
        self.phase = Phase.SECURING if peer is None else Phase.CONNECTING
        self.reader: MessageReader | None = None
        self.descriptor = connected.fileno()
        self.channel: Channel = PlainChannel(connected)
        self.sent_bytes = 0
        self.dropped = 0
        """How many messages found too many others waiting."""
        self._poll = poll
        self._lock = threading.Lock()
        self._rest: deque[_Rest] = deque()
        self._is_claimed = True  # its number was another's: what the poll told of that one is nothing to read here
        self._awaits_room = peer is not None
        self._is_broken = False
        self._least_bytes = 1
        self.is_over = False
        """It was cut, or has ended: nothing more comes or goes."""
        self.since_s = time.monotonic()
        """When the step of its opening began that is not done yet."""

    def watch(self) -> None:
        """Have the poll tell of it from now on: any thread may read it. One that is over already is closed."""
        with self._lock:
            self._is_claimed = False
            if self.is_over:
                self._close()
            else:
                self._poll.register(self.descriptor, self._interest() | select.EPOLLONESHOT)

    def begin(self, phase: Phase) -> None:
        """The next step of its opening begins."""
        self.phase, self.since_s = phase, time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can be sent on it."""
        return self._is_broken

    def claim(self) -> bool:
        """Read it from now on; False if another thread does, or if it is over."""
        with self._lock:
            if self._is_claimed or self.is_over:
                return False
            self._is_claimed = True
            if self._rest:
                self._arm()
            return True

    def release(self) -> None:
        """Read it no more: the poll may tell of it again."""
        with self._lock:
            self._is_claimed = False
            if self.is_over:
                self._close()
            else:
                self._arm()

    def expect(self, missing_bytes: int) -> None:
        """Of the message that comes in, so much is missing: the poll need not tell of every piece of it."""
        least = max(1, min(missing_bytes - _RECORD_BYTES, self.channel.piece_bytes))
        if least != self._least_bytes:
            self._least_bytes = least
            with suppress(OSError):
                self.channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def await_room(self, wanted: bool) -> None:
        """Whether the poll shall tell when it can be written to, though nothing waits."""
        self._awaits_room = wanted

    def reply(self, message: WireMessage) -> None:
        """Send a message, if it is not over."""
        self.send(encode(message))

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send a message behind those that wait; False if there are too many, or if it has ended."""
        with self._lock:
            if self.is_over or self._is_broken:
                return False
            size_bytes = sum(map(len, frames))
            if self._rest:
                if len(self._rest) >= MAX_WAITING_MESSAGES:
                    self.dropped += 1
                    return False
                self.sent_bytes += size_bytes
                self._rest.append(_Rest(memoryview(b"".join(frames)), is_whole=True))
                return True
            try:
                sent = self.channel.send(frames)
            except OSError:
                self._break()
                return False
            self.sent_bytes += size_bytes
            if sent < size_bytes:
                self._rest.append(_Rest(_copied(frames, sent), is_whole=sent == 0))
                self._arm()
            return True

    def flush(self) -> None:
        """The kernel has room: send what waits."""
        with self._lock:
            while self._rest and not self._is_broken and not self.is_over:
                rest = self._rest[0]
                try:
                    count = self.channel.send((rest.view,))
                except OSError:
                    self._break()
                    return
                if count < len(rest.view):
                    if count:
                        rest.view, rest.is_whole = rest.view[count:], False
                    self._arm()
                    return
                self._rest.popleft()

    def cut(self) -> list[Frame]:
        """End it in both directions; the messages of which nothing was sent."""
        with self._lock:
            if not self.is_over:
                self.is_over = True
                self._break()
                # Whoever reads it closes it then: a number that is in use must not be given to another connection.
                if not self._is_claimed:
                    self._close()
            unsent: list[Frame] = [rest.view for rest in self._rest if rest.is_whole]
            self._rest.clear()
            return unsent

    def _break(self) -> None:
        """End it; who reads it learns of that."""
        self._is_broken = True
        with suppress(OSError):
            # Past TLS, which would take what is still to be read for open bytes.
            socket.socket.shutdown(self.channel.socket, socket.SHUT_RDWR)

    def _close(self) -> None:
        # Closing takes it out of the poll as well.
        self.channel.socket.close()
        if self.reader is not None:
            self.reader.drop()

    def _interest(self) -> int:
        wanted = 0 if self._is_claimed or self.phase is Phase.CONNECTING else _READ
        return wanted | (_WRITE if self._rest or self._awaits_room else 0)

    def _arm(self) -> None:
        wanted = self._interest()
        if wanted:
            self._poll.modify(self.descriptor, wanted | select.EPOLLONESHOT)


def _copied(frames: Sequence[Frame], sent: int) -> memoryview:
    """What follows the first `sent` bytes of these frames."""
    left = []
    for frame in frames:
        if sent < len(frame):
            left.append(memoryview(frame)[sent:])
        sent = max(sent - len(frame), 0)
    return memoryview(b"".join(left))
