"""The exact planner: the plan of least objective, over all nodes, orders, relays, codecs and bounds.

Without bounds it is a shortest path, or under a risk a few of them. Where bounds bind, or the period counts, bounded
takes over.
"""

from coordinator.bounded import plan_within_bounds
from coordinator.cheapest import cheapest_stages
from coordinator.cost import PartitionPlan, Stage, broken_bound, evaluate
from coordinator.distances import Reach
from coordinator.lower_bound import lower_bound
from coordinator.prices import Prices, prices_of
from coordinator.problem import Problem
from coordinator.steps import Steps
from coordinator.walk import stages_along


def plan(problem: Problem, *, most_labels: int | None = None) -> PartitionPlan:
    """The plan that keeps all bounds at the least objective. PlanInfeasibleError if none keeps them.

    With `most_labels` a search for it ends after so many partial plans, with the best plan found so far and the `gap`
    that is proven for it; PlanInfeasibleError if it found none.
    """
    prices = prices_of(problem)
    if not prices.period_ms:
        stages = cheapest_stages(problem, prices) if prices.additive else _best_at_risk(problem, prices)
        score = evaluate(problem, stages, prices)
        if broken_bound(problem, stages, score) is None:
            return PartitionPlan(stages, score)
    return plan_within_bounds(problem, prices, most_labels)


def _best_at_risk(problem: Problem, prices: Prices) -> tuple[Stage, ...]:
    """The plan of least price and deviation, bounds ignored: one of the walks that the lower bound rests on."""
    steps = Steps(problem, prices, timed=False)
    free: Reach = [None for _ in steps.nodes]
    _, walks = lower_bound(steps, steps.objective.weights, steps.objective.std, free)
    best = min(walks, key=lambda walk: steps.objective.of(walk.whole))
    return stages_along(problem, best.visits)
