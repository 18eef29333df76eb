"""A lower bound on what a partial plan comes to in the end: shortest paths, and the least of a square root over them.

The square root of the variance makes the sum concave, so that its least lies on a corner of what the paths span.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.distances import Distances, Reach, Walk, distances, walk
from coordinator.figures import VARIANCE, Figures, unit, weighted
from coordinator.steps import Steps

NEGLIGIBLE = 1e-12
"""Relative: sums in another order differ in the last digits."""


@dataclass(frozen=True, slots=True)
class Line:
    """The shortest paths at one price of the variance, beside the sum's own weights."""

    slope: float
    distances: Distances


@dataclass(frozen=True, slots=True)
class LowerBound:
    """No plan that keeps the limits and goes on from a partial one comes to less than `of` says."""

    weights: Figures
    std: float
    """What 1 ms of the latency's deviation is worth."""
    constant: float
    """What the limits in `weights` are worth if they are used up, to be taken off."""
    lines: tuple[Line, ...]
    """By slope, from 0 on."""
    certain: Distances | None
    """The shortest paths by variance alone; None where deviations are worth nothing."""

    @property
    def at_all(self) -> float:
        """The bound for any plan."""
        if self.certain is None:
            return self.constant + self.lines[0].distances.least
        return self.constant + self._least([line.distances.least for line in self.lines], self.certain.least, 0.0)

    def spent(self, figures: Figures) -> float:
        """What a part of a plan comes to in the sum, the constant included."""
        return self.constant + weighted(self.weights, figures)

    def of(self, node: int, cut: int, figures: Figures) -> float:
        """The bound for plans whose tensors arrive on a node at a cut, and that come to `figures` until then."""
        spent = self.spent(figures)
        if self.certain is None:
            return spent + self.lines[0].distances.arriving[node][cut]
        heights = [line.distances.arriving[node][cut] for line in self.lines]
        return spent + self._least(heights, self.certain.arriving[node][cut], figures[VARIANCE])

    def _least(self, heights: Sequence[float], least_variance: float, variance: float) -> float:
        """The least of sum + std * sqrt(variance + v), where sum + slope * v is at least its height on each line."""
        if heights[0] == math.inf:
            return math.inf
        value = math.inf
        before, slope_before = heights[0], self.lines[0].slope
        for line, height in zip(self.lines[1:], heights[1:], strict=True):
            at = (height - before) / (line.slope - slope_before)
            if at > least_variance:
                corner = before - slope_before * at + self.std * math.sqrt(variance + at)
                value = min(value, corner)
            before, slope_before = height, line.slope
        corner = before - slope_before * least_variance + self.std * math.sqrt(variance + least_variance)
        return min(value, corner)


def lower_bound(
    steps: Steps, weights: Figures, std: float, reach: Reach, constant: float = 0.0
) -> tuple[LowerBound, list[Walk]]:
    """The bound for a weighted sum and a deviation, and walks; one of them comes to the bound. No walks: no way.

    With limits or uses priced in the weights it holds for all plans that keep the limits.
    """
    shortest = distances(steps, weights, reach)
    cheapest = walk(steps, shortest, reach)
    plain = Line(0.0, shortest)
    if cheapest is None or not std:
        return LowerBound(weights, 0.0, constant, (plain,), None), [cheapest] if cheapest else []
    certain = distances(steps, unit(steps.width, VARIANCE), reach)
    surest = walk(steps, certain, reach)
    outline = _Outline(steps, weights, std, reach, [cheapest, *([surest] if surest else [])])
    lines = (plain, *outline.between(plain, cheapest, Line(math.inf, certain), surest))
    return LowerBound(weights, std, constant, lines, certain), outline.walks


class _Outline:
    """Finds the walks that have the least sum for a variance, corner by corner, as far as one can be the best."""

    def __init__(self, steps: Steps, weights: Figures, std: float, reach: Reach, walks: list[Walk]) -> None:
        self._steps = steps
        self._reach = reach
        self._weights = weights
        self._std = std
        self.walks = walks

    def between(self, low: Line, cheaper: Walk, high: Line, surer: Walk | None) -> list[Line]:
        """The lines, by slope, between two that are known with a walk on each."""
        if surer is None:
            return []
        (sum_low, variance_low), (sum_high, variance_high) = self._point(cheaper), self._point(surer)
        best = min(self._value(*self._point(one)) for one in self.walks)
        if self._value(*self._corner(low, high)) >= best - NEGLIGIBLE * abs(best):
            return []
        if not (variance_high < variance_low and sum_high > sum_low):
            return []
        slope = (sum_high - sum_low) / (variance_low - variance_high)
        if not low.slope < slope < high.slope:
            return []
        weights = list(self._weights)
        weights[VARIANCE] += slope
        line = Line(slope, distances(self._steps, tuple(weights), self._reach))
        found = walk(self._steps, line.distances, self._reach)
        chord = sum_low + slope * variance_low
        if found is None or self._height(line) >= chord - NEGLIGIBLE * abs(chord):
            return [line]
        self.walks.append(found)
        return [*self.between(low, cheaper, line, found), line, *self.between(line, found, high, surer)]

    def _point(self, one: Walk) -> tuple[float, float]:
        return weighted(self._weights, one.whole), one.whole[VARIANCE]

    def _value(self, total: float, variance: float) -> float:
        return total + self._std * math.sqrt(variance)

    def _height(self, line: Line) -> float:
        return line.distances.least

    def _corner(self, low: Line, high: Line) -> tuple[float, float]:
        """Where two lines cross; the one of infinite slope is upright."""
        if high.slope == math.inf:
            variance = self._height(high)
        else:
            variance = max((self._height(high) - self._height(low)) / (high.slope - low.slope), 0.0)
        return self._height(low) - low.slope * variance, variance
