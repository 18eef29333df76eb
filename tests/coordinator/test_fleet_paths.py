"""The quick proposer of a fleet against the exact planner, on the problems that both decide."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_problems import problems

from coordinator.cost import evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.fleet_footprint import Footprint, footprint_of, objective, tariff_of
from coordinator.fleet_load import Member
from coordinator.fleet_paths import QuickestProposer, suits
from coordinator.fleet_proposal import ExactProposer, Proposal, Questions
from coordinator.problem import Problem
from coordinator.problem_file import parse_problem

Json = Any


def unbounded(problem: Json) -> Problem:
    """A random problem without memory bounds."""
    nodes = [{**node, "memory_mb": None} for node in problem["nodes"]]
    return parse_problem(json.dumps({**problem, "nodes": nodes}).encode())


def price(footprint: Footprint, compute_price: tuple[float, ...], questions: Questions) -> float:
    """What a plan comes to by the prices of a question."""
    return footprint.price + sum(
        ms * (own * stretch + toll)
        for ms, own, stretch, toll in zip(
            footprint.compute_ms, compute_price, questions.stretch[0], questions.toll[0], strict=True
        )
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(), st.data())
def test_both_proposers_find_plans_of_one_price(problem: Json, data: st.DataObject) -> None:
    """Under any loads and tolls the arrays' shortest path costs what the exact planner's plan costs."""
    members = [Member("a", unbounded(problem), 1.0)]
    tariffs = [tariff_of(members[0], {node["name"]: at for at, node in enumerate(problem["nodes"])})]
    count = len(problem["nodes"])
    stretch = data.draw(st.lists(st.sampled_from([1.0, 1.5, 8.0]), min_size=count, max_size=count))
    toll = data.draw(st.lists(st.sampled_from([0.0, 0.001, 0.1]), min_size=count, max_size=count))
    # Where compute costs a member nothing, no load can tell the exact planner of a toll.
    toll = [asked if own > 0.0 else 0.0 for asked, own in zip(toll, tariffs[0].compute_price, strict=True)]
    questions = Questions([0], np.array([stretch]), np.array([toll]), np.zeros((1, count)), np.full((1, count), np.inf))
    assert suits(members[0], tariffs[0])
    quick = QuickestProposer(members, tariffs)(questions)
    exact = ExactProposer(members, tariffs)(questions)
    if exact.price[0] == np.inf:
        assert quick.price[0] == np.inf
        return
    plans: list[Proposal] = [quick.proposal(0), exact.proposal(0)]
    paid = [price(plan.footprint, tariffs[0].compute_price, questions) for plan in plans]
    assert paid[0] == pytest.approx(paid[1], rel=1e-9, abs=1e-12)
    # What it says the plan takes is what the plan takes.
    walked = footprint_of(members[0], tariffs[0], plans[0].draft.stages())
    assert plans[0].footprint.compute_ms == pytest.approx(walked.compute_ms, abs=1e-9)
    assert plans[0].footprint.weight_mb == pytest.approx(walked.weight_mb, abs=1e-9)
    assert price(plans[0].footprint, tariffs[0].compute_price, questions) == pytest.approx(
        price(walked, tariffs[0].compute_price, questions), rel=1e-9, abs=1e-12
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(), st.floats(0.5, 0.99), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 0.3, 0.9]))
def test_the_closed_form_is_the_evaluators(problem: Json, risk: float, throughput: float, load: float) -> None:
    """A footprint's objective under loads is what the one evaluator makes of the plan, spreads and periods included."""
    bare = unbounded(problem)
    nodes = tuple(msgspec.structs.replace(node, op_ms_std=tuple(ms / 3 for ms in node.op_ms)) for node in bare.nodes)
    weights = msgspec.structs.replace(bare.objective, throughput=throughput)
    member = Member("a", msgspec.structs.replace(bare, nodes=nodes, risk=risk, objective=weights), 1.0)
    tariff = tariff_of(member, {node.name: at for at, node in enumerate(nodes)})
    count = len(nodes)
    plan = ExactProposer([member], [tariff])(
        Questions([0], np.ones((1, count)), np.zeros((1, count)), np.zeros((1, count)), np.full((1, count), np.inf))
    )
    try:
        proposal = plan.proposal(0)
    except (KeyError, PlanInfeasibleError):
        return
    others = [node for node in range(count) if nodes[node].name != member.problem.origin]
    loaded_nodes = tuple(
        msgspec.structs.replace(node, load=max(node.load, load)) if at in others else node
        for at, node in enumerate(nodes)
    )
    loaded = msgspec.structs.replace(member.problem, nodes=loaded_nodes)
    score = evaluate(loaded, proposal.draft.stages())
    closed = objective(tariff, proposal.footprint, [node.stretch for node in loaded_nodes])
    # The way back may change with the loads where the objective is no sum; then the evaluator's is the better one.
    assert score.objective <= closed * (1 + 1e-9)
    if score.way_back == evaluate(member.problem, proposal.draft.stages()).way_back:
        assert closed == pytest.approx(score.objective, rel=1e-9)
