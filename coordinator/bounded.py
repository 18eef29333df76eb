"""The exact planner where bounds bind: a best-first search over partial plans that no other partial plan beats.

It decides between plans; the steps that they are made of, and the estimate of what lies ahead, are left to others.
"""

import heapq
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import le

from coordinator.cost import PartitionPlan, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.memory import memory_shortage, not_enough_memory
from coordinator.prices import Prices, WayBack
from coordinator.problem import Problem
from coordinator.relaxation import Limits, LowerBound, plain_bound, relaxed_bound
from coordinator.routes import Route
from coordinator.steps import Steps, Weighting
from coordinator.walk import stages_of

ROUNDING = 1e-9
"""Relative slack of a bound, so that the rounding of sums breaks none; prices.within forgives the same."""
RELAX_AFTER = 1_000
"""Partial plans made before a better estimate is worth its price of some dozen shortest paths."""
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
    before: "_Label | None"
    route: Route | None
    """The transfer before the last op, if there was one."""


def plan_within_bounds(problem: Problem, prices: Prices, back: Sequence[WayBack | None]) -> PartitionPlan:
    """The plan of least objective that keeps all bounds. PlanInfeasibleError says which cannot be."""
    shortage = not_enough_memory(problem, back)
    if shortage:
        raise PlanInfeasibleError("memory_mb", shortage)
    steps = Steps(problem, prices, back)
    room_mb = tuple(_slack(problem.nodes[node].memory_mb or 0.0) for node in steps.tight)
    limits = Limits(ANY_TIME if problem.deadline_ms is None else _slack(problem.deadline_ms), room_mb)
    found = _search(steps, limits, quickest=False)
    if found is not None:
        return _planned(problem, found)
    quickest = _search(steps, Limits(ANY_TIME, room_mb), quickest=True)
    if quickest is None:
        raise PlanInfeasibleError("memory_mb", memory_shortage(problem, back))
    best_ms, deadline = _planned(problem, quickest).score.latency_ms, problem.deadline_ms or 0.0
    raise PlanInfeasibleError(
        "deadline_ms",
        f"no plan keeps the deadline_ms of {deadline:.6g}: the quickest"
        f"{' that fits the memory_mb of the nodes' if steps.tight else ''} takes {best_ms:.6g} ms, "
        f"{best_ms - deadline:.6g} ms too many",
    )


def _search(steps: Steps, limits: Limits, *, quickest: bool) -> _Label | None:
    """The full plan of least price (or, with `quickest`, time) within the limits; None without one."""
    no_mb = (0.0,) * len(steps.tight)
    ms_bounds = [plain_bound(steps, Weighting(0.0, 1.0, no_mb))]
    bounds = ms_bounds if quickest else [plain_bound(steps, Weighting(1.0, 0.0, no_mb))]
    if ms_bounds[0].to_go[0][steps.origin] > limits.ms:
        return None
    room_mb = math.fsum(limits.stored_mb) if len(steps.tight) == len(steps.back) else math.inf
    to_store_mb = [math.fsum(steps.weight_mb[op:]) for op in range(steps.ops + 1)]

    queue = [(0.0, 0, _Label(0, steps.origin, 0.0, 0.0, no_mb, None, None))]
    settled: dict[tuple[int, int], list[tuple[float, ...]]] = {}
    made = 0
    relax_at = RELAX_AFTER
    while queue:
        if made >= relax_at:
            relax_at = sys.maxsize
            ms_bounds, bounds = _relaxed(steps, limits, ms_bounds, bounds, quickest=quickest)
            queue = [(_least(bounds, label, label.spent), order, label) for _, order, label in queue]
            heapq.heapify(queue)
        _, _, label = heapq.heappop(queue)
        if label.op == steps.ops:
            return label
        # A partial plan is no better for room that the ops to come could not fill, nor for time that nothing bounds.
        to_come_mb = to_store_mb[label.op]
        mine = (
            label.spent,
            label.ms if limits.ms < ANY_TIME else 0.0,
            *(max(stored, room - to_come_mb) for stored, room in zip(label.stored_mb, limits.stored_mb, strict=True)),
        )
        rivals = settled.setdefault((label.op, label.node), [])
        if any(all(map(le, theirs, mine)) for theirs in rivals):
            continue
        rivals.append(mine)
        for after in _after(steps, limits, label, quickest=quickest):
            if _least(ms_bounds, after, after.ms) > limits.ms:
                continue
            if to_store_mb[after.op] > room_mb - math.fsum(after.stored_mb):
                continue
            made += 1
            # Among equals the latest comes first, which goes deep instead of wide.
            heapq.heappush(queue, (_least(bounds, after, after.spent), -made, after))
    return None


def _relaxed(
    steps: Steps, limits: Limits, ms_bounds: list[LowerBound], bounds: list[LowerBound], *, quickest: bool
) -> tuple[list[LowerBound], list[LowerBound]]:
    """The bounds on time, and on what the search keeps least, with those added that know the limits."""
    timed = limits.ms < ANY_TIME
    if steps.tight and (timed or quickest):
        ms_bounds = [*ms_bounds, relaxed_bound(steps, ms_bounds[0].weighting, limits, price_ms=False)]
    if quickest:
        return ms_bounds, ms_bounds
    return ms_bounds, [*bounds, relaxed_bound(steps, bounds[0].weighting, limits, price_ms=timed)]


def _after(steps: Steps, limits: Limits, label: _Label, *, quickest: bool) -> Iterator[_Label]:
    """The partial plans that run one more op, within memory."""
    for node, price, ms, route in steps.at[label.op][label.node]:
        stored_mb = label.stored_mb
        slot = steps.slot[node]
        if slot is not None:
            stored = stored_mb[slot] + steps.weight_mb[label.op]
            if stored > limits.stored_mb[slot]:
                continue
            stored_mb = (*stored_mb[:slot], stored, *stored_mb[slot + 1 :])
        took = ms + steps.compute_ms[node][label.op]
        spent = took if quickest else price + steps.compute_price[node][label.op]
        yield _Label(label.op + 1, node, label.spent + spent, label.ms + took, stored_mb, label, route)


def _least(bounds: Sequence[LowerBound], label: _Label, spent: float) -> float:
    return max(bound.of(label.op, label.node, spent, label.ms, label.stored_mb) for bound in bounds)


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


def _slack(bound: float) -> float:
    return bound * (1.0 + ROUNDING)
