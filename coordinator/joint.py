"""Deployments that are due at one moment and load the same nodes are planned together, by `coordinator.fleet`.

Each of them is then weighed on its own, under the load that the others' new plans would put on the nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from coordinator.assembling import loads_under, surroundings
from coordinator.cost import PartitionPlan, evaluate
from coordinator.errors import CoordinatorError
from coordinator.fleet_load import Member, under_loads, utilisation
from coordinator.permitted_codecs import loss_of, planned_stages, tightened
from coordinator.prices import within
from coordinator.problem import Problem
from coordinator.situation import Situation, shares_of
from models.codec_figures import CodecFigures

if TYPE_CHECKING:
    from coordinator.fleet import FleetPlan


@dataclass(frozen=True, slots=True)
class JointPlan:
    """A deployment's part of a joint plan, and its problem under the others' parts."""

    problem: Problem
    plan: PartitionPlan


def plan_together(due: Sequence[Situation]) -> Mapping[str, JointPlan]:
    """The joint plans by deployment, of those that are exact and say how often they are asked; none for a single one.

    Where the fleet cannot be planned within all bounds, each is left to be planned on its own.
    """
    together = [
        situation
        for situation in due
        if situation.declared.strategy == "exact"
        and situation.declared.requests_per_s
        and situation.assembly.problem is not None
    ]
    if len(together) < 2:
        return {}
    from coordinator.fleet import plan_fleet  # noqa: PLC0415  # numpy is loaded only where deployments share nodes

    loads = _loads_without(together)
    members = [
        Member(
            situation.declared.name, _with_loads(situation.assembly.problem, loads), situation.declared.requests_per_s
        )
        for situation in together
        if situation.assembly.problem is not None
    ]
    before = {
        situation.declared.name: planned_stages(situation.plan.stages)
        for situation in together
        if situation.plan is not None
    }
    try:
        fleet = plan_fleet(members, before=before)
        each = {situation.declared.name: situation.declared.accuracy_loss for situation in together}
        while lossy := _too_lossy(together, fleet):
            each.update({name: each[name] / 2.0 for name in lossy})
            members = [
                replace(member, problem=tightened(member.problem, lossy[member.name], each[member.name]))
                if member.name in lossy
                else member
                for member in members
            ]
            fleet = plan_fleet(members, before=before)
    except CoordinatorError:
        return {}
    joint = {}
    for member, plan in zip(members, fleet.plans, strict=True):
        own = utilisation(member.problem, plan.stages, member.requests_per_s)
        others = {node.name: fleet.loads[node.name] - node.load - own[node.name] for node in member.problem.nodes}
        problem = under_loads(member.problem, others)
        joint[member.name] = JointPlan(problem, PartitionPlan(plan.stages, evaluate(problem, plan.stages)))
    return joint


def _too_lossy(together: Sequence[Situation], fleet: "FleetPlan") -> Mapping[str, CodecFigures]:
    """The deployments whose plans change more answers than they may, with the figures that say so."""
    return {
        situation.declared.name: figures
        for situation, plan in zip(together, fleet.plans, strict=True)
        if (figures := situation.declared.codec_figures) is not None
        and not within(loss_of(figures, plan.stages), situation.declared.accuracy_loss)
    }


def _loads_without(together: Sequence[Situation]) -> Mapping[str, float]:
    """The nodes' loads without what the plans in force of these deployments take."""
    state, names = together[0].state, {situation.declared.name for situation in together}
    taken: dict[str, float] = {}
    for name, deployment in state.deployments.items():
        if name not in names:
            for node, share in shares_of(deployment, state).items():
                taken[node] = taken.get(node, 0.0) + share
    return loads_under(surroundings(state, together[0].now).loads, taken)


def _with_loads(problem: Problem, loads: Mapping[str, float]) -> Problem:
    nodes = (msgspec.structs.replace(node, load=loads[node.name]) for node in problem.nodes)
    return msgspec.structs.replace(problem, nodes=tuple(nodes))
