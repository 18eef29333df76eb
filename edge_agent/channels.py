"""A connected TCP socket that never waits, open or under TLS: bytes go out and come in as far as the kernel has room.

What is sent on it is `edge_agent.connection`'s, whom it is trusted to reach `edge_agent.handshakes`'.
"""

import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Final, Literal, Protocol

from edge_agent.wire_tensors import Frame

_JOINED_BYTES: Final = 65_536  # up to this, a message under TLS is joined: one record in place of one for each frame

Step = Literal["done", "reads", "writes"]


class Channel(Protocol):
    """Both directions of a connection; reading is for one thread at a time, and so is writing."""

    @property
    def socket(self) -> socket.socket:
        """What is beneath, to be waited for."""

    def handshake(self) -> Step:
        """Go on with making it secret; what it waits for, if that is not done. OSError if the other end refuses."""

    def certificate(self) -> bytes | None:
        """The other end's, as DER; None where it has none."""

    @property
    def has_pending(self) -> bool:
        """Whether something is there to be received that no poll of the socket tells of."""

    def fill(self, memory: memoryview) -> int | None:
        """Receive into `memory`; how much, or None if nothing is there now. OSError at the end."""

    def send(self, frames: Sequence[Frame]) -> int:
        """Send the beginning of these; how many bytes went. OSError if the connection has ended."""


class PlainChannel:
    """A bare socket."""

    def __init__(self, connected: socket.socket) -> None:
        """Speak over this socket, which does not block."""
        self.socket = connected
        self._receive_into, self._send = connected.recv_into, connected.sendmsg

    def handshake(self) -> Step:
        """There is none."""
        return "done"

    def certificate(self) -> bytes | None:
        """There is none."""
        return None

    @property
    def has_pending(self) -> bool:
        """Never."""
        return False

    def fill(self, memory: memoryview) -> int | None:
        """Receive what is there."""
        try:
            count = self._receive_into(memory)
        except BlockingIOError:
            return None
        if not count:
            raise ConnectionResetError("the other end has closed the connection")
        return count

    def send(self, frames: Sequence[Frame]) -> int:
        """Send in one call what the kernel takes."""
        try:
            return self._send(frames)
        except BlockingIOError:
            return 0


class SecureChannel:
    """A socket under TLS, whose state both directions share: so they take turns, and neither waits within its turn."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        """Speak over this socket, which does not block and has not shaken hands yet."""
        self.socket = secured
        self._secured = secured
        self._turn = threading.Lock()

    def handshake(self) -> Step:
        """Go on with it."""
        try:
            with self._turn:
                self._secured.do_handshake()
        except ssl.SSLWantReadError:
            return "reads"
        except ssl.SSLWantWriteError:
            return "writes"
        return "done"

    def certificate(self) -> bytes | None:
        """The one by which the other end has proved itself."""
        return self._secured.getpeercert(binary_form=True)

    @property
    def has_pending(self) -> bool:
        """The rest of a record."""
        with self._turn:
            return self._secured.pending() > 0

    def fill(self, memory: memoryview) -> int | None:
        """Receive one record at most."""
        try:
            with self._turn:
                count = self._secured.recv_into(memory)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not count:
            raise ConnectionResetError("the other end has closed the connection")
        return count

    def send(self, frames: Sequence[Frame]) -> int:
        """Send record after record. What was refused must be the beginning of what is sent next."""
        if len(frames) > 1 and sum(map(len, frames)) <= _JOINED_BYTES:
            frames = (b"".join(frames),)
        sent = 0
        for frame in frames:
            rest = memoryview(frame)
            while rest:
                try:
                    with self._turn:
                        count = self._secured.send(rest)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    return sent
                sent += count
                rest = rest[count:]
        return sent
