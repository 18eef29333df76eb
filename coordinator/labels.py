"""The search that decides: partial plans, best first, but for those that another one beats or that cannot be the best.

What it estimates with, and what it makes of a plan in the end, is left to others.
"""

import heapq
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import le
from typing import NamedTuple

from coordinator.distances import Visit
from coordinator.figures import FIRST_CAPACITY, VARIANCE, Figures, Goal, Limits, plus
from coordinator.incumbent import Incumbent
from coordinator.lower_bound import NEGLIGIBLE, LowerBound
from coordinator.routes import Route
from coordinator.steps import Steps

MOST_RIVALS = 256
"""At each node and cut the last of those that were pursued are kept to compare with: more cost more than they spare."""


class Label(NamedTuple):
    """A partial plan whose tensors at a cut have arrived on a node: its figures so far, and how it got there."""

    node: int
    cut: int
    figures: Figures
    route: Route | None
    """That of the transfer at the cut."""
    before: "Label | None"


@dataclass(frozen=True, slots=True)
class Estimates:
    """Lower bounds for partial plans: on the goal, each of them; on the latency that counts; on the period."""

    goal: tuple[LowerBound, ...]
    """The first leaves out the period."""
    latency: tuple[LowerBound, ...]
    """None where no deadline counts."""
    bottleneck: list[list[float]] | None
    """By node and cut of arrival; None where the period does not count."""


@dataclass(frozen=True, slots=True)
class Found:
    """How far a search came: no plan within the limits has less than `least`, after so many labels."""

    complete: bool
    """Whether no plan is better than the incumbent."""
    least: float
    labels: int


class Search:
    """Searches for the least of a goal within limits.

    With `strict_return` the result takes the way back that the objective likes best even where another would keep the
    deadline; without, any way back.
    """

    def __init__(self, steps: Steps, goal: Goal, limits: Limits, *, strict_return: bool) -> None:
        self._steps = steps
        self._goal = goal
        self._limits = limits
        self._strict = strict_return and not steps.prices.additive
        self._room_mb = dict(zip(steps.tight, limits.stored_mb, strict=True))

    def run(self, estimates: Estimates, incumbent: Incumbent, most_labels: int | None) -> Found:
        """Search until no partial plan is left that could be better than the incumbent, or so many have been made."""
        root = Label(self._steps.origin, 0, self._steps.nothing, None, None)
        queue: list[tuple[float, int, Label]] = [(-math.inf, 0, root)]
        rivals: dict[tuple[int, int], deque[Figures]] = {}
        made = 0
        while queue and queue[0][0] < _ceiling(incumbent):
            if most_labels is not None and made >= most_labels:
                return Found(False, queue[0][0], made)
            _, _, label = heapq.heappop(queue)
            mine = self._as_rival(label)
            theirs = rivals.setdefault((label.node, label.cut), deque(maxlen=MOST_RIVALS))
            reduced = self._reduced(label, mine)
            if any(all(map(le, their, reduced)) for their in theirs):
                continue
            theirs.appendleft(mine)
            for estimate, after in self._after(label, estimates, incumbent):
                made += 1
                # Among equals the latest comes first, which goes deep instead of wide.
                heapq.heappush(queue, (estimate, -made, after))
        return Found(True, incumbent.value, made)

    def _as_rival(self, label: Label) -> Figures:
        """The figures that decide whether a partial plan is as good as another in all that can follow."""
        figures = label.figures
        if self._strict:
            # Its way back is another plan's too only if their deviations and uses are the same.
            return (*figures, -figures[VARIANCE], *(-use for use in figures[self._goal.uses_from :]))
        return figures

    def _reduced(self, label: Label, figures: Figures) -> Figures:
        """The same, where a partial plan is no worse for room that the ops to come could not fill."""
        to_come = self._steps.mb_before[-1] - self._steps.mb_before[label.cut]
        return (
            *figures[:FIRST_CAPACITY],
            *(
                max(stored, room - to_come)
                for stored, room in zip(figures[FIRST_CAPACITY:], self._limits.stored_mb, strict=False)
            ),
            *figures[self._goal.uses_from :],
        )

    def _after(self, label: Label, estimates: Estimates, incumbent: Incumbent) -> Iterator[tuple[float, Label]]:
        """The partial plans with one stage and one transfer more, with their estimates; plans that end are kept."""
        steps = self._steps
        node, start, figures = label.node, label.cut, label.figures
        last = steps.ops
        if node in self._room_mb:
            left = self._room_mb[node] - figures[steps.slot[node]]
            last = bisect_right(steps.mb_before, steps.mb_before[start] + left) - 1
        first = start + 1 if label.before else 0
        for stop in _promising(label, estimates, range(first, last + 1), _ceiling(incumbent)):
            so_far = plus(figures, steps.stage(node, start, stop))
            if stop == steps.ops:
                self._end(label, so_far, incumbent)
                continue
            for dst, sent, route in steps.arcs(stop)[node]:
                after = Label(dst, stop, plus(so_far, sent), route, label)
                ceiling = _ceiling(incumbent)
                estimate = self._estimate(after, estimates, ceiling)
                if estimate < ceiling:
                    yield estimate, after

    def _estimate(self, label: Label, estimates: Estimates, ceiling: float) -> float:
        """What a plan that goes on from the label comes to at the least; infinite where that is too much."""
        node, cut, figures = label.node, label.cut, label.figures
        plain, *closer = estimates.goal
        value = plain.of(node, cut, figures)
        if estimates.bottleneck is not None:
            value += self._goal.period * max(*figures[self._goal.uses_from :], estimates.bottleneck[node][cut])
        if value >= ceiling:
            return math.inf
        for bound in estimates.latency:
            if bound.of(node, cut, figures) > (self._limits.latency_ms or 0.0):
                return math.inf
        for bound in closer:
            value = max(value, bound.of(node, cut, figures))
        return value

    def _end(self, label: Label, figures: Figures, incumbent: Incumbent) -> None:
        """Offer the plans that end on the label's node."""
        steps = self._steps
        if self._strict and steps.ways_back[label.node]:
            wholes = [steps.returned(figures, label.node)]
        else:
            wholes = [plus(figures, way) for way in steps.ways_back[label.node]]
        for whole in wholes:
            if self._limits.keep(whole):
                incumbent.offer(_visits(label, steps.ops), whole)


def _ceiling(incumbent: Incumbent) -> float:
    """What a plan must come to less than to be better."""
    return incumbent.value - NEGLIGIBLE * abs(incumbent.value) if incumbent.visits else math.inf


def _promising(label: Label, estimates: Estimates, stops: Sequence[int], ceiling: float) -> Sequence[int]:
    """The cuts at which a stage from the label on may stop, as far as the sums tell."""
    for bound in estimates.goal:
        ahead = bound.lines[0].distances
        beyond = ahead.beyond[label.node]
        most = ceiling - bound.spent(label.figures) + ahead.before[label.node][label.cut]
        stops = [stop for stop in stops if beyond[stop] < most]
    return stops


def _visits(label: Label, ops: int) -> tuple[Visit, ...]:
    """The stages of a plan whose last one begins with the label."""
    visits = [Visit(label.node, label.cut, ops, label.route)]
    while label.before is not None:
        stop, label = label.cut, label.before
        if label.cut < stop:
            visits.append(Visit(label.node, label.cut, stop, label.route))
    return tuple(visits[::-1])
