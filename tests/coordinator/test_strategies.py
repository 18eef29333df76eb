"""The strategies behind one interface: what each decides, and that none beats the exact plan or breaks a bound."""

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import problems

from broker.messages import StrategyName
from coordinator.cost import broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError, UnknownStrategyError
from coordinator.problem import Link, Model, Node, Problem
from coordinator.problem_file import parse_problem
from coordinator.strategies import STRATEGIES, SUMMARIES, strategy

NODES = (
    Node(name="pi", tier="edge", op_ms=(50.0, 50.0), memory_mb=4.0),
    Node(name="laptop", tier="fog", op_ms=(20.0, 20.0), memory_mb=4.0),
    Node(name="box", tier="fog", op_ms=(10.0, 10.0), memory_mb=4.0),
    Node(name="pc", tier="cloud", op_ms=(1.0, 1.0), memory_mb=4.0),
)
PROBLEM = Problem(
    model=Model(cut_bytes=(1e5, 1e5, 1e2), weight_mb=(1.0, 1.0)),
    origin="pi",
    nodes=NODES,
    links=tuple(
        Link(src=src, dst=dst, rtt_ms=2.0, mbps=mbps)
        for one, other, mbps in (("pi", "laptop", 100.0), ("pi", "box", 20.0), ("laptop", "pc", 100.0))
        for src, dst in ((one, other), (other, one))
    ),
)


@settings(max_examples=75, deadline=None)
@given(
    st.one_of(
        problems(shapes=((3, 4, True), (4, 4, True))),
        problems(shapes=((3, 4, True),), spread=True, throughput=True),
    ),
    st.one_of(st.none(), st.floats(20.0, 2000.0)),
)
def test_no_strategy_beats_exact_or_breaks_a_bound(problem: Any, deadline_ms: float | None) -> None:
    """Whatever a strategy decides costs at least as much as the exact plan, and where exact finds none, none does."""
    problem["nodes"].sort(key=lambda node: node["name"] != problem["origin"])
    for node, tier in zip(problem["nodes"], ("edge", "fog", "cloud", "cloud"), strict=False):
        node["tier"] = tier
    problem["deadline_ms"] = deadline_ms
    parsed = parse_problem(json.dumps(problem).encode())
    try:
        least = strategy("exact")(parsed).score.objective
    except PlanInfeasibleError:
        least = float("inf")
    for decide in STRATEGIES.values():
        try:
            plan = decide(parsed)
        except PlanInfeasibleError:
            continue
        assert plan.score == evaluate(parsed, plan.stages)
        assert plan.score.objective >= least - 1e-9
        assert broken_bound(parsed, plan.stages, plan.score) is None


def test_deployments_can_be_declared_with_every_strategy() -> None:
    """The names in messages and settings are those of the registry, and each has its summary."""
    assert set(get_args(StrategyName)) == set(STRATEGIES)
    assert list(SUMMARIES) == list(STRATEGIES)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [("origin-only", ["pi"]), ("fog-only", ["laptop"]), ("cloud-only", ["laptop", "pc"]), ("static", ["laptop", "pc"])],
)
def test_each_strategy_keeps_to_its_nodes(name: str, nodes: list[str]) -> None:
    """A tier's strategy takes the tier's best node for all ops, reached over a relay where that is the only way."""
    plan = strategy(name)(PROBLEM)
    assert [stage.node for stage in plan.stages] == nodes
    assert (plan.stages[-1].start, plan.stages[-1].stop) == (0, 2)


def test_the_best_node_of_a_tier_is_the_best_that_keeps_the_bounds() -> None:
    """Where the better fog node lacks memory, the other one is taken."""
    small = tuple(msgspec.structs.replace(node, memory_mb=1.0) if node.name == "laptop" else node for node in NODES)
    plan = strategy("fog-only")(msgspec.structs.replace(PROBLEM, nodes=small))
    assert [stage.node for stage in plan.stages] == ["box"]


def test_a_tier_that_the_site_lacks_or_cannot_reach_is_named() -> None:
    """No node of the tier, no links to it, and a bound that its only node breaks are three different sentences."""
    with pytest.raises(PlanInfeasibleError, match="no node is of the tier 'cloud'"):
        strategy("cloud-only")(msgspec.structs.replace(PROBLEM, nodes=NODES[:3], links=PROBLEM.links[:4]))
    with pytest.raises(PlanInfeasibleError, match=r"no links lead from 'pi' to the tier 'cloud' \(pc\) and back"):
        strategy("cloud-only")(msgspec.structs.replace(PROBLEM, links=PROBLEM.links[:4]))
    with pytest.raises(
        PlanInfeasibleError, match=r"no node of the tier 'cloud' can run the model: the plan takes .* ms"
    ):
        strategy("cloud-only")(msgspec.structs.replace(PROBLEM, deadline_ms=3.0))
    with pytest.raises(PlanInfeasibleError, match="the plan takes 100 ms, 97 ms over the deadline_ms of 3"):
        strategy("origin-only")(msgspec.structs.replace(PROBLEM, deadline_ms=3.0))


def test_an_unknown_strategy_is_named_with_those_that_there_are() -> None:
    """The sentence lists the registry."""
    with pytest.raises(UnknownStrategyError, match="no strategy 'best': choose one of exact, static, origin-only"):
        strategy("best")
