"""Deployments that are due at one moment and load the same nodes are planned together, by `coordinator.fleet`.

Each of them is then weighed on its own, under the load that the others' new plans would put on the nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from coordinator.assembling import loads_under, surroundings
from coordinator.cost import PartitionPlan, evaluate
from coordinator.errors import CoordinatorError
from coordinator.fleet_load import Member, under_loads, utilisation
from coordinator.problem import Problem
from coordinator.searching import stages_of
from coordinator.situation import Situation, shares_of


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
        situation.declared.name: stages_of(situation.plan.stages)
        for situation in together
        if situation.plan is not None
    }
    try:
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
