"""The strategies that never cut: all ops on the origin, or on the best node of a tier."""

from collections.abc import Callable
from typing import Literal

from coordinator.cost import BrokenBound, PartitionPlan, Stage, broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.prices import prices_of, ways_back
from coordinator.problem import Problem
from coordinator.routes import Route, Routes
from coordinator.walk import stages_of


def on_origin(problem: Problem) -> PartitionPlan:
    """All ops on the origin. PlanInfeasibleError if that breaks a bound."""
    stages = (Stage(problem.origin, 0, problem.model.ops),)
    plan = PartitionPlan(stages, evaluate(problem, stages))
    broken = broken_bound(problem, stages, plan.score)
    if broken:
        raise PlanInfeasibleError(broken.bound, broken.message)
    return plan


def on_tier(tier: Literal["edge", "fog", "cloud"]) -> Callable[[Problem], PartitionPlan]:
    """The strategy that runs all ops on the tier's best node, over the best way there."""

    def on_best_node(problem: Problem) -> PartitionPlan:
        best: PartitionPlan | None = None
        broken: BrokenBound | None = None
        for stages in _candidates(problem, tier):
            plan = PartitionPlan(stages, evaluate(problem, stages))
            breaks = broken_bound(problem, stages, plan.score)
            broken = broken or breaks
            if breaks is None and (best is None or plan.score.objective < best.score.objective):
                best = plan
        if best is not None:
            return best
        if broken is not None:
            raise PlanInfeasibleError(broken.bound, f"no node of the tier {tier!r} can run the model: {broken.message}")
        names = ", ".join(node.name for node in problem.nodes if node.tier == tier)
        raise PlanInfeasibleError(
            "tier",
            f"no links lead from {problem.origin!r} to the tier {tier!r} ({names}) and back"
            if names
            else f"no node is of the tier {tier!r}, give one of them that tier or choose another strategy",
        )

    return on_best_node


def _candidates(problem: Problem, tier: str) -> list[tuple[Stage, ...]]:
    """All ops on each node of the tier, over each route to it."""
    prices = prices_of(problem)
    back = ways_back(problem, prices)
    routes = Routes(problem, prices, quick_ones=True)
    origin = problem.origin_index
    candidates = []
    for index, node in enumerate(problem.nodes):
        if node.tier == tier and back[index]:
            ways: tuple[dict[int, Route], ...] = (
                ({},) if index == origin else tuple({0: route} for route in routes.between((origin, index), 0))
            )
            candidates += [stages_of(problem, [index] * problem.model.ops, way) for way in ways]
    return candidates
