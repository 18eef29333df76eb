"""The steps that any plan of a problem is made of, with their figures: stages, transfers, and ways back.

Bounds are not known here, nor is what a search looks for; those that use these tables know them.
"""

import copy
import math
from collections.abc import Sequence
from itertools import accumulate
from operator import le
from typing import NamedTuple

from coordinator.figures import FIRST_CAPACITY, MS, PRICE, VARIANCE, Figures, Goal, latency_ms, plus, slack, unit
from coordinator.prices import EQUAL, Prices, ways_back, within
from coordinator.problem import Problem
from coordinator.routes import Pair, Path, Route, Routes, paths_of


class Transfer(NamedTuple):
    """A route with its figures: those that are fixed, per byte, and (variance alone) per square of the bytes."""

    route: Route
    fixed: Figures
    per_byte: Figures
    variance_per_byte2: float
    most_bytes: float = math.inf
    """More are not looked at."""

    def figures(self, size: float) -> Figures:
        """What it adds for so many bytes."""
        figures = [fixed + size * per_byte for fixed, per_byte in zip(self.fixed, self.per_byte, strict=True)]
        figures[VARIANCE] += size * size * self.variance_per_byte2
        return tuple(figures)


Sent = tuple[Figures, Route]
"""A route at one cut, and what a transfer by it comes to."""


class Arc(NamedTuple):
    """A transfer at one cut, to `node`."""

    node: int
    figures: Figures
    route: Route


class Steps:
    """The tables of one problem, by node index; a node is tight if it cannot hold all weights.

    Figures that do not count are 0: the ms unless `timed`, the variance unless the latency counts above its mean.
    """

    def __init__(self, problem: Problem, prices: Prices, *, timed: bool) -> None:
        model = problem.model
        self.ops = model.ops
        self.nodes = range(len(problem.nodes))
        self.origin = problem.origin_index
        self.prices = prices
        self.timed = timed
        self.sizes = model.cut_bytes
        self.forbidden = model.forbidden_cuts
        stretches = [node.stretch for node in problem.nodes]
        self.ms_before = [
            list(accumulate([ms * stretch for ms in node.op_ms] if node.load else node.op_ms, initial=0.0))
            for node, stretch in zip(problem.nodes, stretches, strict=True)
        ]
        """The time of the ops before each cut, by node and cut."""
        self.variance_before = [
            list(accumulate([(std * stretch) ** 2 for std in node.op_ms_std], initial=0.0))
            if prices.deviations and node.op_ms_std
            else []
            for node, stretch in zip(problem.nodes, stretches, strict=True)
        ]
        """The variance of that time; empty where it is certain, or does not count."""
        self.mb_before = list(accumulate(model.weight_mb or (0.0,) * model.ops, initial=0.0))
        total_mb = math.fsum(model.weight_mb)
        self.tight = [index for index, node in enumerate(problem.nodes) if not within(total_mb, node.memory_mb)]
        self.slot = {node: FIRST_CAPACITY + index for index, node in enumerate(self.tight)}
        self.uses_from = FIRST_CAPACITY + len(self.tight)
        links_from = self.uses_from + len(self.nodes)
        self.width = links_from + len(prices.hops) if prices.period_ms else self.uses_from
        self.nothing = (0.0,) * self.width
        self._link_slot = {(hop.src, hop.dst): links_from + index for index, hop in enumerate(prices.hops)}
        self.objective = Goal(unit(self.width, PRICE), prices.std_ms, prices.period_ms, self.uses_from)
        routes = Routes(problem, prices, quick_ones=timed)
        self.transfers = {pair: [self._transfer(route) for route in routes.anywhere[pair]] for pair in routes.pairs}
        """By the nodes that send and receive: those that are the same at all cuts."""
        self.at_cut = {pair: self._by_cut(routes, pair) for pair in routes.pairs}
        """The same by cut, of those that are for this cut alone."""
        self.ways_back = self._ways_back(problem)
        """For each node, what the ways back come to that can be the best; none where there is no way."""
        self._arcs: dict[int, list[list[Arc]]] = {}

    def _transfer(self, route: Route) -> Transfer:
        fixed, per_byte = [0.0] * self.width, [0.0] * self.width
        fixed[PRICE], per_byte[PRICE] = route.fixed_price, route.price_per_byte
        if self.timed:
            fixed[MS], per_byte[MS] = route.fixed_ms, route.ms_per_byte
        if self.prices.period_ms:
            for hop in route.hops:
                slot = self._link_slot[hop.src, hop.dst]
                fixed[slot], per_byte[slot] = hop.fixed_ms, hop.ms_per_byte * route.ratio
            per_byte[self.uses_from + route.hops[0].src] = route.encode_ms_per_byte
            per_byte[self.uses_from + route.hops[-1].dst] = route.decode_ms_per_byte
        if not self.prices.deviations:
            return Transfer(route, tuple(fixed), tuple(per_byte), 0.0)
        fixed[VARIANCE] = route.fixed_variance_ms2
        return Transfer(route, tuple(fixed), tuple(per_byte), route.variance_ms2_per_byte2)

    def _by_cut(self, routes: Routes, pair: Pair) -> dict[int, list[Sent]]:
        found: dict[int, list[Sent]] = {}
        for cut in range(self.ops) if routes.varying else ():
            here = [self._transfer(route) for route in routes.at(pair, cut)]
            if here and cut not in self.forbidden:
                found[cut] = _unbeaten([(transfer.figures(self.sizes[cut]), transfer.route) for transfer in here])
        return found

    def _ways_back(self, problem: Problem) -> list[list[Figures]]:
        if self.prices.additive:
            rest = (0.0,) * (self.width - 2)
            return [
                [(way.price, way.ms if self.timed else 0.0, *rest)] if way else []
                for way in ways_back(problem, self.prices)
            ]
        paths = paths_of(self.prices, quick_ones=True)
        return [
            [self.nothing]
            if node == self.origin
            else [self._way_back(path) for path in paths.get((node, self.origin), ())]
            for node in self.nodes
        ]

    def _way_back(self, path: Path) -> Figures:
        size = self.sizes[-1]
        figures = [0.0] * self.width
        figures[PRICE] = path.fixed[0] + size * path.per_byte[0]
        if self.timed:
            figures[MS] = path.fixed[1] + size * path.per_byte[1]
        if self.prices.deviations:
            figures[VARIANCE] = path.fixed[2] + size * size * path.per_byte[2]
        if self.prices.period_ms:
            for hop in path.hops:
                figures[self._link_slot[hop.src, hop.dst]] = hop.fixed_ms + size * hop.ms_per_byte
        return tuple(figures)

    @property
    def alone_ms(self) -> float:
        """The time of all ops on the origin."""
        return self.ms_before[self.origin][-1]

    def narrowed(self, most_ms: float) -> "Steps":
        """The same without the transfers and ways back that keep a node or link in use for longer."""
        narrow = copy.copy(self)
        narrow.transfers = {
            pair: [self._narrowed(transfer, most_ms) for transfer in transfers]
            for pair, transfers in self.transfers.items()
        }
        narrow.at_cut = {
            pair: {
                cut: [one for one in sent if max(one[0][self.uses_from :], default=0.0) <= most_ms]
                for cut, sent in by_cut.items()
            }
            for pair, by_cut in self.at_cut.items()
        }
        narrow.ways_back = [
            [way for way in ways if max(way[self.uses_from :], default=0.0) <= most_ms] for ways in self.ways_back
        ]
        narrow._arcs = {}
        return narrow

    def _narrowed(self, transfer: Transfer, most_ms: float) -> Transfer:
        uses = zip(transfer.fixed[self.uses_from :], transfer.per_byte[self.uses_from :], strict=True)
        sizes = [(most_ms - fixed) / per_byte if per_byte else math.inf for fixed, per_byte in uses if fixed <= most_ms]
        if len(sizes) < self.width - self.uses_from:
            return transfer._replace(most_bytes=-1.0)
        return transfer._replace(most_bytes=slack(min(sizes, default=math.inf)))

    def stage(self, node: int, start: int, stop: int) -> Figures:
        """What ops `start`..`stop`-1 on a node come to."""
        before = self.ms_before[node]
        ms = before[stop] - before[start]
        figures = [0.0] * self.width
        figures[PRICE] = ms * self.prices.compute_ms[node]
        if self.timed:
            figures[MS] = ms
        variance = self.variance_before[node]
        if variance:
            figures[VARIANCE] = max(0.0, variance[stop] - variance[start])
        if node in self.slot:
            figures[self.slot[node]] = self.mb_before[stop] - self.mb_before[start]
        if self.prices.period_ms:
            figures[self.uses_from + node] = ms
        return tuple(figures)

    def arcs(self, cut: int) -> list[list[Arc]]:
        """For each node, the transfers at a cut that none beats in all figures."""
        found = self._arcs.get(cut)
        if found is None:
            found = [[] for _ in self.nodes]
            if cut not in self.forbidden:
                for src, dst in self.transfers:
                    found[src] += (Arc(dst, figures, route) for figures, route in _unbeaten(self.sent((src, dst), cut)))
            self._arcs[cut] = found
        return found

    def sent(self, pair: Pair, cut: int) -> list[Sent]:
        """All transfers between two nodes at a cut."""
        size = self.sizes[cut]
        return [
            *(
                (transfer.figures(size), transfer.route)
                for transfer in self.transfers[pair]
                if size <= transfer.most_bytes
            ),
            *self.at_cut[pair].get(cut, ()),
        ]

    def returned(self, figures: Figures, last: int) -> Figures:
        """What a plan comes to with the way back of least objective from its last node, and of equals the quickest."""
        wholes = [plus(figures, way) for way in self.ways_back[last]]
        if len(wholes) == 1:
            return wholes[0]
        judged = [(self.objective.of(whole), latency_ms(whole, self.prices.deviations), whole) for whole in wholes]
        least = min(objective for objective, _, _ in judged)
        equals = [one for one in judged if one[0] <= least + EQUAL * abs(least)]
        return min(equals, key=lambda one: one[1])[2]


def _unbeaten(transfers: Sequence[Sent]) -> list[Sent]:
    """Those that no other beats in all figures."""
    kept: list[Sent] = []
    for mine, route in transfers:
        if any(all(map(le, theirs, mine)) for theirs, _ in kept):
            continue
        kept = [(theirs, other) for theirs, other in kept if not all(map(le, mine, theirs))]
        kept.append((mine, route))
    return kept
