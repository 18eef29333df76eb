"""Plans many deployments that share nodes together: what each one's plan puts on a node, the others wait for.

How loads work is fleet_load's business, and how plans are found fleet_search's; links are taken as not shared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator import exact
from coordinator.cost import PartitionPlan, Stage, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.field_checks import check_names
from coordinator.fleet_choice import ChoiceProposer
from coordinator.fleet_footprint import on_origin, tariff_of
from coordinator.fleet_joint import MOST_MEMBERS, jointly
from coordinator.fleet_ledger import Ledger
from coordinator.fleet_load import Capacity, Member, machines_of, under_loads, utilisation
from coordinator.fleet_paths import QuickestProposer
from coordinator.fleet_proposal import Proposal, Ready
from coordinator.fleet_search import Search

__all__ = ["FleetPlan", "Member", "loads_of", "plan_fleet", "under_loads", "utilisation"]

MOST_CHOOSERS = 100
"""The largest fleet in which all plans of each member that its own nodes confine are listed; that takes seconds."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The plans of a fleet, in the order of its members, and what they come to together."""

    names: tuple[str, ...]
    plans: tuple[PartitionPlan, ...]
    """Each scored under the others' load; its objective is relative to its origin-only figures without them."""
    loads: Mapping[str, float]
    """Of each node: its own and what all plans put on it, 0 to less than 1."""
    objective: float
    """The plain sum of the plans' objectives."""
    rounds: int

    @property
    def stages(self) -> dict[str, tuple[Stage, ...]]:
        """The plans' stages by deployment, to start the next planning from."""
        return {name: plan.stages for name, plan in zip(self.names, self.plans, strict=True)}


def plan_fleet(members: Sequence[Member], *, before: Mapping[str, Sequence[Stage]] | None = None) -> FleetPlan:
    """Plans for all members that together cost little, by the plain sum of their objectives; no node is overloaded.

    `before` has the stages in force by deployment: they are started from, if they still fit, and bettered one at a
    time, in milliseconds per hundred members. Without it, small fleets and those near the limits of their nodes are
    searched for longer. Every deployment holds its own copy of its weights. ProblemError if the members contradict
    each other, PlanInfeasibleError if plans that keep all bounds are not found.
    """
    if not members:
        return FleetPlan((), (), {}, 0.0, 0)
    check_names("deployments", members)
    machines = machines_of(members)
    names, capacities = list(machines), list(machines.values())
    numbers = {name: number for number, name in enumerate(names)}
    tariffs = [tariff_of(member, numbers) for member in members]
    propose = QuickestProposer(members, tariffs)
    search = Search(Ledger(tariffs, names, capacities), propose)
    search.start([_start(member, index, propose, before or {}) for index, member in enumerate(members)])
    rounds = search.improve()
    if before is None and search.confined and len(members) <= MOST_CHOOSERS:
        search.propose = ChoiceProposer(members, tariffs, capacities, search.confined, propose)
        rounds += search.improve()
    if search.stuck:
        rounds += search.rescue()
    if before is None and len(members) <= MOST_MEMBERS and (search.stuck or len(members) > 1):
        rounds += _improve_jointly(members, search, capacities)
    plans = [plan.draft.stages() for plan in search.plans if plan is not None]
    if len(plans) < len(members):
        raise _infeasible(members, search)
    return _scored(members, plans, rounds)


def loads_of(members: Sequence[Member], plans: Sequence[Sequence[Stage]]) -> dict[str, float]:
    """The load of each node under the members' plans, its own included; 1 or more is too much."""
    loads = {node.name: node.load for member in members for node in member.problem.nodes}
    for member, stages in zip(members, plans, strict=True):
        for name, share in utilisation(member.problem, stages, member.requests_per_s).items():
            loads[name] += share
    return loads


def _improve_jointly(members: Sequence[Member], search: Search, capacities: Sequence[Capacity]) -> int:
    """Change plans two at a time, where the members' problems are sums; the rounds that it took."""
    tariffs = search.ledger.tariffs
    if not all(tariff.simple and min(tariff.compute_price) > 0.0 for tariff in tariffs):
        return 0
    found = jointly(members, tariffs, capacities, search.plans)
    if found is None:
        return 0
    search.start(found)
    return 1 + search.improve()


def _start(member: Member, index: int, propose: QuickestProposer, before: Mapping[str, Sequence[Stage]]) -> Proposal:
    """The plan that a member starts from: the one in force if it is still one, else all on the origin."""
    stages = before.get(member.name)
    kept = propose.kept(index, stages) if stages is not None else None
    if kept is not None:
        return kept
    alone, footprint = on_origin(member)
    return Proposal(Ready(alone), footprint)


def _infeasible(members: Sequence[Member], search: Search) -> PlanInfeasibleError:
    """Why some members have no plan, in the words of the first of them."""
    index = next(index for index, plan in enumerate(search.plans) if plan is None)
    member, obstacle = members[index], search.obstacles.get(index)
    if obstacle is None:
        try:
            exact.plan(member.problem)
        except PlanInfeasibleError as error:
            return PlanInfeasibleError(error.bound, f"deployment {member.name!r}: {error}")
        return PlanInfeasibleError(
            "memory_mb", f"deployment {member.name!r} does not fit the memory_mb that the others' weights leave"
        )
    if obstacle.bound == "deadline_ms":
        late = members[obstacle.number]
        return PlanInfeasibleError(
            "deadline_ms",
            f"no plan was found for deployment {member.name!r} under which {late.name!r} keeps its deadline_ms of "
            f"{late.problem.deadline_ms:.6g}",
        )
    machine = search.ledger.machines[obstacle.number]
    if obstacle.bound == "memory_mb":
        return PlanInfeasibleError(
            "memory_mb",
            f"no plan was found for deployment {member.name!r} that fits the memory_mb of {machine.memory_mb:.6g} of "
            f"{machine.name!r}, of which the others' weights take {machine.total_mb:.6g} MB",
        )
    return PlanInfeasibleError(
        "requests_per_s",
        f"no plan was found for deployment {member.name!r} at {member.requests_per_s:.6g} requests/s that does not "
        f"overload {machine.name!r}, which has a load of {machine.total:.6g} without it; fewer requests_per_s would do",
    )


def _scored(members: Sequence[Member], plans: Sequence[tuple[Stage, ...]], rounds: int) -> FleetPlan:
    """The plans under each other's loads, by the one evaluator."""
    loads = loads_of(members, plans)
    scored = []
    for member, stages in zip(members, plans, strict=True):
        problem = member.problem
        own = utilisation(problem, stages, member.requests_per_s)
        others = {node.name: loads[node.name] - node.load - own[node.name] for node in problem.nodes}
        loaded = under_loads(problem, others)
        score = evaluate(loaded, stages)
        # A loaded origin would make all else look better; every reference stretches with its load alike.
        at = problem.origin_index
        stretched = loaded.nodes[at].stretch / problem.nodes[at].stretch
        scored.append(PartitionPlan(stages, replace(score, objective=score.objective * stretched)))
    return FleetPlan(
        names=tuple(member.name for member in members),
        plans=tuple(scored),
        loads=loads,
        objective=math.fsum(plan.score.objective for plan in scored),
        rounds=rounds,
    )
