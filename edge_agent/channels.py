"""A connected TCP socket that never waits, open or under TLS: bytes go out and come in as far as the kernel has room.

What is sent on it is `edge_agent.connection`'s, whom it is trusted to reach `edge_agent.handshakes`'.
"""

import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, Protocol

from edge_agent import tcp
from edge_agent.wire_tensors import Frame

_RECORD_BYTES: Final = 16_384  # at most, of plain bytes (RFC 8446, 5.1): as much as one call of OpenSSL takes or gives
_JOINED_BYTES: Final = 65_536  # up to this, a message under TLS is joined: one record in place of one for each frame

_WANTS: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

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
    def piece_bytes(self) -> int:
        """Of a large message, so much at once is worth being woken for."""

    @property
    def has_pending(self) -> bool:
        """Whether something is there to be received that no poll of the socket tells of."""

    def fill(self, memory: memoryview) -> int | None:
        """Receive into `memory`; how much, or None if nothing is there now. OSError at the end."""

    def send(self, frames: Sequence[Frame]) -> int:
        """Send the beginning of these; how many bytes went. OSError if the connection has ended."""


class PlainChannel:
    """A bare socket."""

    piece_bytes: Final = 262_144

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

    piece_bytes: Final = 131_072  # while the other end encrypts one, this end decrypts the one before

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
        """Receive record after record, up to one that is not full: what was sent at once ends there."""
        size_bytes = len(memory)
        received = 0
        receive_into, turn = self._secured.recv_into, self._turn
        try:
            while received < size_bytes:
                with turn:
                    count = receive_into(memory[received:])
                if not count:
                    raise ConnectionResetError("the other end has closed the connection")
                received += count
                if count < _RECORD_BYTES:
                    break
        except _WANTS:
            return received or None
        except OSError:
            if not received:
                raise  # else the next call tells: what came before the end counts
        return received

    def send(self, frames: Sequence[Frame]) -> int:
        """Send record after record. What was refused must be the beginning of what is sent next."""
        size_bytes = sum(map(len, frames))
        if len(frames) > 1 and size_bytes <= _JOINED_BYTES:
            frames = (b"".join(frames),)
        if size_bytes <= _RECORD_BYTES:
            return self._send(frames)
        tcp.hold_back(self.socket, True)
        try:
            return self._send(frames)
        finally:
            tcp.hold_back(self.socket, False)

    def _send(self, frames: Sequence[Frame]) -> int:
        sent = 0
        send, turn = self._secured.send, self._turn
        with suppress(*_WANTS):
            for frame in frames:
                rest = memoryview(frame)
                while rest:
                    with turn:
                        count = send(rest)
                    sent += count
                    rest = rest[count:]
        return sent
