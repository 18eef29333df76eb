"""What a plan, or a part of one, comes to: the figures that add up over its steps, as one tuple of floats.

What the objective makes of the sums, and which sums the bounds allow, is told here once for every search.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, mul

Figures = tuple[float, ...]
"""Price, ms and variance in ms^2; then the MB stored on each node that is tight; then, where the period counts, the ms
that each node and each link is in use."""

PRICE, MS, VARIANCE, FIRST_CAPACITY = range(4)
ROUNDING = 1e-9
"""Relative slack of a bound, so that the rounding of sums breaks none; prices.within forgives the same."""


def weighted(weights: Sequence[float], figures: Sequence[float]) -> float:
    """The weighted sum."""
    return sum(map(mul, weights, figures), 0.0)


def plus(one: Figures, other: Figures) -> Figures:
    """Both together."""
    return tuple(map(add, one, other))


def unit(width: int, index: int) -> Figures:
    """The weights that count one figure alone."""
    return tuple(1.0 if other == index else 0.0 for other in range(width))


def slack(bound: float) -> float:
    """A bound with the rounding of sums forgiven."""
    return bound * (1.0 + ROUNDING)


def latency_ms(figures: Figures, deviations: float) -> float:
    """The latency so many deviations above its mean."""
    return figures[MS] + (deviations * math.sqrt(figures[VARIANCE]) if deviations else 0.0)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a search keeps least: a weighted sum of the figures, the latency's deviation, and the period."""

    weights: Figures
    std: float
    """The weight of the square root of the variance."""
    period: float
    """The weight of the largest use."""
    uses_from: int
    """Where the uses begin among the figures."""

    def of(self, figures: Figures) -> float:
        """The value of a whole plan."""
        value = weighted(self.weights, figures)
        if self.std:
            value += self.std * math.sqrt(figures[VARIANCE])
        if self.period:
            value += self.period * max(figures[self.uses_from :])
        return value


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds on a plan: on its latency, so many deviations above the mean, and on the MB on each tight node."""

    latency_ms: float | None
    deviations: float
    stored_mb: tuple[float, ...]

    def latency_of(self, figures: Figures) -> float:
        """The latency that counts, in ms."""
        return latency_ms(figures, self.deviations)

    def keep(self, figures: Figures) -> bool:
        """Whether a whole plan keeps them."""
        if self.latency_ms is not None and self.latency_of(figures) > self.latency_ms:
            return False
        stored_mb = figures[FIRST_CAPACITY : FIRST_CAPACITY + len(self.stored_mb)]
        return all(stored <= room for stored, room in zip(stored_mb, self.stored_mb, strict=True))
