"""What a transport sends: by any thread, at once and within bounds, line by line.

What comes back is `edge_agent.transport`'s concern; what a line owes is `edge_agent.lines`'.
"""

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Final

from edge_agent.errors import SendError
from edge_agent.lines import InFlight, Line, ReplyKey, Settled
from edge_agent.looks import Look, Messages
from edge_agent.ways import Way
from edge_agent.wire import Ping, encode
from edge_agent.wire_tensors import Frame

MAX_OWED_MESSAGES: Final = 256
MAX_OWED_BYTES: Final = 256 * 2**20
MAX_OWED_BYTES_IN_ALL: Final = 512 * 2**20
MAX_HELD_MESSAGES: Final = 4_096


class _Outlet:
    """A peer that is connected to. Its lock keeps the order of the line and that on the way the same."""

    __slots__ = ("endpoint", "is_gone", "key", "line", "lock")

    def __init__(self, endpoint: str, key: str | None, line: Line) -> None:
        self.endpoint, self.key, self.line = endpoint, key, line
        self.lock = threading.Lock()
        self.is_gone = False


class Outgoing:
    """The lines to all peers; its methods may be called from any thread, and none waits for a peer.

    To one peer at most MAX_OWED_MESSAGES of MAX_OWED_BYTES are under way, to all MAX_OWED_BYTES_IN_ALL, and at most
    MAX_HELD_MESSAGES wait behind a probe: what comes beyond that is a SendError. One message alone may be larger.
    """

    def __init__(self, way: Way) -> None:
        """Send by this way; nobody is connected to yet."""
        self._way = way
        self._lock = threading.Lock()
        self._outlets: dict[str, _Outlet] = {}  # replaced as a whole at each change, so that any thread may read it
        self._is_closed = False
        self._tokens = itertools.count(1)
        self.undelivered = 0
        """How many messages were given up when their line went silent or was closed, or overtaken by a later reply."""

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that are connected to, reachable or not."""
        return tuple(self._outlets)

    def close(self) -> bool:
        """Take nothing any more; False if it was closed before."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            return not was_closed

    def connect(self, peer: str, endpoint: str, key: str | None) -> None:
        """Reach `peer` there under this key; another endpoint or key takes the place of the one before."""
        with self._lock:
            before = self._outlets.get(peer)
            if self._is_closed or (before is not None and (before.endpoint, before.key) == (endpoint, key)):
                return
            pace_mbps = None
            if before is not None:
                pace_mbps = self._retire(before)
                if before.key != key:
                    self._way.shut(peer)
            outlet = _Outlet(endpoint, key, Line(time.monotonic_ns(), pace_mbps))
            with outlet.lock:
                self._outlets = {**self._outlets, peer: outlet}
                self._way.open(peer, endpoint)
                self._hold_to_pace(peer, outlet.line)

    def disconnect(self, peer: str) -> None:
        """Forget `peer`; what is under way to it is given up."""
        with self._lock:
            outlet = self._outlets.get(peer)
            if outlet is not None:
                self._outlets = {name: each for name, each in self._outlets.items() if name != peer}
                self._retire(outlet)
                self._way.shut(peer)

    def pace(self, peer: str, mbps: float | None) -> None:
        """Hold the line to `peer` to this rate in Mbit/s, or to none; nothing happens if there is no such peer."""
        outlet = self._outlets.get(peer)
        if outlet is None or outlet.line.pace_mbps == mbps:
            return
        with outlet.lock:
            line = outlet.line
            line.pace(mbps)
            if not outlet.is_gone and (line.look is None or line.look.step == "draining"):
                self._hold_to_pace(peer, line)

    def token(self) -> int:
        """A token for a ping or a probe, no other's."""
        return next(self._tokens)

    def submit(self, peer: str, frames: Sequence[Frame], key: ReplyKey | None) -> None:
        """Send a message to `peer`, and expect a reply under `key` if there is one; SendError beyond the bounds."""
        size_bytes = sum(map(len, frames))
        outlet = self._outlet(peer)
        with outlet.lock:
            self._check_bounds(peer, outlet, size_bytes)
            line = outlet.line
            if key is not None:
                line.send(key, size_bytes, time.monotonic_ns())
            if line.look is None:
                self._way.send(peer, frames)
            else:
                line.look.held.append(b"".join(frames))

    def probe(self, peer: str, messages: Messages, token: int) -> None:
        """Send a probe; on a paced line it takes a place in its order, and is sent when that has come.

        SendError as for `submit`.
        """
        outlet = self._outlet(peer)
        with outlet.lock:
            line = outlet.line
            if line.look is not None:
                return
            if line.pace_mbps is not None:
                at_ns, ping = time.monotonic_ns(), self.token()
                line.look = Look(ping, token, messages)
                line.send(ping, _size_bytes([encode(Ping(ping))]), at_ns)
                line.send(token, _size_bytes(messages), at_ns)
                self._advance_look(peer, line, line.look)
                return
            size_bytes = _size_bytes(messages)
            self._check_bounds(peer, outlet, size_bytes)
            line.send(token, size_bytes, time.monotonic_ns())
            for frames in messages:
                self._way.send(peer, frames)

    def in_flight(self, peer: str) -> InFlight | None:
        """The oldest message to `peer` that awaits its reply; None where the line is idle or the peer unknown."""
        outlet = self._outlets.get(peer)
        if outlet is None:
            return None
        with outlet.lock:
            return outlet.line.in_flight(time.monotonic_ns())

    def settle(self, peer: str, key: ReplyKey, at_ns: int, held_ns: int = 0) -> Settled | None:
        """A reply has come from `peer`, which held it back so long; None if none is owed under `key`."""
        outlet = self._outlets.get(peer)
        if outlet is None:
            return None
        with outlet.lock:
            line = outlet.line
            settled = line.settle(key, at_ns, held_ns)
            if settled is not None and settled.lost:
                self.undelivered += settled.lost
            if line.look is not None:
                self._advance_look(peer, line, line.look)
            return settled

    def look_after(self) -> None:
        """Go on with probes whose answers got lost; to be called several times a second."""
        for peer, outlet in self._outlets.items():
            if outlet.line.look is not None:
                with outlet.lock:
                    if outlet.line.look is not None and not outlet.is_gone:
                        self._advance_look(peer, outlet.line, outlet.line.look)

    def renew_silent(self) -> list[str]:
        """Make silent lines anew; the peers that should be asked for a sign of life. To be called every second."""
        at_ns = time.monotonic_ns()
        quiet = []
        for peer, outlet in self._outlets.items():
            with outlet.lock:
                line = outlet.line
                if outlet.is_gone:
                    continue
                if line.is_silent(at_ns):
                    self.undelivered += line.owed
                    line = outlet.line = Line(at_ns, line.pace_mbps)
                    self._way.open(peer, outlet.endpoint)
                    self._hold_to_pace(peer, line)
                if line.wants_heartbeat(at_ns):
                    quiet.append(peer)
                    if line.look is not None:
                        self._end_look(peer, line, line.look)  # a sign of life must not wait behind it
        return quiet

    def _outlet(self, peer: str) -> _Outlet:
        outlet = self._outlets.get(peer)
        if self._is_closed or outlet is None:
            raise SendError(peer, "the transport is closed" if self._is_closed else "no such peer is connected")
        return outlet

    def _check_bounds(self, peer: str, outlet: _Outlet, size_bytes: int) -> None:
        if outlet.is_gone:
            raise SendError(peer, "no such peer is connected")
        line = outlet.line
        owed, owed_bytes = line.owed, line.owed_bytes
        full = owed >= MAX_OWED_MESSAGES or (owed and owed_bytes + size_bytes > MAX_OWED_BYTES)
        if len(self._outlets) > 1 and not full:
            in_all_bytes = sum([each.line.owed_bytes for each in self._outlets.values()])
            full = in_all_bytes and in_all_bytes + size_bytes > MAX_OWED_BYTES_IN_ALL
        if full or (line.look is not None and len(line.look.held) >= MAX_HELD_MESSAGES):
            raise SendError(peer, f"its queue is full ({line.owed} messages, {line.owed_bytes} bytes under way)")

    def _retire(self, outlet: _Outlet) -> float | None:
        """Nothing more goes over this line; the pace that it was held to."""
        with outlet.lock:
            outlet.is_gone = True
            self.undelivered += outlet.line.owed
            return outlet.line.pace_mbps

    def _advance_look(self, peer: str, line: Line, look: Look) -> None:
        at_ns = time.monotonic_ns()
        if look.step == "draining" and line.is_next(look.ping):
            self._way.pace(peer, None)
            line.sent_late(look.ping, at_ns)
            look.goes_on("pinging", at_ns)
            self._way.send(peer, encode(Ping(look.ping)))
        elif look.step == "pinging" and line.is_next(look.probe):
            line.sent_late(look.probe, at_ns)
            look.goes_on("probing", at_ns)
            for frames in look.messages:
                self._way.send(peer, frames)
        elif (look.step == "probing" and not line.awaits(look.probe)) or look.is_overdue(at_ns):
            self._end_look(peer, line, look)

    def _end_look(self, peer: str, line: Line, look: Look) -> None:
        """Hold the line to its pace again, and send what was held back; what of the look was not sent is forgotten."""
        line.look = None
        if look.step == "draining":
            line.forget(look.ping)
        if look.step != "probing":
            line.forget(look.probe)
        self._hold_to_pace(peer, line)
        for message in look.held:
            self._way.send(peer, (message,))

    def _hold_to_pace(self, peer: str, line: Line) -> None:
        self._way.pace(peer, None if line.pace_mbps is None else line.pace_mbps * 1e6 / 8)


def _size_bytes(messages: Messages) -> int:
    return sum([len(frame) for frames in messages for frame in frames])
