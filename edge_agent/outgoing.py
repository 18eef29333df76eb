"""What a transport sends: taken from any thread within bounds, sent by the one that owns the sockets, line by line.

What comes back is `edge_agent.transport`'s concern; what a line owes is `edge_agent.lines`'.
"""

import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from edge_agent.errors import SendError
from edge_agent.lines import InFlight, Line, ReplyKey, Settled
from edge_agent.looks import Look, Messages
from edge_agent.sockets import TensorSockets
from edge_agent.wire import Ping, encode

MAX_OWED_MESSAGES: Final = 256
MAX_OWED_BYTES: Final = 256 * 2**20
MAX_OWED_BYTES_IN_ALL: Final = 512 * 2**20
MAX_QUEUED_COMMANDS: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Connect:
    peer: str
    endpoint: str
    key: str | None


@dataclass(frozen=True, slots=True)
class _Disconnect:
    peer: str


@dataclass(frozen=True, slots=True)
class _Send:
    peer: str
    messages: Messages


@dataclass(frozen=True, slots=True)
class _Pace:
    peer: str


_Command: TypeAlias = _Connect | _Disconnect | _Send | _Pace


class Outgoing:
    """The lines to all peers and what waits for the sockets' thread, which calls `carry_out` and `look_after`.

    To one peer at most MAX_OWED_MESSAGES of MAX_OWED_BYTES are under way, to all MAX_OWED_BYTES_IN_ALL, and at most
    MAX_QUEUED_COMMANDS wait for the thread: what comes beyond that is a SendError. One message alone may be larger.
    """

    def __init__(self, sockets: TensorSockets) -> None:
        """Send by these sockets; nobody is connected to yet."""
        self._sockets = sockets
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}
        self._endpoints: dict[str, tuple[str, str | None]] = {}
        self._looking: set[str] = set()
        self._commands: deque[_Command] = deque()
        self._is_closed = False
        self._tokens = itertools.count(1)
        self.undelivered = 0
        """How many messages were given up when their line went silent or was closed, or overtaken by a later reply."""

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that are connected to, reachable or not."""
        with self._lock:
            return tuple(self._endpoints)

    def close(self) -> bool:
        """Take nothing any more; False if it was closed before."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            return not was_closed

    def wake(self) -> None:
        """Let the sockets' thread look at what is to be sent; does nothing after `close`."""
        with self._lock:
            if not self._is_closed:
                self._sockets.wake()

    def connect(self, peer: str, endpoint: str, key: str | None) -> None:
        """Reach `peer` there under this key; another endpoint or key takes the place of the one before."""
        with self._lock:
            before = self._endpoints.get(peer)
            if self._is_closed or before == (endpoint, key):
                return
            if before is not None and before[1] != key:
                self._commands.append(_Disconnect(peer))
            self._endpoints[peer] = (endpoint, key)
            self._replace_line(peer)
            self._commands.append(_Connect(peer, endpoint, key))

    def disconnect(self, peer: str) -> None:
        """Forget `peer`; what is under way to it is given up."""
        with self._lock:
            if self._endpoints.pop(peer, None) is not None:
                self.undelivered += self._lines.pop(peer).owed
                self._looking.discard(peer)
                self._commands.append(_Disconnect(peer))

    def pace(self, peer: str, mbps: float | None) -> bool:
        """Hold the line to `peer` to this rate in Mbit/s, or to none; whether that is another one than before."""
        with self._lock:
            line = self._lines.get(peer)
            if line is None or line.pace_mbps == mbps:
                return False
            line.pace(mbps)
            self._commands.append(_Pace(peer))
            return True

    def token(self) -> int:
        """A token for a ping or a probe, no other's."""
        return next(self._tokens)

    def submit(self, peer: str, messages: Messages, key: ReplyKey | None) -> None:
        """Send these to `peer`, and expect a reply under `key` if there is one; SendError beyond the bounds."""
        size_bytes = _size_bytes(messages)
        with self._lock:
            line = self._line(peer)
            full = line.owed >= MAX_OWED_MESSAGES or (line.owed and line.owed_bytes + size_bytes > MAX_OWED_BYTES)
            owed_bytes = sum(each.owed_bytes for each in self._lines.values())
            full = full or (owed_bytes and owed_bytes + size_bytes > MAX_OWED_BYTES_IN_ALL)
            queue: list[Messages] | deque[_Command] = line.look.held if line.look else self._commands
            if full or len(queue) >= MAX_QUEUED_COMMANDS:
                raise SendError(peer, f"its queue is full ({line.owed} messages, {line.owed_bytes} bytes under way)")
            if key is not None:
                line.send(key, size_bytes, time.monotonic_ns())
            if line.look:
                line.look.held.append(messages)
            else:
                self._commands.append(_Send(peer, messages))

    def probe(self, peer: str, messages: Messages, token: int) -> None:
        """Send a probe; on a paced line it takes a place in its order, and the sockets' thread does the rest.

        SendError as for `submit`.
        """
        with self._lock:
            line = self._line(peer)
            if line.look is not None:
                return
            if line.pace_mbps is not None:
                at_ns, ping = time.monotonic_ns(), self.token()
                line.look = Look(ping, token, messages)
                line.send(ping, _size_bytes([encode(Ping(ping))]), at_ns)
                line.send(token, _size_bytes(messages), at_ns)
                self._looking.add(peer)
                return
        self.submit(peer, messages, token)

    def in_flight(self, peer: str) -> InFlight | None:
        """The oldest message to `peer` that awaits its reply; None where the line is idle or the peer unknown."""
        with self._lock:
            line = self._lines.get(peer)
            return line.in_flight(time.monotonic_ns()) if line else None

    def settle(self, peer: str, key: ReplyKey, at_ns: int) -> Settled | None:
        """A reply has come from `peer`; None if none is owed under `key`."""
        with self._lock:
            line = self._lines.get(peer)
            settled = line.settle(key, at_ns) if line else None
            self.undelivered += settled.lost if settled else 0
            return settled

    def carry_out(self) -> None:
        """Do what has been asked for since; for the sockets' thread."""
        while self._commands:
            match self._commands.popleft():
                case _Connect(peer, endpoint, key):
                    self._sockets.open(peer, endpoint, key)
                    self._sockets.admission_changed()
                case _Disconnect(peer):
                    self._sockets.shut(peer)
                    self._sockets.dismiss(peer)
                case _Send(peer, messages):
                    self._transmit(peer, messages)
                case _Pace(peer):
                    with self._lock:
                        line = self._lines.get(peer)
                        if line is not None and (line.look is None or line.look.step == "draining"):
                            self._hold_to_pace(peer, line)
        if self._looking:
            self._advance_looks()

    def look_after(self) -> list[str]:
        """Make silent lines anew; the peers that should be asked for a sign of life. For the sockets' thread."""
        at_ns = time.monotonic_ns()
        with self._lock:
            for peer, line in list(self._lines.items()):
                if line.is_silent(at_ns):
                    self._replace_line(peer)
                    self._commands.append(_Connect(peer, *self._endpoints[peer]))
            quiet = [peer for peer, line in self._lines.items() if line.wants_heartbeat(at_ns)]
            for peer in quiet:
                line = self._lines[peer]
                if line.look is not None:
                    self._end_look(peer, line, line.look)  # a sign of life must not wait behind it
        return quiet

    def _line(self, peer: str) -> Line:
        line = self._lines.get(peer)
        if self._is_closed or line is None:
            raise SendError(peer, "the transport is closed" if self._is_closed else "no such peer is connected")
        return line

    def _replace_line(self, peer: str) -> None:
        old = self._lines.get(peer)
        self.undelivered += old.owed if old else 0
        self._looking.discard(peer)
        self._lines[peer] = Line(time.monotonic_ns(), old.pace_mbps if old else None)
        self._commands.append(_Pace(peer))

    def _advance_looks(self) -> None:
        at_ns = time.monotonic_ns()
        with self._lock:
            for peer in tuple(self._looking):
                line = self._lines[peer]
                look = line.look
                if look is None:
                    self._looking.discard(peer)
                elif look.step == "draining" and line.is_next(look.ping):
                    self._sockets.pace(peer, None)
                    line.sent_late(look.ping, at_ns)
                    look.goes_on("pinging", at_ns)
                    self._transmit(peer, [encode(Ping(look.ping))])
                elif look.step == "pinging" and line.is_next(look.probe):
                    line.sent_late(look.probe, at_ns)
                    look.goes_on("probing", at_ns)
                    self._transmit(peer, look.messages)
                elif (look.step == "probing" and not line.awaits(look.probe)) or look.is_overdue(at_ns):
                    self._end_look(peer, line, look)

    def _end_look(self, peer: str, line: Line, look: Look) -> None:
        """Hold the line to its pace again, and send what was held back; what of the look was not sent is forgotten."""
        line.look = None
        self._looking.discard(peer)
        if look.step == "draining":
            line.forget(look.ping)
        if look.step != "probing":
            line.forget(look.probe)
        self._hold_to_pace(peer, line)
        for messages in look.held:
            self._transmit(peer, messages)

    def _hold_to_pace(self, peer: str, line: Line) -> None:
        self._sockets.pace(peer, None if line.pace_mbps is None else line.pace_mbps * 1e6 / 8)

    def _transmit(self, peer: str, messages: Messages) -> None:
        for frames in messages:
            self._sockets.send(peer, frames)


def _size_bytes(messages: Messages) -> int:
    return sum(len(frame) for frames in messages for frame in frames)
