"""What is believed of a link or of a node's load: readings folded with their spread, and doubted as they age.

Each quantity is one random walk in its logarithm, followed by a Kalman filter. What follows is decided elsewhere.
"""

import math
from dataclasses import dataclass, replace

from broker.messages import LinkReading, NodeLoad
from coordinator.field_checks import MAX_NUMBER
from coordinator.problem import MIN_MBPS

HIGHEST_LOAD = 0.99
"""No node is believed to be busier: its compute then takes 100 times as long, which no plan chooses."""

JUMP_SIGMAS = 3.0
"""A reading that is further from the belief than this is a new level, and replaces it."""
MEAN_TO_SAMPLES = 1.0 / 3.0
"""An agent's reading is a mean of gain g = 0.2, whose variance is g / (2 - g) of that of its samples."""
LEAST_STD = 0.02
"""Probes of an undisturbed line differ by 2 % (p90, measured on shaped links); no reading is believed to be surer."""
LEAST_LOAD_STD = 0.03
FIRST_STD = 0.3
"""How far the very first reading of a link may be off beyond its own spread: it comes from one short probe."""

LEAST_STAGE_MS = 5.0
"""A shorter stage says more of its overhead than of its node's load."""
STAGE_STD = 0.1
"""How far a stage's time differs from its profile without any load: caches, clock rates, the cut itself."""
LEAST_STRETCH = math.log(1.2)
"""A stage that took less than 20 % too long tells of no load: so much segments differ from profiles of whole models."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How a quantity moves while nothing is heard of it, in its logarithm."""

    per_sqrt_s: float
    """The standard deviation of its change within a second."""
    most_std: float
    """However old a belief is, its spread stays below this."""
    fades_s: float = math.inf
    """The time in which its mean falls to 1/e; infinite for a pure random walk."""


LINK_DRIFT = Drift(per_sqrt_s=0.15, most_std=1.0)
"""Of ten measured mobile and fixed links the steps' median is 0.02 to 0.3, their root mean square 0.1 to 1.6."""
LOAD_DRIFT = Drift(per_sqrt_s=0.02, most_std=0.15, fades_s=300.0)
"""Of the logarithm of the stretch. Agents report a changed load at once and any load every 10 s: silence says that it
has not changed by much, and one that fades has not been heard of for long."""


@dataclass(frozen=True, slots=True)
class Belief:
    """A quantity's logarithm as last updated: mean and variance at the time `at`, in s on the coordinator's clock."""

    mean: float
    variance: float
    at: float

    def mean_at(self, now: float, drift: Drift) -> float:
        """What is believed now."""
        return self.mean if drift.fades_s == math.inf else self.mean * math.exp(-self._age_s(now) / drift.fades_s)

    def variance_at(self, now: float, drift: Drift) -> float:
        """How sure it is now: the variance grows with age, up to its bound."""
        return min(self.variance + drift.per_sqrt_s**2 * self._age_s(now), drift.most_std**2)

    def updated(self, sample: float, std: float, at: float, drift: Drift) -> "Belief":
        """The belief after a sample with its standard deviation; the older the belief, the more the sample counts."""
        mean, variance = self.mean_at(at, drift), self.variance_at(at, drift)
        innovation = sample - mean
        if innovation**2 > JUMP_SIGMAS**2 * (variance + std**2):
            return Belief(sample, std**2, at)
        gain = variance / (variance + std**2)
        return Belief(mean + gain * innovation, (1.0 - gain) * variance, at)

    def _age_s(self, now: float) -> float:
        # A clock that was set back makes nothing younger than it was when it came.
        return max(0.0, now - self.at)


@dataclass(frozen=True, slots=True)
class LinkBelief:
    """What is believed of a link: ln(Mbit/s) and ln(1 + ms); `spread` is that of single transfers around the former."""

    bandwidth: Belief
    round_trip: Belief
    spread: float

    @property
    def mbps(self) -> float:
        """The believed bandwidth in Mbit/s."""
        return math.exp(self.bandwidth.mean)

    @property
    def rtt_ms(self) -> float:
        """The believed round trip in ms."""
        return math.expm1(self.round_trip.mean)

    def mbps_std(self, now: float) -> float:
        """The spread of a transfer's bandwidth now, in Mbit/s: that of the samples and that of the belief."""
        return self.mbps * math.sqrt(self.spread**2 + self.bandwidth.variance_at(now, LINK_DRIFT))

    def rtt_ms_std(self, now: float) -> float:
        """The spread of the believed round trip now, in ms."""
        return (1.0 + self.rtt_ms) * math.sqrt(self.round_trip.variance_at(now, LINK_DRIFT))


def first_link_belief(reading: LinkReading, at: float) -> LinkBelief:
    """What is believed after the first reading of a link."""
    mbps, mbps_std, round_trip, round_trip_std, spread = _of_reading(reading)
    return LinkBelief(
        Belief(mbps, mbps_std**2 + FIRST_STD**2, at),
        Belief(round_trip, round_trip_std**2 + FIRST_STD**2, at),
        spread,
    )


def with_link_reading(belief: LinkBelief, before: LinkReading, reading: LinkReading, at: float) -> LinkBelief:
    """The belief after a reading; one that repeats the bandwidth sample of the reading before tells of pings only.

    Of a link whose tensors go another way now, nothing is believed that was learned of the way before.
    """
    if reading.way != before.way:
        return first_link_belief(reading, at)
    mbps, mbps_std, round_trip, round_trip_std, spread = _of_reading(reading)
    is_repeated = (reading.at, reading.mbps) == (before.at, before.mbps)
    return LinkBelief(
        belief.bandwidth if is_repeated else belief.bandwidth.updated(mbps, mbps_std, at, LINK_DRIFT),
        belief.round_trip.updated(round_trip, round_trip_std, at, LINK_DRIFT),
        spread,
    )


def _of_reading(reading: LinkReading) -> tuple[float, float, float, float, float]:
    """Bandwidth, its error, round trip and its error, all in the logarithm, and the spread of single transfers."""
    mbps = min(max(reading.mbps, MIN_MBPS), MAX_NUMBER)
    rtt_ms = min(reading.rtt_ms, MAX_NUMBER)
    spread = min(reading.mbps_std / mbps, LINK_DRIFT.most_std)
    rtt_spread = min(reading.rtt_ms_std / (1.0 + rtt_ms), LINK_DRIFT.most_std)
    return (
        math.log(mbps),
        max(spread * MEAN_TO_SAMPLES, LEAST_STD),
        math.log1p(rtt_ms),
        max(rtt_spread, LEAST_STD),
        spread,
    )


@dataclass(frozen=True, slots=True)
class LoadBelief:
    """What is believed of a node's load, as the logarithm of what it stretches compute by: -ln(1 - load)."""

    stretch: Belief
    last_stage: float = math.inf
    """What the last inference's stage showed, in the same logarithm; infinite before the first."""

    def load(self, now: float) -> float:
        """The believed load, from 0 to HIGHEST_LOAD."""
        return min(max(0.0, -math.expm1(-self.stretch.mean_at(now, LOAD_DRIFT))), HIGHEST_LOAD)

    def load_std(self, now: float) -> float:
        """Its spread now."""
        return (1.0 - self.load(now)) * math.sqrt(self.stretch.variance_at(now, LOAD_DRIFT))


UNLOADED = LoadBelief(Belief(0.0, LOAD_DRIFT.most_std**2, -math.inf))
"""What is believed of a node that has not been heard of: no load, without being sure."""


def with_load_reading(belief: LoadBelief, reading: NodeLoad, at: float) -> LoadBelief:
    """The belief after a node's own word on its load."""
    free = 1.0 - min(reading.load, HIGHEST_LOAD)
    std = min(max(reading.load_std / free, LEAST_LOAD_STD), LOAD_DRIFT.most_std)
    return replace(belief, stretch=belief.stretch.updated(-math.log(free), std, at, LOAD_DRIFT))


def with_stage(belief: LoadBelief, compute_ms: float, profiled_ms: float, at: float) -> LoadBelief:
    """The belief after a stage that took `compute_ms`, where its profile says `profiled_ms`.

    Noise only ever adds to a stage's time, as the first inferences of a segment show: the lesser of two in a row is
    counted.
    """
    if not LEAST_STAGE_MS <= profiled_ms <= MAX_NUMBER:
        return belief
    stretch = math.log(max(compute_ms, LEAST_STAGE_MS) / profiled_ms)
    sample = min(stretch, -math.log(1.0 - HIGHEST_LOAD)) if stretch > LEAST_STRETCH else 0.0
    if belief.last_stage == math.inf:
        return replace(belief, last_stage=sample)
    counted = min(sample, belief.last_stage)
    return LoadBelief(belief.stretch.updated(counted, STAGE_STD, at, LOAD_DRIFT), sample)
