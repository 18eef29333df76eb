"""What is known of a link: pings, probes and real transfers folded into an estimate with its spread and age.

Pure: times come as arguments. When to probe is `edge_agent.probes`' concern, how is `edge_agent.transport`'s.
"""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

PINGS_KEPT: Final = 5  # the least of five pings is the round trip: queues only ever add to it
PASSIVE_MIN_BYTES: Final = 40_000  # above 40 KB a real tensor's bandwidth was within 1.1 %, measured on shaped links
RAMP_BYTES: Final = 20_000  # after 20 KB a receiver's timeline has the line's slope within 2 % (p90), measured

_GAIN: Final = 0.2  # of a new sample against the mean, once there are five
_SPREAD_GAIN: Final = 0.05  # slower, so that a quiet moment does not make the next usual sample look like a jump
_JUMP_SIGMAS: Final = 4.0
_JUMP_MIN: Final = math.log(1.4)  # less than 40 % away is never a change
_SPREAD_FIRST: Final = 0.25  # relative spread assumed of a single sample
_SPREAD_FLOOR: Final = 0.01
_CEILING_SPREAD: Final = 0.5  # relative spread of a bandwidth that is only known from above
_CEILING_MARGIN: Final = 0.5  # a ceiling counts only where it is below half of what was believed
_MBPS_MIN: Final = 0.001

Method = Literal["probe", "transfer"]


@dataclass(frozen=True, slots=True)
class LinkEstimate:
    """A directed link as last known; `at` is the time of the newest sample, on the caller's clock, in seconds."""

    rtt_ms: float
    rtt_ms_std: float
    mbps: float
    mbps_std: float
    at: float
    method: Method


@dataclass(frozen=True, slots=True)
class Slope:
    """The part of a probe that shows the line's rate."""

    counted_bytes: int
    counted_ns: int

    @property
    def mbps(self) -> float | None:
        """Bandwidth in Mbit/s, or None where the parts came at one instant."""
        return 8_000 * self.counted_bytes / self.counted_ns if self.counted_ns > 0 else None


class ArrivalTimeline:
    """The arrivals of one probe's chunks at their receiver, as a count of bytes over time."""

    def __init__(self, size_bytes: int) -> None:
        """A probe of `size_bytes` in all is expected."""
        # A probe that has nothing to spare for the ramp is counted from its first chunk.
        self._ramp_bytes = RAMP_BYTES if size_bytes >= RAMP_BYTES * 3 // 2 else 1
        self._received_bytes = 0
        self._counted_from: tuple[int, int] | None = None
        self._last_ns = 0

    def arrive(self, size_bytes: int, at_ns: int) -> None:
        """A chunk of `size_bytes` has come in at `at_ns` of any monotonic clock."""
        self._received_bytes += size_bytes
        self._last_ns = at_ns
        if self._counted_from is None and self._received_bytes >= self._ramp_bytes:
            self._counted_from = (self._received_bytes, at_ns)

    def slope(self) -> Slope:
        """What came after the ramp, and how long that took."""
        if self._counted_from is None:
            return Slope(0, 0)
        start_bytes, start_ns = self._counted_from
        return Slope(self._received_bytes - start_bytes, self._last_ns - start_ns)


class LinkEstimator:
    """Folds samples of one link: calm in noise, yet on a new level after two samples that agree on a jump.

    Bandwidth is averaged in the logarithm, so that a drop and a recovery by one factor weigh the same.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._pings_ms: deque[float] = deque(maxlen=PINGS_KEPT)
        self._count = 0
        self._mean = 0.0  # of ln(Mbit/s)
        self._variance = 0.0
        self._suspect: float | None = None
        self._at = -math.inf
        self._method: Method = "probe"

    @property
    def rtt_ms(self) -> float | None:
        """The round trip in ms, or None before the first ping."""
        return min(self._pings_ms, default=None)

    @property
    def mbps(self) -> float | None:
        """The bandwidth in Mbit/s, or None before the first sample."""
        return math.exp(self._mean) if self._known else None

    @property
    def suspected_mbps(self) -> float | None:
        """The last sample in Mbit/s where it jumped from the mean and awaits another that agrees."""
        return math.exp(self._suspect) if self._suspect is not None else None

    @property
    def sampled_at(self) -> float:
        """When the bandwidth was last sampled; minus infinity before the first."""
        return self._at

    def estimate(self) -> LinkEstimate | None:
        """The link as known now, or None until both a ping and a bandwidth are there."""
        rtt_ms, mbps = self.rtt_ms, self.mbps
        if rtt_ms is None or mbps is None:
            return None
        return LinkEstimate(
            rtt_ms=rtt_ms,
            rtt_ms_std=_spread(self._pings_ms),
            mbps=mbps,
            mbps_std=mbps * math.sqrt(self._variance),
            at=self._at,
            method=self._method,
        )

    def ping(self, rtt_ms: float) -> None:
        """A round trip of a small message, in ms."""
        self._pings_ms.append(rtt_ms)

    def probe(self, mbps: float, at: float) -> None:
        """An active probe has shown `mbps`."""
        self._fold(mbps, at, "probe")

    def transfer(self, size_bytes: int, elapsed_ms: float, gap_ms: float | None, at: float) -> None:
        """A real transfer, from its send to its acknowledgement; small ones say nothing and are ignored.

        `gap_ms`: the time since the reply before it, where that came after this was sent, else None.
        """
        rtt_ms = self.rtt_ms
        if size_bytes < PASSIVE_MIN_BYTES or rtt_ms is None:
            return
        # Both hold the time on the line; the first may hold a wait behind others too, the second an idle line.
        on_the_line_ms = min(elapsed_ms - rtt_ms, math.inf if gap_ms is None else gap_ms)
        # A transfer that was hardly longer than a round trip is all noise.
        if on_the_line_ms > rtt_ms / 4:
            self._fold(8 * size_bytes / (1_000 * on_the_line_ms), at, "transfer")

    def ceiling(self, mbps: float, at: float) -> bool:
        """No reply has come in a time that allows `mbps` at most; True if that is news, far below what was known."""
        mbps = max(mbps, _MBPS_MIN)
        if not self._known or math.log(mbps) > self._mean + math.log(_CEILING_MARGIN):
            return False
        self._restart(mbps, _CEILING_SPREAD)
        self._count = 0  # the next true sample replaces a mere bound
        self._at = at
        return True

    @property
    def _known(self) -> bool:
        return self._at > -math.inf

    def _fold(self, mbps: float, at: float, method: Method) -> None:
        if not (math.isfinite(mbps) and mbps > 0):
            return
        mbps = max(mbps, _MBPS_MIN)
        sample = math.log(mbps)
        self._at, self._method = at, method
        if self._count == 0:
            self._restart(mbps, _SPREAD_FIRST)
            return
        residual = sample - self._mean
        jump = max(_JUMP_SIGMAS * math.sqrt(self._variance), _JUMP_MIN)
        if abs(residual) > jump:
            if self._suspect is not None and abs(self._suspect - self._mean) > jump and self._agrees(residual):
                self._restart(mbps, max(_SPREAD_FIRST, abs(self._suspect - sample) / 2))
            else:
                self._suspect = sample
            return
        self._suspect = None
        self._count += 1
        gain, spread_gain = max(1 / self._count, _GAIN), max(1 / self._count, _SPREAD_GAIN)
        self._mean += gain * residual
        self._variance = max((1 - spread_gain) * (self._variance + spread_gain * residual**2), _SPREAD_FLOOR**2)

    def _agrees(self, residual: float) -> bool:
        return self._suspect is not None and (self._suspect > self._mean) == (residual > 0)

    def _restart(self, mbps: float, spread: float) -> None:
        self._mean = math.log(mbps)
        self._variance = spread**2
        self._suspect = None
        self._count = 1


def _spread(numbers: Collection[float]) -> float:
    """Their standard deviation; `statistics.pstdev` reckons in fractions, at thirty times the price."""
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))
