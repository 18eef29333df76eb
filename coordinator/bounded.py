"""The exact planner where bounds bind or the period counts: estimates, a search, and what to say if it finds no plan.

The estimates and the search are left to others.
"""

import math
import sys
from dataclasses import dataclass, replace

from coordinator.bottleneck import bottlenecks
from coordinator.cost import PartitionPlan, evaluate
from coordinator.distances import Visit, reach_within
from coordinator.errors import PlanInfeasibleError
from coordinator.figures import MS, Goal, Limits, slack, unit
from coordinator.incumbent import Incumbent
from coordinator.labels import Estimates, Search
from coordinator.lower_bound import NEGLIGIBLE, LowerBound, lower_bound
from coordinator.memory import memory_shortage, not_enough_memory
from coordinator.prices import Prices, ways_back, within
from coordinator.problem import Problem
from coordinator.relaxation import relaxed_bound
from coordinator.spread import at_risk
from coordinator.steps import Steps
from coordinator.walk import stages_along

RELAX_AFTER = 300
"""Partial plans made before better estimates are worth their price of some dozen shortest paths."""
GROWTH = 8
"""For the period, estimates are made anew with the best plan found after so many times more partial plans."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The best plan found and its value, None and infinite without one; no plan has less than `least`."""

    visits: tuple[Visit, ...] | None
    value: float
    least: float
    complete: bool
    """Whether it is the best there is, or there is none, for certain."""


def plan_within_bounds(problem: Problem, prices: Prices, most_labels: int | None) -> PartitionPlan:
    """The plan of least objective that keeps all bounds. PlanInfeasibleError says which cannot be.

    After `most_labels` partial plans, the best plan found so far, or PlanInfeasibleError if there is none.
    """
    back = ways_back(problem, prices)
    shortage = not_enough_memory(problem, back)
    if shortage:
        raise PlanInfeasibleError("memory_mb", shortage)
    steps = Steps(problem, prices, timed=problem.deadline_ms is not None)
    room_mb = tuple(slack(problem.nodes[node].memory_mb or 0.0) for node in steps.tight)
    deadline_ms = None if problem.deadline_ms is None else slack(problem.deadline_ms)
    limits = Limits(deadline_ms, prices.deviations, room_mb)
    found = _settled(problem, steps, steps.objective, limits, most_labels)
    if found is not None:
        return found
    if problem.deadline_ms is None:
        raise PlanInfeasibleError("memory_mb", memory_shortage(problem, back))
    latency = Goal(unit(steps.width, MS), prices.deviations, 0.0, steps.uses_from)
    quickest = _settled(problem, steps, latency, Limits(None, prices.deviations, room_mb), most_labels)
    if quickest is None:
        raise PlanInfeasibleError("memory_mb", memory_shortage(problem, back))
    best_ms = quickest.score.latency_quantile_ms
    raise PlanInfeasibleError(
        "deadline_ms",
        f"no plan keeps the deadline_ms of {problem.deadline_ms:.6g}: the quickest{' found' if quickest.gap else ''}"
        f"{' that fits the memory_mb of the nodes' if steps.tight else ''} takes {best_ms:.6g} ms{at_risk(problem)}, "
        f"{best_ms - problem.deadline_ms:.6g} ms too many",
    )


def _settled(
    problem: Problem, steps: Steps, goal: Goal, limits: Limits, most_labels: int | None
) -> PartitionPlan | None:
    """The plan that a goal likes best within the limits, None if there is none; the cost model has the last word."""
    for strict_return in (False, True):
        found = _decided(steps, goal, limits, most_labels, strict_return=strict_return)
        if found.visits is None:
            if not found.complete:
                raise PlanInfeasibleError(
                    "most_labels",
                    f"the search for a plan that keeps the bounds was given up after {most_labels} partial plans, "
                    "with none found: let it make more, or loosen the bounds",
                )
            return None
        stages = stages_along(problem, found.visits)
        score = evaluate(problem, stages, steps.prices)
        # The search was free to choose the way back, the cost model takes the one that the objective likes best.
        most_ms = limits.latency_ms if goal is steps.objective else found.value
        if strict_return or within(score.latency_quantile_ms, most_ms):
            break
    return PartitionPlan(stages, score, 0.0 if found.complete else _gap(found))


def _gap(found: _Outcome) -> float:
    over = found.value - found.least
    if over <= NEGLIGIBLE * abs(found.value):
        return 0.0
    return over / found.least if found.least > 0.0 else math.inf


def _decided(steps: Steps, goal: Goal, limits: Limits, most_labels: int | None, *, strict_return: bool) -> _Outcome:
    """The best plan for a goal within the limits: estimates that forget them first, and then such that know them."""
    reach = reach_within(steps, limits.stored_mb)
    latency: tuple[LowerBound, ...] = ()
    if limits.latency_ms is not None:
        quickest, _ = lower_bound(steps, unit(steps.width, MS), limits.deviations, reach)
        if quickest.at_all > limits.latency_ms:
            return _Outcome(None, math.inf, quickest.at_all, complete=True)
        latency = (quickest,)
    plain, walks = lower_bound(steps, goal.weights, goal.std, reach)
    incumbent = Incumbent(steps, goal, limits)
    for walk in walks:
        incumbent.meet(walk)
    period_ms = bottlenecks(steps, reach) if goal.period else None
    estimates = Estimates((plain,), latency, period_ms)
    budget, made, least = RELAX_AFTER, 0, plain.at_all
    while True:
        left = None if most_labels is None else most_labels - made
        search = Search(steps, goal, limits, strict_return=strict_return)
        found = search.run(estimates, incumbent, budget if left is None else min(budget, left))
        made += found.labels
        if found.complete or (most_labels is not None and made >= most_labels and budget > RELAX_AFTER):
            return _Outcome(incumbent.visits, incumbent.value, max(least, found.least), complete=found.complete)
        if goal.period:
            # What is better than the incumbent has no longer stage or transfer than this.
            most_ms = slack((incumbent.value - plain.at_all) / goal.period)
            steps, reach = steps.narrowed(most_ms), reach_within(steps, limits.stored_mb, most_ms)
            period_ms = bottlenecks(steps, reach)
        if latency and steps.tight and budget == RELAX_AFTER:
            in_memory = replace(limits, latency_ms=None)
            quick = replace(goal, weights=unit(steps.width, MS), std=limits.deviations, period=0.0)
            latency += (relaxed_bound(steps, quick, in_memory, reach, Incumbent(steps, quick, in_memory)),)
        relaxed = relaxed_bound(steps, goal, limits, reach, incumbent)
        estimates = Estimates((plain, relaxed), latency, period_ms)
        least = max(least, found.least, min(relaxed.at_all, incumbent.value))
        budget = budget * GROWTH if goal.period else sys.maxsize
