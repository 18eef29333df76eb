"""What is known of a link: pings, probes and real transfers folded into an estimate with its spread and age.

Pure: times come as arguments. When to probe is `edge_agent.probes`' concern, how is `edge_agent.transport`'s.
"""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from edge_agent.pacing import is_of_the_link
from edge_agent.unrest import Unrest

PINGS_KEPT: Final = 5  # the least of five pings is the round trip: queues only ever add to it
PASSIVE_MIN_BYTES: Final = 40_000  # above 40 KB a real tensor's bandwidth was within 1.1 %, measured on shaped links
RAMP_BYTES: Final = 20_000  # after 20 KB a receiver's timeline has the line's slope within 2 % (p90), measured

_JUMP_SIGMAS: Final = 4.0
_JUMP_MIN: Final = math.log(1.4)  # less than 40 % away is never a jump
_LEAST_JUMP_SPREAD: Final = 0.1
_FIRST_SPREAD: Final = 0.25  # relative spread assumed of a single sample
_MOST_VARIANCE: Final = 1.0
_CEILING_SPREAD: Final = 0.5  # relative spread of a bandwidth that is only known from above
_CEILING_MARGIN: Final = 0.5  # a ceiling counts only where it is below half of what was believed
_DISBELIEF: Final = math.log(0.75)
_DOUBTFUL_MOVE: Final = 0.15  # a link that went 15 % along with others is sampled itself
_MBPS_MIN: Final = 0.001
_CARRIED_S: Final = 5.0  # after a transfer at its pace, only a slow transfer shows that the link dropped

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


@dataclass(frozen=True, slots=True)
class Move:
    """What was learned of a link's bandwidth, in its logarithm."""

    unexpected: float
    """How far the estimate was moved by what was measured."""
    since_sample: float | None
    """How far the link has moved since its sample before; None where there was none, or only a bound was learned."""


class LinkEstimator:
    """Folds samples of one link: calm where they differ by noise, quick where the link moves; it learns which.

    The bandwidth's logarithm is followed by a Kalman filter, as a random walk, so that a drop and a recovery by one
    factor weigh the same. A sample that is too far off even for that waits for a second one that agrees.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._pings_ms: deque[float] = deque(maxlen=PINGS_KEPT)
        self._unrest = Unrest()
        self._mean = 0.0  # of ln(Mbit/s)
        self._variance = 0.0  # of that mean, at the time of the newest sample
        self._level: float | None = None  # the mean as the newest sample left it
        self._gone_along = 0.0
        self._is_bound = False
        self._suspect: float | None = None
        self._carried, self._carried_at = 0.0, -math.inf  # what a paced transfer has shown at least, in the logarithm
        self._at = -math.inf
        self._method: Method = "probe"
        self._estimate: LinkEstimate | None = None  # made when asked for, kept until something is learned

    @property
    def rtt_ms(self) -> float | None:
        """The round trip in ms, or None before the first ping."""
        return min(self._pings_ms, default=None)

    @property
    def mbps(self) -> float | None:
        """The bandwidth in Mbit/s, or None before the first sample."""
        return math.exp(self._mean) if self._known else None

    @property
    def sampled_mbps(self) -> float | None:
        """The bandwidth in Mbit/s as the newest sample left it: without bounds, and without what other links did."""
        return math.exp(self._level) if self._level is not None else None

    @property
    def suspected_mbps(self) -> float | None:
        """The last sample in Mbit/s where it jumped from the mean and awaits another that agrees."""
        return math.exp(self._suspect) if self._suspect is not None else None

    @property
    def is_in_doubt(self) -> bool:
        """Whether the link has gone along with others so far that it should be sampled itself."""
        return abs(self._gone_along) > _DOUBTFUL_MOVE

    @property
    def sampled_at(self) -> float:
        """When the bandwidth was last sampled; minus infinity before the first."""
        return self._at

    def estimate(self) -> LinkEstimate | None:
        """The link as known now, or None until both a ping and a bandwidth are there.

        The spread of the bandwidth is that of single transfers: their noise, and what is not known of their mean.
        """
        if self._estimate is None:
            self._estimate = self._estimated()
        return self._estimate

    def _estimated(self) -> LinkEstimate | None:
        rtt_ms, mbps = self.rtt_ms, self.mbps
        if rtt_ms is None or mbps is None:
            return None
        return LinkEstimate(
            rtt_ms=rtt_ms,
            rtt_ms_std=_spread(self._pings_ms),
            mbps=mbps,
            mbps_std=mbps * math.sqrt(self._variance + self._unrest.noise),
            at=self._at,
            method=self._method,
        )

    def ping(self, rtt_ms: float) -> None:
        """A round trip of a small message, in ms."""
        self._estimate = None
        self._pings_ms.append(rtt_ms)

    def probe(self, mbps: float, at: float) -> Move | None:
        """An active probe has shown `mbps`; None where the estimate stays as it is."""
        return self._fold(mbps, at, "probe")

    def transfer(
        self, size_bytes: int, elapsed_ms: float, gap_ms: float | None, at: float, pace_mbps: float | None = None
    ) -> Move | None:
        """A real transfer, from its send to its acknowledgement; small ones say nothing and are ignored.

        `gap_ms`: the time since the reply before it, where that came after this was sent, else None. One that was held
        to `pace_mbps` and went about as fast says only that the link carries that much.
        """
        rtt_ms = self.rtt_ms
        if size_bytes < PASSIVE_MIN_BYTES or rtt_ms is None:
            return None
        # Both hold the time on the line; the first may hold a wait behind others too, the second an idle line.
        on_the_line_ms = min(elapsed_ms - rtt_ms, math.inf if gap_ms is None else gap_ms)
        # A transfer that was hardly longer than a round trip is all noise.
        if on_the_line_ms <= rtt_ms / 4:
            return None
        mbps = 8 * size_bytes / (1_000 * on_the_line_ms)
        if is_of_the_link(mbps, pace_mbps):
            return self._fold(mbps, at, "transfer")
        return self._at_least(min(mbps, pace_mbps or mbps), at)

    def ceiling(self, mbps: float, at: float) -> Move | None:
        """No reply has come in a time that allows `mbps` at most; None if that is no news, not far below the known."""
        bound = math.log(max(mbps, _MBPS_MIN))
        if not self._known or bound > self._mean + math.log(_CEILING_MARGIN):
            return None
        before, self._estimate = self._mean, None
        self._restart(bound, _CEILING_SPREAD**2)
        self._is_bound = True  # the next true sample replaces a mere bound
        self._at = at
        return Move(bound - before, None)

    def go_along(self, by: float) -> bool:
        """Others have moved, and this link presumably by `by` with them; False where nothing is known of it."""
        if not self._known:
            return False
        self._estimate = None  # of before
        self._mean += by
        self._gone_along += by
        self._variance = min(self._variance + by**2, _MOST_VARIANCE)
        return True

    def _at_least(self, mbps: float, at: float) -> Move | None:
        sample = math.log(max(mbps, _MBPS_MIN))
        self._carried, self._carried_at = sample, at
        if self._suspect is not None and self._suspect < sample:
            self._suspect = None
        # A bound, or what other links did, may have made us believe in less than what has just been seen.
        return self._fold(mbps, at, "transfer") if self._known and self._mean < sample else None

    @property
    def _known(self) -> bool:
        return self._at > -math.inf

    def _fold(self, mbps: float, at: float, method: Method) -> Move | None:
        if not (math.isfinite(mbps) and mbps > 0):
            return None
        sample = math.log(max(mbps, _MBPS_MIN))
        is_first, before, level = not self._known, self._mean, self._level
        age_s = 0.0 if is_first else max(0.0, at - self._at)
        self._at, self._method, self._estimate = at, method, None
        walk_per_s, noise = self._unrest.walk_per_s, self._unrest.noise
        self._unrest.sample(sample, at)
        residual = sample - before
        variance = min(self._variance + walk_per_s * age_s, _MOST_VARIANCE)
        if is_first or self._is_bound:
            self._restart(sample, max(noise, _FIRST_SPREAD**2) if is_first else noise)
        elif method == "probe" and sample < self._carried + _DISBELIEF and at - self._carried_at < _CARRIED_S:
            # The machines were busy with something else while they were probed.
            self._suspect = sample
            return None
        elif self._suspect is not None and abs(sample - self._suspect) < abs(residual):
            # Two in a row that are nearer to each other than to the mean: it was a jump.
            self._restart(sample, max(_LEAST_JUMP_SPREAD**2, (self._suspect - sample) ** 2 / 4))
        elif abs(residual) > max(_JUMP_SIGMAS * math.sqrt(variance + noise), _JUMP_MIN):
            self._suspect = sample
            return None
        else:
            gain = variance / (variance + noise)
            self._restart(before + gain * residual, (1 - gain) * variance)
        self._level = self._mean
        if is_first or level is None:
            return None
        return Move(self._mean - before, self._mean - level)

    def _restart(self, mean: float, variance: float) -> None:
        self._mean, self._variance = mean, variance
        self._suspect = None
        self._gone_along = 0.0
        self._is_bound = False


def _spread(numbers: Collection[float]) -> float:
    """Their standard deviation; `statistics.pstdev` reckons in fractions, at thirty times the price."""
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))
