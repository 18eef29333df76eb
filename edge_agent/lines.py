"""What is owed on the connection to one peer: which messages await their reply, how long, and whether it went silent.

Pure: times come as arguments, in nanoseconds of one monotonic clock.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from edge_agent.looks import Look
from edge_agent.wire import Route

HEARTBEAT_NS: Final = 5_000_000_000
SILENCE_NS: Final = 15_000_000_000
THINNEST_LINK_BITS_PER_S: Final = 50_000  # a busy link of 0.05 Mbit/s must not be taken for a dead one

ReplyKey: TypeAlias = Route | int
"""What a reply names: the route of tensors, or the token of a ping or a probe."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """The oldest message that awaits its reply, and the time for which the line has been busy with it alone."""

    size_bytes: int
    waiting_ms: float
    is_probed: bool = False
    """A probe waits until the line is idle, or is on it: another one would not be sent."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A message whose reply has come."""

    size_bytes: int
    elapsed_ns: int
    """From its send to the reply."""
    gap_ns: int | None
    """From the reply before to this one, where that reply came after this message was sent."""
    alone: bool
    """Nothing else was on the line when it was sent."""
    lost: int
    """How many sent before it will never be answered: replies come in the order of the sends."""
    pace_mbps: float | None = None
    """The slowest pace, in Mbit/s, at which the line was held while it was on it; None where it never was."""


class _Owed(NamedTuple):
    size_bytes: int
    sent_ns: int
    alone: bool
    pace_mbps: float | None


class Line:
    """The messages to one peer that await a reply, oldest first."""

    def __init__(self, at_ns: int, pace_mbps: float | None = None) -> None:
        """A connection that was opened at `at_ns`, held to a pace in Mbit/s or to none."""
        self._pace_mbps = pace_mbps
        self.look: Look | None = None
        """The probe for whose sake what is sent is held back, on a line that is paced."""
        self._owed: dict[ReplyKey, _Owed] = {}
        self._owed_bytes = 0
        self._heard_ns = self._asked_ns = at_ns

    @property
    def owed(self) -> int:
        """How many messages await a reply."""
        return len(self._owed)

    @property
    def owed_bytes(self) -> int:
        """The bytes of those messages."""
        return self._owed_bytes

    def send(self, key: ReplyKey, size_bytes: int, at_ns: int) -> None:
        """A message goes out; sent again under one key, it counts as the newer."""
        if key in self._owed:
            self._drop(key)
        self._owed[key] = _Owed(size_bytes, at_ns, not self._owed, self._pace_mbps)
        self._owed_bytes += size_bytes

    def sent_late(self, key: ReplyKey, at_ns: int) -> None:
        """A message that held its place in the order goes out only now; the line was left to it."""
        self._owed[key] = self._owed[key]._replace(sent_ns=at_ns, alone=True)

    def is_next(self, key: ReplyKey) -> bool:
        """Whether `key` is the oldest that awaits its reply."""
        return next(iter(self._owed), None) == key

    def awaits(self, key: ReplyKey) -> bool:
        """Whether the reply to `key` is still to come."""
        return key in self._owed

    def forget(self, key: ReplyKey) -> None:
        """No reply is expected any more."""
        self._drop(key)

    @property
    def pace_mbps(self) -> float | None:
        """The pace to which the line is held, in Mbit/s."""
        return self._pace_mbps

    def pace(self, mbps: float | None) -> None:
        """Hold the line to another pace; what is on it has had the slower of both."""
        self._pace_mbps = mbps
        if mbps is not None:
            for key, owed in self._owed.items():
                slowest = mbps if owed.pace_mbps is None else min(mbps, owed.pace_mbps)
                self._owed[key] = owed._replace(pace_mbps=slowest)

    def settle(self, key: ReplyKey, at_ns: int, held_ns: int = 0) -> Settled | None:
        """A reply has come, which was sent `held_ns` after it could have been; None if none is owed under `key`."""
        owed = self._owed.get(key)
        if owed is None:
            return None
        older = () if self.is_next(key) else self._older_than(key)
        for lost in older:
            self._drop(lost)
        self._drop(key)
        at_ns -= min(held_ns, max(at_ns - owed.sent_ns, 0))
        gap_ns = at_ns - self._heard_ns if self._heard_ns > owed.sent_ns else None
        self._heard_ns = at_ns
        return Settled(owed.size_bytes, at_ns - owed.sent_ns, gap_ns, owed.alone, len(older), owed.pace_mbps)

    def in_flight(self, at_ns: int) -> InFlight | None:
        """The oldest message on the line, or None where the line is idle."""
        oldest = next(iter(self._owed.values()), None)
        if oldest is None:
            return None
        waiting_ms = (at_ns - max(oldest.sent_ns, self._heard_ns)) / 1e6
        return InFlight(oldest.size_bytes, waiting_ms, is_probed=self.look is not None)

    def wants_heartbeat(self, at_ns: int) -> bool:
        """Nothing has come for a while, so ask for a sign of life; True once for each while.

        On a busy line too: an answer that overtakes what is owed shows that the peer restarted and lost it.
        """
        if at_ns - max(self._heard_ns, self._asked_ns) <= HEARTBEAT_NS:
            return False
        self._asked_ns = at_ns
        return True

    def is_silent(self, at_ns: int) -> bool:
        """Replies are overdue, even if the link were the thinnest: the connection should be made anew."""
        oldest = next(iter(self._owed.values()), None)
        if oldest is None:
            return False
        patience_ns = SILENCE_NS + 8 * self._owed_bytes * 1_000_000_000 // THINNEST_LINK_BITS_PER_S
        return at_ns - max(oldest.sent_ns, self._heard_ns) > patience_ns

    def _older_than(self, key: ReplyKey) -> list[ReplyKey]:
        older = []
        for other in self._owed:
            if other == key:
                break
            older.append(other)
        return older

    def _drop(self, key: ReplyKey) -> None:
        owed = self._owed.pop(key, None)
        if owed is not None:
            self._owed_bytes -= owed.size_bytes
