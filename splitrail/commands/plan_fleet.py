"""`splitrail plan FLEET.json`: deployments that share nodes, planned together."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from rich.text import Text

from coordinator.fleet import FleetPlan, plan_fleet
from coordinator.fleet_load import Member
from coordinator.reap_energy import with_reap_energy
from splitrail.commands.plan_figures import EnergyModel, PlanFigures, plan_figures, print_json, timed
from splitrail.commands.plan_stages import written
from splitrail.commands.plan_tables import Page, modelled, table_of


class DeploymentFigures(msgspec.Struct, frozen=True):
    """One deployment, and its plan under the load of the others'."""

    name: str
    requests_per_s: float
    plan: PlanFigures


class NodeLoadFigures(msgspec.Struct, frozen=True):
    """The load of a node, its own and what all plans put on it."""

    node: str
    load: float


class FleetFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What --json prints; `objective` is the sum of the plans', None where no plans keep the bounds."""

    feasible: bool
    deployments: tuple[DeploymentFigures, ...] = ()
    loads: tuple[NodeLoadFigures, ...] = ()
    objective: float | None = None
    planning_ms: float
    reason: str | msgspec.UnsetType = msgspec.UNSET


def plan_together(members: Sequence[Member], *, energy_model: EnergyModel | None, json: bool) -> None:
    """Print the plans of a fleet. PlanInfeasibleError if none are found that keep the bounds and overload no node."""
    if energy_model:
        members = [replace(member, problem=with_reap_energy(member.problem)) for member in members]

    def infeasible(planning_ms: float, reason: str) -> FleetFigures:
        return FleetFigures(feasible=False, planning_ms=planning_ms, reason=reason)

    with timed(json=json, infeasible=infeasible) as clock:
        fleet = plan_fleet(members)
        planning_ms = clock()
    if json:
        _print_json(members, fleet, planning_ms, energy_model)
    else:
        _print_tables(members, fleet, planning_ms, energy_model)


def _print_json(
    members: Sequence[Member], fleet: FleetPlan, planning_ms: float, energy_model: EnergyModel | None
) -> None:
    deployments = (
        DeploymentFigures(
            member.name,
            member.requests_per_s,
            plan_figures("exact", member.problem, plan, planning_ms, energy_model),
        )
        for member, plan in zip(members, fleet.plans, strict=True)
    )
    print_json(
        FleetFigures(
            feasible=True,
            deployments=tuple(deployments),
            loads=tuple(NodeLoadFigures(node, load) for node, load in fleet.loads.items()),
            objective=fleet.objective,
            planning_ms=planning_ms,
        )
    )


def _print_tables(
    members: Sequence[Member], fleet: FleetPlan, planning_ms: float, energy_model: EnergyModel | None
) -> None:
    columns = ("deployment", "requests/s", "latency ms", "origin J", "total J", "objective", "split")
    table = table_of(*columns, numbers=range(1, 6))
    for member, plan in zip(members, fleet.plans, strict=True):
        score = plan.score
        table.add_row(
            Text(member.name),
            f"{member.requests_per_s:g}",
            f"{score.latency_quantile_ms:.6g}",
            f"{score.origin_energy_j:.6g}",
            f"{score.total_energy_j:.6g}",
            f"{score.objective:.6g}",
            Text(written(plan.stages), overflow="fold"),
        )
    loads = table_of("node", "load", numbers=range(1, 2))
    for node, load in fleet.loads.items():
        loads.add_row(Text(node), f"{100 * load:.1f} %")
    deployments = "1 deployment" if len(members) == 1 else f"{len(members)} deployments"
    page = Page(f"{deployments}, planned together in {planning_ms:.1f} ms")
    page.show(table)
    page.say("")
    page.show(loads)
    at_risk = any(member.problem.risk is not None for member in members)
    page.say(
        f"objective {fleet.objective:.6g} in sum; latencies are under these loads"
        f"{' (the quantile where a problem has a risk)' if at_risk else ''}, energies are {modelled(energy_model)}"
    )
