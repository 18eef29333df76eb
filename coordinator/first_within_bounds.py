"""Picks from the plans that a strategy ranks by a measure of its own; the bounds and the score are the cost model's."""

from collections.abc import Iterable

from coordinator.cost import BrokenBound, PartitionPlan, Stage, broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.problem import Problem


def first_within_bounds(problem: Problem, ranked: Iterable[tuple[Stage, ...]], none_does: str) -> PartitionPlan:
    """The first of some plans that keeps all bounds. PlanInfeasibleError if none does.

    Its sentence is `none_does`, then what breaks in the quickest plan that fits in memory, or in the quickest of all.
    """
    nearest: tuple[bool, float, BrokenBound] | None = None
    for stages in ranked:
        score = evaluate(problem, stages)
        broken = broken_bound(problem, stages, score)
        if broken is None:
            return PartitionPlan(stages, score)
        lacks_memory = broken.bound == "memory_mb"
        if nearest is None or (lacks_memory, score.latency_quantile_ms) < nearest[:2]:
            nearest = (lacks_memory, score.latency_quantile_ms, broken)
    if nearest is None:
        raise ValueError("there is no plan to pick from")
    raise PlanInfeasibleError(nearest[2].bound, f"{none_does}: at best {nearest[2].message}")
