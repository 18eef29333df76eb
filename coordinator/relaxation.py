"""The bounds and the period turned into prices (Lagrangian relaxation): a close lower bound, and plans met on the way.

It only estimates, so that the search that decides need look at little: Handler and Zang, Networks 10 (1980), 293-309.
"""

import math
from collections.abc import Sequence

from coordinator.distances import Reach, distances, dive, walk
from coordinator.figures import FIRST_CAPACITY, MS, VARIANCE, Figures, Goal, Limits, weighted
from coordinator.incumbent import Incumbent
from coordinator.lower_bound import NEGLIGIBLE, LowerBound, lower_bound
from coordinator.steps import Steps

ROUNDS = 40
DIVE_EACH = 8
STEP_HALVES_AFTER = 4
FLAT = 1e-18


def relaxed_bound(steps: Steps, goal: Goal, limits: Limits, reach: Reach, incumbent: Incumbent) -> LowerBound:
    """The best bound that a subgradient ascent finds by pricing what the goal and the limits make hard.

    A priced limit pushes the shortest path to keep it, and priced uses push it to spread them, so that the bound comes
    close to the best plan within the limits. The incumbent meets every plan on the way.
    """
    pricing = _Pricing(steps, goal, limits)
    best_prices, best_value = pricing.prices, -math.inf
    variance = 0.0
    stride, idle = 1.0, 0
    for count in range(ROUNDS):
        weights, std, value = pricing.terms()
        # The deviation counts by its tangent at the variance met so far: near enough to choose prices by.
        tangent = std / (2.0 * math.sqrt(variance)) if variance else 0.0
        ahead = distances(steps, _with_variance(weights, tangent), reach)
        shortest = walk(steps, ahead, reach)
        if shortest is None:
            break
        value += weighted(weights, shortest.whole) + std * math.sqrt(shortest.whole[VARIANCE])
        variance = (variance + shortest.whole[VARIANCE]) / 2 if variance else shortest.whole[VARIANCE]
        if not incumbent.meet(shortest) and limits.stored_mb and count % DIVE_EACH == 0:
            incumbent.meet(dive(steps, ahead, limits.stored_mb))
        if value > best_value + 1e-6 * abs(value):
            best_prices, best_value, idle = pricing.prices, value, 0
        else:
            idle += 1
            if idle == STEP_HALVES_AFTER:
                stride, idle = stride / 2, 0
        slopes = pricing.slopes(shortest.whole)
        steepness = sum(slope * slope for slope in slopes)
        if steepness < FLAT or incumbent.value - best_value <= NEGLIGIBLE * abs(best_value):
            break
        gap = (incumbent.value if incumbent.value < math.inf else best_value + abs(best_value)) - value
        pricing.climb(slopes, stride * max(gap, 1e-6 * abs(best_value)) / steepness)
    pricing.prices = best_prices
    weights, std, constant = pricing.terms()
    bound, walks = lower_bound(steps, weights, std, reach, constant)
    for one in walks:
        incumbent.meet(one)
    return bound


class _Pricing:
    """The prices in the making, each that of using a limit up, so that one stride suits time, memory and uses alike.

    Those of the uses are 0 or more and add up to what the goal gives for the period.
    """

    def __init__(self, steps: Steps, goal: Goal, limits: Limits) -> None:
        self._goal = goal
        self._limits = limits
        self._rooms: list[tuple[int, float]] = []
        if limits.latency_ms is not None:
            self._rooms.append((MS, limits.latency_ms))
        self._rooms += enumerate(limits.stored_mb, FIRST_CAPACITY)
        self._uses = range(goal.uses_from, steps.width) if goal.period else range(0)
        self._use_ms = steps.alone_ms
        self.prices = [0.0] * steps.width
        for slot in self._uses:
            self.prices[slot] = goal.period * self._use_ms / len(self._uses)

    def terms(self) -> tuple[Figures, float, float]:
        """The weights of the figures and of the deviation, and the constant beside them."""
        weights, std, constant = list(self._goal.weights), self._goal.std, 0.0
        for slot, room in self._rooms:
            price = self.prices[slot] / (room or 1.0)
            weights[slot] += price
            constant -= price * room
            if slot == MS:
                std += price * self._limits.deviations
        for slot in self._uses:
            weights[slot] += self.prices[slot] / self._use_ms
        return tuple(weights), std, constant

    def slopes(self, whole: Figures) -> list[float]:
        """How the bound rises with each price, at the plan that is the least by them; 0 where a price is at its end."""
        slopes = [0.0] * len(self.prices)
        for slot, room in self._rooms:
            used = self._limits.latency_of(whole) if slot == MS else whole[slot]
            over = (used - room) / (room or 1.0)
            slopes[slot] = over if over > 0.0 or self.prices[slot] > 0.0 else 0.0
        free = list(self._uses)
        while free:
            mean = sum(whole[slot] for slot in free) / len(free)
            ended = [slot for slot in free if self.prices[slot] <= 0.0 and whole[slot] < mean]
            if not ended:
                for slot in free:
                    slopes[slot] = (whole[slot] - mean) / self._use_ms
                break
            free = [slot for slot in free if slot not in ended]
        return slopes

    def climb(self, slopes: Sequence[float], length: float) -> None:
        """Move along the slopes, and back to where the prices may be."""
        prices = [max(0.0, price + length * slope) for price, slope in zip(self.prices, slopes, strict=True)]
        if self._uses:
            moved = [self.prices[slot] + length * slopes[slot] for slot in self._uses]
            prices[self._goal.uses_from :] = _on_simplex(moved, self._goal.period * self._use_ms)
        self.prices = prices


def _on_simplex(point: Sequence[float], total: float) -> list[float]:
    """The nearest point whose coordinates are 0 or more and add up to `total`."""
    above, level = 0.0, 0.0
    for count, value in enumerate(sorted(point, reverse=True), 1):
        above += value
        if value - (above - total) / count > 0.0:
            level = (above - total) / count
    return [max(0.0, value - level) for value in point]


def _with_variance(weights: Figures, slope: float) -> Figures:
    return (*weights[:VARIANCE], weights[VARIANCE] + slope, *weights[VARIANCE + 1 :])
