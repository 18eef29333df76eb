"""Fleets: plans made together against every combination of plans, and against everyone for himself."""

import itertools
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_fleets import best_joint_objective, small_fleet

from coordinator import exact, fleet
from coordinator.cost import Stage, broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError, ProblemError
from coordinator.fleet import FleetPlan, Member, loads_of, plan_fleet, under_loads, utilisation
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem

seeds = st.integers(0, 100_000)
RECORDED = range(60)


def wide_fleet(count: int, requests_per_s: float, ops: int = 12) -> list[Member]:
    """Many like deployments, each with an origin of its own, that share a fog and a cloud node."""
    members = []
    for number in range(count):
        names = (f"pi{number}", "fog", "cloud")
        slower = 1.0 + 0.05 * (number % 7)
        members.append(
            Member(
                f"deployment{number}",
                Problem(
                    model=Model(
                        cut_bytes=tuple(4e5 * (1 - 0.07 * cut) for cut in range(ops + 1)), weight_mb=(1.0,) * ops
                    ),
                    origin=names[0],
                    nodes=(
                        Node(name=names[0], op_ms=(8.0 * slower,) * ops, idle_w=2.7, busy_w=6.4),
                        Node(name="fog", op_ms=(2.0,) * ops),
                        Node(name="cloud", op_ms=(1.0,) * ops),
                    ),
                    links=tuple(
                        Link(src=src, dst=dst, rtt_ms=4.0, mbps=60.0 + number % 11)
                        for src, dst in itertools.permutations(names, 2)
                    ),
                ),
                requests_per_s,
            )
        )
    return members


def planned(members: list[Member]) -> FleetPlan | None:
    """The fleet's plan, or None where none keeps the bounds."""
    try:
        return plan_fleet(members)
    except PlanInfeasibleError:
        return None


def check(members: list[Member], found: FleetPlan) -> None:
    """Loads follow from the plans, no bound is broken, and each score is the evaluator's under the others' loads."""
    stages = [plan.stages for plan in found.plans]
    assert found.loads == pytest.approx(loads_of(members, stages))
    assert max(found.loads.values()) < 1.0
    stored_mb = dict.fromkeys(found.loads, 0.0)
    for member, plan in zip(members, found.plans, strict=True):
        own = utilisation(member.problem, plan.stages, member.requests_per_s)
        others = {node.name: found.loads[node.name] - node.load - own[node.name] for node in member.problem.nodes}
        loaded = under_loads(member.problem, others)
        score = evaluate(loaded, plan.stages)
        assert broken_bound(loaded, plan.stages, score) is None
        assert plan.score.latency_ms == pytest.approx(score.latency_ms)
        alone_ms = sum(member.problem.nodes[member.problem.origin_index].op_ms)
        if member.problem.objective == Objective(latency=1.0) and member.problem.risk is None:
            assert plan.score.objective == pytest.approx(score.latency_ms / alone_ms)
        for stage in plan.stages:
            stored_mb[stage.node] += sum(member.problem.model.weight_mb[stage.start : stage.stop])
    for member in members:
        for node in member.problem.nodes:
            assert node.memory_mb is None or stored_mb[node.name] <= node.memory_mb * (1 + 1e-9)
    assert found.objective == pytest.approx(math.fsum(plan.score.objective for plan in found.plans))


def everyone_for_himself(members: list[Member]) -> float | None:
    """What it comes to when each plans exactly under the others' loads, in turn, until all stay; None if one cannot."""
    plans: list[tuple[Stage, ...]] = []
    for turn in range(30 * len(members)):
        at = turn % len(members)
        member, others = members[at], [*members[:at], *members[at + 1 :]][: max(len(plans) - 1, turn)]
        theirs = [stages for index, stages in enumerate(plans) if index != at]
        loads = loads_of(others, theirs)
        taken = {name: load - _own_load(members, name) for name, load in loads.items()}
        if any(load >= 1.0 for load in loads.values()):
            return None
        problem = under_loads(member.problem, taken)
        stored_mb = {
            node.name: sum(
                sum(other.problem.model.weight_mb[stage.start : stage.stop])
                for other, stages in zip(others, theirs, strict=True)
                for stage in stages
                if stage.node == node.name
            )
            for node in problem.nodes
        }
        room = tuple(
            msgspec.structs.replace(node, memory_mb=max(0.0, node.memory_mb - stored_mb[node.name]))
            if node.memory_mb is not None
            else node
            for node in problem.nodes
        )
        try:
            stages = exact.plan(msgspec.structs.replace(problem, nodes=room)).stages
        except PlanInfeasibleError:
            return None
        plans[at : at + 1] = [stages]
    loads = loads_of(members, plans)
    if any(load >= 1.0 for load in loads.values()):
        return None
    total = 0.0
    for member, stages in zip(members, plans, strict=True):
        own = utilisation(member.problem, stages, member.requests_per_s)
        others_load = {node.name: loads[node.name] - node.load - own[node.name] for node in member.problem.nodes}
        total += evaluate(under_loads(member.problem, others_load), stages).objective
    return total


def _own_load(members: list[Member], name: str) -> float:
    return next(node.load for member in members for node in member.problem.nodes if node.name == name)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seeds)
def test_small_fleets_come_to_the_best_of_all_combinations(seed: int) -> None:
    """Two to four deployments come within a hundredth of the joint brute force, and fail only where it does."""
    members = small_fleet(seed)
    best, found = best_joint_objective(members), planned(members)
    if found is None:
        assert best == math.inf
        return
    check(members, found)
    assert best * (1 - 1e-9) <= found.objective <= best * 1.01


@pytest.mark.parametrize("seed", RECORDED)
def test_small_fleets_are_never_worse_than_everyone_for_himself(seed: int) -> None:
    """What selfish deployments settle at, each planning exactly, is no better."""
    members = small_fleet(seed)
    selfish, found = everyone_for_himself(members), planned(members)
    if selfish is not None:
        assert found is not None
        assert found.objective <= selfish * (1 + 1e-9)


def test_many_deployments_share_without_overload() -> None:
    """A fleet beyond what its shared nodes could take alone is planned, and costs less than the origins alone."""
    members = wide_fleet(60, 5.0)
    found = plan_fleet(members)
    check(members, found)
    assert found.objective < len(members)


def test_the_fleet_gains_over_everyone_for_himself() -> None:
    """Where shared nodes are contended, paying for others' waiting makes all together better off."""
    members = wide_fleet(12, 9.0)
    selfish = everyone_for_himself(members)
    assert selfish is None or plan_fleet(members).objective < selfish * 0.999


def test_others_make_room_for_one_that_cannot_stay() -> None:
    """A deployment whose origin is too slow for its rate gets its share of a full node."""
    members = wide_fleet(12, 12.0)
    slow = members[-1].problem
    nodes = (msgspec.structs.replace(slow.nodes[0], op_ms=(60.0,) * slow.model.ops), *slow.nodes[1:])
    members[-1] = Member("last", msgspec.structs.replace(slow, nodes=nodes), 20.0)
    check(members, plan_fleet(members))


def test_memory_is_shared_by_copies() -> None:
    """Each deployment's weights count, also where the model is the same."""
    members = [
        Member(
            member.name,
            msgspec.structs.replace(
                member.problem,
                nodes=tuple(
                    node if node.name.startswith("pi") else msgspec.structs.replace(node, memory_mb=30.0)
                    for node in member.problem.nodes
                ),
            ),
            member.requests_per_s,
        )
        for member in wide_fleet(20, 0.5)
    ]
    found = plan_fleet(members)
    check(members, found)
    assert any(stage.node.startswith("pi") for plan in found.plans for stage in plan.stages)


def test_a_fleet_of_one_is_planned_exactly() -> None:
    """Without others to wait for, the fleet's plan is the exact planner's."""
    (member,) = wide_fleet(1, 3.0)
    (plan,) = plan_fleet([member]).plans
    assert plan.score == exact.plan(member.problem).score


def test_a_lone_deployment_moves_off_an_origin_that_its_own_rate_overloads() -> None:
    """A plan that one request likes best is not taken at a rate that its node cannot keep up with."""
    (member,) = wide_fleet(1, 3.0)
    links = tuple(msgspec.structs.replace(link, mbps=0.5) for link in member.problem.links)
    problem = msgspec.structs.replace(member.problem, links=links)
    quiet, busy = plan_fleet([Member("a", problem, 3.0)]), plan_fleet([Member("a", problem, 15.0)])
    assert quiet.loads["pi0"] == pytest.approx(0.288)
    assert busy.loads["pi0"] < 1.0
    assert busy.objective > quiet.objective


def test_an_overload_that_nothing_avoids_names_the_bound_and_a_node() -> None:
    """More requests than all nodes together can do are refused in one sentence."""
    with pytest.raises(
        PlanInfeasibleError, match=r"'deployment0' at 1000 requests/s .* overload '(pi0|fog|cloud)'"
    ) as error:
        plan_fleet(wide_fleet(1, 1000.0))
    assert error.value.bound == "requests_per_s"


def test_planning_starts_from_the_plans_in_force() -> None:
    """A fleet that stands well keeps its plans; members that come and go are taken in."""
    members = wide_fleet(30, 4.0)
    found = plan_fleet(members)
    again = plan_fleet(members, before=found.stages)
    assert again.objective <= found.objective * (1 + 1e-9)
    changed = [*members[3:], *(Member(f"new{member.name}", member.problem, 4.0) for member in members[:3])]
    check(changed, plan_fleet(changed, before=found.stages))


def test_plans_in_force_that_no_longer_fit_count_for_nothing() -> None:
    """Stages over a link that is gone, or that overload a node at a new rate, are replaced."""
    members = wide_fleet(4, 1.0)
    stages = {member.name: (Stage("cloud", 0, 12, "raw"),) for member in members}
    cut_off = msgspec.structs.replace(members[0].problem, links=())
    changed = [Member(members[0].name, cut_off, 1.0), *(Member(m.name, m.problem, 40.0) for m in members[1:])]
    found = plan_fleet(changed, before=stages)
    check(changed, found)
    assert {stage.node for stage in found.plans[0].stages} == {"pi0"}


def test_deadlines_hold_under_the_others_loads() -> None:
    """A deployment with a deadline keeps it whatever the others put on its nodes."""
    members = wide_fleet(10, 6.0)
    alone_ms = exact.plan(members[0].problem).score.latency_ms
    hurried = msgspec.structs.replace(members[0].problem, deadline_ms=1.15 * alone_ms)
    members[0] = Member(members[0].name, hurried, 6.0)
    found = plan_fleet(members)
    check(members, found)
    assert found.plans[0].score.latency_ms <= 1.15 * alone_ms * (1 + 1e-9)


def test_risk_throughput_and_codecs_take_part() -> None:
    """Problems that are no sums share nodes with those that are, each judged by its own objective."""
    members = wide_fleet(6, 6.0)
    spread = tuple(
        msgspec.structs.replace(node, op_ms_std=tuple(0.3 * ms for ms in node.op_ms))
        for node in members[0].problem.nodes
    )
    packed = (Codec(name="raw"), Codec(name="half", ratio=0.5, encode_ms_per_mb=4.0, decode_ms_per_mb=2.0))
    risky = msgspec.structs.replace(members[0].problem, nodes=spread, risk=0.95)
    streaming = msgspec.structs.replace(members[1].problem, objective=Objective(latency=0.5, throughput=0.5))
    smaller = msgspec.structs.replace(members[2].problem, codecs=packed)
    mixed = [
        Member(member.name, problem, 6.0) for member, problem in zip(members, (risky, streaming, smaller), strict=False)
    ]
    check([*mixed, *members[3:]], plan_fleet([*mixed, *members[3:]]))


def test_a_shared_origin_does_not_make_its_own_figures_look_better() -> None:
    """Objectives are relative to the origin without the others, so load on a shared origin counts against a plan."""
    (member,) = wide_fleet(1, 3.0)
    lonely = msgspec.structs.replace(member.problem, links=())
    found = plan_fleet([Member("a", lonely, 3.0), Member("b", lonely, 3.0)])
    assert found.loads["pi0"] == pytest.approx(0.576)
    assert found.plans[0].score.objective == pytest.approx(1 / (1 - 0.288))


@pytest.mark.parametrize(("field", "value"), [("load", 0.3), ("memory_mb", 9.0)])
def test_machines_that_contradict_each_other_are_refused(field: str, value: float) -> None:
    """Nodes of one name are one machine, so their own load and memory must agree."""
    one, other = wide_fleet(2, 1.0)
    fog = msgspec.structs.replace(other.problem.nodes[1], **{field: value})
    nodes = (other.problem.nodes[0], fog, other.problem.nodes[2])
    with pytest.raises(ProblemError, match=f"node 'fog' has the {field} .* one machine"):
        plan_fleet([one, Member("other", msgspec.structs.replace(other.problem, nodes=nodes), 1.0)])


def test_no_members_need_no_plans() -> None:
    """An empty fleet is a fleet."""
    assert plan_fleet([]) == fleet.FleetPlan((), (), {}, 0.0, 0)


def test_utilisation_counts_encoding_and_decoding() -> None:
    """A plan's share of a node is its rate times its unstretched compute there."""
    (member,) = wide_fleet(1, 2.0)
    codec = Codec(name="half", ratio=0.5, encode_ms_per_mb=10.0, decode_ms_per_mb=5.0)
    problem = msgspec.structs.replace(member.problem, codecs=(codec,))
    stages = (Stage("pi0", 0, 2), Stage("fog", 2, 2, "half"), Stage("cloud", 2, 12, "half"))
    size_mb = problem.model.cut_bytes[2] / 1e6
    assert utilisation(problem, stages, 2.0) == pytest.approx(
        {"pi0": 2 * (16 + 10 * size_mb) / 1000, "fog": 0.0, "cloud": 2 * (10 + 5 * size_mb) / 1000}
    )
