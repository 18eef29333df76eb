"""A lower bound on what a partial plan still costs, with the bounds turned into prices (Lagrangian relaxation).

It only estimates, so that the search that decides need look at little: Handler and Zang, Networks 10 (1980), 293-309.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.steps import Steps, Usage, Weighting

ROUNDS = 60
STEP_HALVES_AFTER = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds on a plan's time and on the weights of each tight node; infinite where there is none."""

    ms: float
    stored_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LowerBound:
    """No plan that keeps the limits and goes on from a partial one comes to less than `of` says."""

    weighting: Weighting
    to_go: list[list[float]]
    limits: Limits
    ms_price: float
    """What a ms under the limit is worth, beyond what the plan's own figure counts."""

    def of(self, op: int, node: int, spent: float, ms: float, stored_mb: Sequence[float]) -> float:
        """The bound for a plan that has done `op` ops, the last on `node`, at `spent` of the figure that is bounded."""
        least = spent + self.to_go[op][node]
        if self.ms_price:
            least -= self.ms_price * (self.limits.ms - ms)
        for price, limit, stored in zip(self.weighting.stored_mb, self.limits.stored_mb, stored_mb, strict=True):
            least -= price * (limit - stored)
        return least


def plain_bound(steps: Steps, figure: Weighting) -> LowerBound:
    """The bound that forgets the limits: the least of a figure (price or ms) to go."""
    free = Limits(math.inf, (0.0,) * len(steps.tight))
    return LowerBound(figure, steps.least_to_go(figure), free, 0.0)


def relaxed_bound(steps: Steps, figure: Weighting, limits: Limits, *, price_ms: bool) -> LowerBound:
    """The best bound that a subgradient ascent finds by pricing the limits; `price_ms` says whether to price the time.

    A priced limit pushes the shortest path to keep it, so the bound comes close to the best plan within the limits.
    """
    rooms = limits.stored_mb
    size_ms = limits.ms if price_ms and limits.ms > 0.0 else 0.0
    # Multipliers are held per limit, as the price of using all of it, so that one step suits time and memory alike.
    multipliers = [0.0] * (1 + len(rooms))
    best = plain_bound(steps, figure)
    best_value = -math.inf
    target = math.inf
    stride, idle = 1.0, 0
    for _ in range(ROUNDS):
        ms_price = multipliers[0] / size_ms if size_ms else 0.0
        mb_prices = tuple(
            multiplier / room if room else 0.0 for multiplier, room in zip(multipliers[1:], rooms, strict=True)
        )
        weighting = Weighting(figure.price, figure.ms + ms_price, mb_prices)
        bound = LowerBound(weighting, steps.least_to_go(weighting), limits, ms_price)
        value = bound.of(0, steps.origin, 0.0, 0.0, (0.0,) * len(rooms))
        usage = steps.usage(weighting, bound.to_go)
        if value > best_value + 1e-9 * abs(value):
            best, best_value, idle = bound, value, 0
        else:
            idle += 1
            if idle == STEP_HALVES_AFTER:
                stride, idle = stride / 2, 0
        over = _over(usage, limits, size_ms)
        if all(excess <= 0.0 for excess in over):
            target = min(target, figure.price * usage.price + figure.ms * usage.ms)
        slopes = [
            excess if excess > 0.0 or multiplier > 0.0 else 0.0
            for excess, multiplier in zip(over, multipliers, strict=True)
        ]
        steepness = sum(slope * slope for slope in slopes)
        if steepness < 1e-18:
            break
        gap = (target if target < math.inf else best_value + abs(best_value)) - value
        length = stride * max(gap, 1e-6 * abs(best_value)) / steepness
        multipliers = [
            max(0.0, multiplier + length * slope) for multiplier, slope in zip(multipliers, slopes, strict=True)
        ]
    return best


def _over(usage: Usage, limits: Limits, size_ms: float) -> list[float]:
    """How far each limit is overrun, relative to itself; negative where it is kept."""
    over = [usage.ms / size_ms - 1.0 if size_ms else 0.0]
    over += (
        stored / room - 1.0 if room else 0.0 for stored, room in zip(usage.stored_mb, limits.stored_mb, strict=True)
    )
    return over
