"""Shortest paths over a problem's steps by any weighting of their figures, and the plans along them.

A stage may be as long as its `reach` lets it; what several stages on one node come to in sum is not looked at.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from coordinator.figures import MS, PRICE, VARIANCE, Figures, plus, weighted
from coordinator.routes import Pair, Route
from coordinator.steps import Steps

Reach = list[list[int] | None]
"""By node: None for any length, or by the first op how far a stage may go at most."""


class Visit(NamedTuple):
    """A stage of a plan in the making: ops `start`..`stop`-1 on a node, and the route into it, if any."""

    node: int
    start: int
    stop: int
    route: Route | None


@dataclass(frozen=True, slots=True)
class Distances:
    """What lies ahead at the least, by node and cut; infinite where no way leads on."""

    weights: Figures
    before: list[list[float]]
    """What all ops before the cut come to on the node."""
    beyond: list[list[float]]
    """The same, and what comes after a stage on the node that stops at the cut."""
    arriving: list[list[float]]
    """What comes after tensors that arrive at the node, the stage on it included."""
    transfers: list[tuple[int, int, list[float]]]
    """The node that sends, the node that receives, and the least by cut."""
    least: float
    """What any plan comes to at the least."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The visits of a plan, what they come to without the way back, and with the one of least weight."""

    visits: tuple[Visit, ...]
    figures: Figures
    whole: Figures


def reach_within(steps: Steps, room_mb: Sequence[float], most_ms: float | None = None) -> Reach:
    """How far stages may go that fit the tight nodes' room, and where it is given take at most so many ms."""
    reach: Reach = [None for _ in steps.nodes]
    for node, room in zip(steps.tight, room_mb, strict=True):
        before = steps.mb_before
        reach[node] = [bisect_right(before, at + room) - 1 for at in before]
    if most_ms is not None:
        for node, before in enumerate(steps.ms_before):
            in_time = [bisect_right(before, at + most_ms) - 1 for at in before]
            fits = reach[node]
            reach[node] = [*map(min, fits, in_time)] if fits else in_time
    return reach


def distances(steps: Steps, weights: Figures, reach: Reach) -> Distances:
    """The shortest paths by a weighting of the figures."""
    before = [_runs_before(steps, node, weights) for node in steps.nodes]
    transfers = [(*pair, _least_transfers(steps, pair, weights)) for pair in steps.transfers]
    ops = steps.ops
    beyond = [[math.inf] * (ops + 1) for _ in steps.nodes]
    arriving = [[math.inf] * (ops + 1) for _ in steps.nodes]
    for node, ways in enumerate(steps.ways_back):
        if ways:
            beyond[node][ops] = before[node][ops] + min([weighted(weights, way) for way in ways])
    rows = list(zip(before, beyond, arriving, reach, strict=True))
    shortest = [row[ops] for row in beyond]
    for cut in range(ops - 1, -1, -1):
        arrivals: list[float] = []
        for node, (runs, past, arrives, limit) in enumerate(rows):
            if limit is None:
                if past[cut + 1] < shortest[node]:  # noqa: PLR1730  min() takes twice as long
                    shortest[node] = past[cut + 1]
                least = shortest[node] - runs[cut]
            else:
                least = min(past[cut + 1 : limit[cut] + 1], default=math.inf) - runs[cut]
            arrives[cut] = least
            arrivals.append(least)
        leaving = [math.inf] * len(rows)
        for src, dst, transfer in transfers:
            distance = transfer[cut] + arrivals[dst]
            if distance < leaving[src]:  # noqa: PLR1730  min() takes twice as long
                leaving[src] = distance
        for node, distance in enumerate(leaving):
            beyond[node][cut] = before[node][cut] + distance
    least = min(arriving[steps.origin][0], beyond[steps.origin][0])
    return Distances(weights, before, beyond, arriving, transfers, least)


def walk(steps: Steps, by: Distances, reach: Reach) -> Walk | None:
    """The plan along the shortest path from the origin; None where there is no way."""
    if by.least == math.inf:
        return None

    def onward(node: int, start: int, first: int) -> tuple[int, int]:
        limit = reach[node]
        past = by.beyond[node][: limit[start] + 1] if limit else by.beyond[node]
        stop = min(range(first, len(past)), key=past.__getitem__)
        if stop == steps.ops:
            return stop, node
        return stop, min((row[stop] + by.arriving[dst][stop], dst) for src, dst, row in by.transfers if src == node)[1]

    return _along(steps, by, onward)


def dive(steps: Steps, by: Distances, room_mb: Sequence[float]) -> Walk | None:
    """A plan along short paths whose stages together keep the room on the tight nodes.

    None where it runs into an end; there may be a plan all the same.
    """
    left = dict(zip(steps.tight, room_mb, strict=True))
    visited: set[int] = set()

    def limit(node: int, start: int) -> int:
        return bisect_right(steps.mb_before, steps.mb_before[start] + left[node]) - 1 if node in left else steps.ops

    def arriving(node: int, cut: int) -> float:
        if node not in visited:
            return by.arriving[node][cut]
        return min(by.beyond[node][cut + 1 : limit(node, cut) + 1], default=math.inf) - by.before[node][cut]

    def onward(node: int, start: int, first: int) -> tuple[int, int] | None:
        visited.add(node)
        last = limit(node, start)
        best, stop, chosen = (by.beyond[node][steps.ops] if last == steps.ops else math.inf), steps.ops, node
        for src, dst, row in by.transfers:
            if src == node:
                for cut in range(first, min(last, steps.ops - 1) + 1):
                    distance = by.before[node][cut] + row[cut]
                    if distance < best:
                        distance += arriving(dst, cut)
                        if distance < best:
                            best, stop, chosen = distance, cut, dst
        if best == math.inf:
            return None
        if node in left:
            left[node] -= steps.mb_before[stop] - steps.mb_before[start]
        return stop, chosen

    return _along(steps, by, onward)


def _along(steps: Steps, by: Distances, onward: Callable[[int, int, int], tuple[int, int] | None]) -> Walk | None:
    """The plan that goes where `onward` says: from a node, its first op and its first stop, to a stop and a node."""
    visits: list[Visit] = []
    figures = steps.nothing
    # Only the origin can send before it ran an op: the input.
    node, start, first = steps.origin, 0, 0
    route: Route | None = None
    while True:
        found = onward(node, start, first)
        if found is None:
            return None
        stop, dst = found
        if stop > start:
            visits.append(Visit(node, start, stop, route))
            figures = plus(figures, steps.stage(node, start, stop))
        if stop == steps.ops:
            back = min(steps.ways_back[node], key=lambda way: weighted(by.weights, way))
            return Walk(tuple(visits), figures, plus(figures, back))
        sent, route = min(steps.sent((node, dst), stop), key=lambda one: weighted(by.weights, one[0]))
        figures = plus(figures, sent)
        node, start, first = dst, stop, stop + 1


def _runs_before(steps: Steps, node: int, weights: Figures) -> list[float]:
    """What the ops before each cut come to on a node."""
    of_ms = weights[PRICE] * steps.prices.compute_ms[node] + weights[MS]
    if steps.prices.period_ms:
        of_ms += weights[steps.uses_from + node]
    row = [ms * of_ms for ms in steps.ms_before[node]]
    of_ms2, variances = weights[VARIANCE], steps.variance_before[node]
    if of_ms2 and variances:
        row = [runs + of_ms2 * variance for runs, variance in zip(row, variances, strict=True)]
    of_mb = weights[steps.slot[node]] if node in steps.slot else 0.0
    if of_mb:
        row = [runs + of_mb * stored for runs, stored in zip(row, steps.mb_before, strict=True)]
    return row


def _least_transfers(steps: Steps, pair: Pair, weights: Figures) -> list[float]:
    """The least of the transfers between two nodes at each cut 0..N-1; infinite where there is none."""
    sizes = steps.sizes[:-1]
    best: list[float] = []
    for _, fixed, per_byte, per_byte2, most_bytes in steps.transfers[pair]:
        at_0, slope, bend = weighted(weights, fixed), weighted(weights, per_byte), weights[VARIANCE] * per_byte2
        if bend:
            mine = [at_0 + size * (slope + size * bend) for size in sizes]
        else:
            mine = [at_0 + size * slope for size in sizes]
        if most_bytes < math.inf:
            mine = [one if size <= most_bytes else math.inf for one, size in zip(mine, sizes, strict=True)]
        best = [least if least < one else one for least, one in zip(best, mine, strict=True)] if best else mine
    best = best or [math.inf] * len(sizes)
    for cut, sent in steps.at_cut[pair].items():
        best[cut] = min([best[cut], *(weighted(weights, figures) for figures, _ in sent)])
    for cut in steps.forbidden:
        best[cut] = math.inf
    return best
