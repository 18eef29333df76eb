"""The exact planner where bounds bind: a best-first search over partial plans that no other partial plan beats.

It decides between plans; reading the problem, pricing it and scoring the result are left to others.
"""

import heapq
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coordinator.cost import PartitionPlan, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.memory import memory_shortage
from coordinator.prices import Prices, WayBack, within
from coordinator.problem import Problem
from coordinator.routes import Route, routes_of
from coordinator.walk import stages_of

ROUNDING = 1e-9
"""Relative slack of a bound, so that the rounding of sums breaks none; prices.within forgives the same."""


ANY_TIME = sys.float_info.max
"""No deadline; finite, so that what cannot return to the origin at all still misses it."""


@dataclass(frozen=True, slots=True)
class _Label:
    """A partial plan: ops 0..`op`-1 are done, the last on `node`; what it spent, took and stored so far.

    `spent` is what the search keeps least: price, or time.
    """

    op: int
    node: int
    spent: float
    ms: float
    stored_mb: tuple[float, ...]
    """Weights on each node whose bound could break, in the order of `_Search.tight`."""
    before: "_Label | None"
    route: Route | None
    """The transfer before the last op, if there was one."""


class _Search:
    """The tables of one problem; `run` finds the cheapest plan, or the quickest, within memory and deadline."""

    def __init__(self, problem: Problem, prices: Prices, back: Sequence[WayBack | None]) -> None:
        model = problem.model
        self.problem = problem
        self.back = back
        self.ops = model.ops
        self.compute_ms = [[ms * node.stretch for ms in node.op_ms] for node in problem.nodes]
        self.compute_price = [
            [ms * price for ms in row] for row, price in zip(self.compute_ms, prices.compute_ms, strict=True)
        ]
        self.weights = model.weight_mb or (0.0,) * model.ops
        total_mb = math.fsum(self.weights)
        self.tight = [index for index, node in enumerate(problem.nodes) if not within(total_mb, node.memory_mb)]
        self.room_mb = [_slack(problem.nodes[index].memory_mb or 0.0) for index in self.tight]
        self.slot = {node: slot for slot, node in enumerate(self.tight)}
        self.routes = routes_of(problem, prices, quick_ones=True)
        self.steps = [self._steps_at(cut) for cut in range(model.ops)]

    def _steps_at(self, cut: int) -> list[list[tuple[int, float, float, Route]]]:
        """For each node, the transfers at a cut that none beats in both price and time: (dst, price, ms, route)."""
        steps: list[list[tuple[int, float, float, Route]]] = [[] for _ in self.problem.nodes]
        if cut in self.problem.model.forbidden_cuts:
            return steps
        size = self.problem.model.cut_bytes[cut]
        for (src, dst), routes in self.routes.items():
            quickest = math.inf
            priced = sorted(((route.price(size), route.ms(size), route) for route in routes), key=lambda it: it[:2])
            for price, ms, route in priced:
                if ms < quickest:
                    quickest = ms
                    steps[src].append((dst, price, ms, route))
        return steps

    def least_to_go(self, ms_weight: float, price_weight: float) -> list[list[float]]:
        """For each (ops done, node), the least of a weighting of time and price up to the end, memory ignored."""
        to_go = [[price_weight * back.price + ms_weight * back.ms if back else math.inf for back in self.back]]
        for op in range(self.ops - 1, -1, -1):
            run = [
                ms_weight * ms[op] + price_weight * price[op] + later
                for ms, price, later in zip(self.compute_ms, self.compute_price, to_go[-1], strict=True)
            ]
            to_go.append(
                [
                    min(
                        run[node],
                        min(
                            (
                                price_weight * price + ms_weight * ms + run[dst]
                                for dst, price, ms, _ in self.steps[op][node]
                            ),
                            default=math.inf,
                        ),
                    )
                    for node in range(len(self.problem.nodes))
                ]
            )
        return to_go[::-1]

    def run(self, *, deadline_ms: float, quickest: bool = False) -> "_Label | None":
        """The full plan of least price (or, with `quickest`, time) that keeps memory and deadline; None without one."""
        ms_to_go = self.least_to_go(1.0, 0.0)
        to_go = ms_to_go if quickest else self.least_to_go(0.0, 1.0)
        start = _Label(0, self.problem.origin_index, 0.0, 0.0, (0.0,) * len(self.tight), None, None)
        queue: list[tuple[float, int, _Label]] = [(to_go[0][start.node], 0, start)]
        settled: dict[tuple[int, int], list[_Label]] = {}
        made = 0
        while queue:
            _, _, label = heapq.heappop(queue)
            if label.op == self.ops:
                return label
            rivals = settled.setdefault((label.op, label.node), [])
            if any(_beats(rival, label) for rival in rivals):
                continue
            rivals.append(label)
            for after in self._after(label, quickest):
                if after.ms + ms_to_go[after.op][after.node] <= deadline_ms:
                    made += 1
                    # Among equals the latest comes first, which goes deep instead of wide.
                    heapq.heappush(queue, (after.spent + to_go[after.op][after.node], -made, after))
        return None

    def _after(self, label: _Label, quickest: bool) -> Iterator[_Label]:
        """The partial plans that run one more op, within memory."""
        stay: tuple[int, float, float, Route | None] = (label.node, 0.0, 0.0, None)
        for node, price, ms, route in (stay, *self.steps[label.op][label.node]):
            stored_mb = label.stored_mb
            slot = self.slot.get(node)
            if slot is not None:
                stored = stored_mb[slot] + self.weights[label.op]
                if stored > self.room_mb[slot]:
                    continue
                stored_mb = (*stored_mb[:slot], stored, *stored_mb[slot + 1 :])
            took = ms + self.compute_ms[node][label.op]
            spent = took if quickest else price + self.compute_price[node][label.op]
            yield _Label(label.op + 1, node, label.spent + spent, label.ms + took, stored_mb, label, route)


def plan_within_bounds(problem: Problem, prices: Prices, back: Sequence[WayBack | None]) -> PartitionPlan:
    """The plan of least objective that keeps all bounds. PlanInfeasibleError says which cannot be."""
    search = _Search(problem, prices, back)
    deadline_ms = ANY_TIME if problem.deadline_ms is None else _slack(problem.deadline_ms)
    found = search.run(deadline_ms=deadline_ms)
    if found is not None:
        return _planned(problem, found)
    quickest = search.run(deadline_ms=ANY_TIME, quickest=True)
    if quickest is None:
        raise PlanInfeasibleError("memory_mb", memory_shortage(problem, back))
    best_ms, deadline = _planned(problem, quickest).score.latency_ms, problem.deadline_ms or 0.0
    raise PlanInfeasibleError(
        "deadline_ms",
        f"no plan keeps the deadline_ms of {deadline:.6g}: the quickest"
        f"{' that fits the memory_mb of the nodes' if search.tight else ''} takes {best_ms:.6g} ms, "
        f"{best_ms - deadline:.6g} ms too many",
    )


def _planned(problem: Problem, found: _Label) -> PartitionPlan:
    op_nodes: list[int] = []
    taken: dict[int, Route] = {}
    label = found
    while label.before is not None:
        op_nodes.append(label.node)
        if label.route:
            taken[label.before.op] = label.route
        label = label.before
    stages = stages_of(problem, op_nodes[::-1], taken)
    return PartitionPlan(stages, evaluate(problem, stages))


def _beats(rival: _Label, label: _Label) -> bool:
    return (
        rival.spent <= label.spent
        and rival.ms <= label.ms
        and all(theirs <= mine for theirs, mine in zip(rival.stored_mb, label.stored_mb, strict=True))
    )


def _slack(bound: float) -> float:
    return bound * (1.0 + ROUNDING)
