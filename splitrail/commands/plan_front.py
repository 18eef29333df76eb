"""`splitrail plan --pareto`: every plan that no other beats in latency, origin energy and total energy at once."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.text import Text

from coordinator import exact
from coordinator.cost import PartitionPlan
from coordinator.pareto import pareto_front
from coordinator.problem import Problem
from splitrail.commands.needed_package import package_needed
from splitrail.commands.plan_figures import EnergyModel, PlanFigures, plan_figures, print_json, timed
from splitrail.commands.plan_stages import written
from splitrail.commands.plan_tables import Page, model_in_words, modelled, table_of


class FrontFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What --json prints: the quickest plan first, and none where a bound cannot be kept, which `reason` names."""

    strategy: str = "exact"
    feasible: bool
    front: tuple[PlanFigures, ...] = ()
    planning_ms: float
    reason: str | msgspec.UnsetType = msgspec.UNSET


def plan_front(problem: Problem, *, energy_model: EnergyModel | None, picture: Path | None, json: bool) -> None:
    """Print the front and, given a path, draw it. PlanInfeasibleError if no plan keeps the bounds."""

    def infeasible(planning_ms: float, reason: str) -> FrontFigures:
        return FrontFigures(feasible=False, planning_ms=planning_ms, reason=reason)

    with timed(json=json, infeasible=infeasible) as clock:
        front = pareto_front(problem)
        planning_ms = clock()
    # A weight on throughput, which no front compares, may choose a plan that is not on it.
    throughput = problem.objective.throughput
    chosen = exact.plan(problem) if throughput else min(front, key=lambda plan: plan.score.objective)
    if picture:
        with package_needed("--plot", "experiments"):
            from splitrail.commands.plan_picture import draw_front  # noqa: PLC0415  # matplotlib may be missing

        draw_front(picture, problem, front, chosen, energy_model)
    if json:
        plans = (plan_figures("exact", problem, plan, planning_ms, energy_model) for plan in front)
        print_json(FrontFigures(feasible=True, front=tuple(plans), planning_ms=planning_ms))
    else:
        _print_front(problem, front, chosen, planning_ms, energy_model)


def _print_front(
    problem: Problem,
    front: Sequence[PartitionPlan],
    chosen: PartitionPlan,
    planning_ms: float,
    energy_model: EnergyModel | None,
) -> None:
    latency = "latency ms" if problem.risk is None else f"{100 * problem.risk:g} % latency ms"
    table = table_of("", latency, "origin J", "total J", "split", "returns over", numbers=range(1, 4))
    for plan in front:
        score = plan.score
        table.add_row(
            "*" if plan == chosen else "",
            f"{score.latency_quantile_ms:.6g}",
            f"{score.origin_energy_j:.6g}",
            f"{score.total_energy_j:.6g}",
            Text(written(plan.stages), overflow="fold"),
            Text(", ".join(score.way_back[1:-1]) or "-"),
        )
    plans = "1 plan" if len(front) == 1 else f"{len(front)} plans"
    page = Page(f"{model_in_words(problem)}: {plans} that no other beats, found in {planning_ms:.1f} ms")
    page.show(table)
    star = "* has the least objective; " if chosen in front else ""
    page.say(f"{star}energies are {modelled(energy_model)}")
