"""The exact planner against a brute force that tries every plan, and against every other strategy."""

import json
import math
from typing import Any

import brute_force
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_problems import eighths, problems

from coordinator import bounded
from coordinator.cost import Stage, broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.exact import plan
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem
from coordinator.problem_file import parse_problem

Json = Any


def check_against_brute_force(problem: Json, tightness: float | None = None) -> None:
    """The planner's objective is the least that the brute force finds, or both find no plan; `tightness` as below."""
    problem, best = hurried(problem, tightness)
    try:
        found = plan(parse_problem(json.dumps(problem).encode()))
    except PlanInfeasibleError:
        assert best is None
        return
    assert best is not None
    assert found.score.objective == pytest.approx(best.objective, rel=1e-9, abs=1e-12)


def hurried(problem: Json, tightness: float | None) -> tuple[Json, brute_force.Figures | None]:
    """The problem with a deadline so tight, relative to the latency that counts of the best plan without one.

    And the best plan's figures: every plan is tried once.
    """
    plans = list(brute_force.every(problem))
    unhurried = brute_force.least(plans, None)
    if tightness is None:
        return problem, unhurried
    deadline = 100.0 if unhurried is None else unhurried.latency_quantile_ms * tightness
    return {**problem, "deadline_ms": deadline}, brute_force.least(plans, deadline)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems())
def test_no_plan_within_memory_is_better(problem: Json) -> None:
    """Over all nodes, orders, relays and codecs, no plan that keeps the memory bounds costs less."""
    check_against_brute_force(problem)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(), st.sampled_from([0.5, 0.75, 0.9, 0.99, 1.0, 1.2]))
def test_no_plan_within_a_deadline_is_better(problem: Json, tightness: float) -> None:
    """With a deadline near the latency of the best plan, no plan that keeps it costs less."""
    check_against_brute_force(problem, tightness)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(spread=True), st.sampled_from([None, 0.9, 0.99, 1.0, 1.1]))
def test_no_plan_at_a_risk_is_better(problem: Json, tightness: float | None) -> None:
    """On a quantile of the whole plan's latency, with memory bounds and a deadline on it, no plan costs less."""
    check_against_brute_force(problem, tightness)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(throughput=True), st.sampled_from([None, 0.9, 0.99, 1.1]))
def test_no_plan_for_throughput_is_better(problem: Json, tightness: float | None) -> None:
    """With the busiest node or link weighed, alone or beside others, no plan within the bounds costs less."""
    check_against_brute_force(problem, tightness)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(spread=True, throughput=True), st.sampled_from([None, 0.9, 0.99, 1.1]), st.booleans())
def test_no_plan_is_better_with_all_at_once(problem: Json, tightness: float | None, relaxed: bool) -> None:
    """With risk, throughput, energy, memory, a deadline, codecs, relays and forbidden cuts, no plan costs less."""
    with pytest.MonkeyPatch.context() as patch:
        if relaxed:
            patch.setattr(bounded, "RELAX_AFTER", 1)
        check_against_brute_force(problem, tightness)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(), st.sampled_from([0.75, 0.99, 1.2]))
def test_the_relaxed_bound_leaves_the_plan_exact(problem: Json, tightness: float) -> None:
    """The estimate that shortens long searches never cuts off the best plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "RELAX_AFTER", 1)
        check_against_brute_force(problem, tightness)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(problems(shapes=((4, 8, False),), links="line"), st.sampled_from([None, 0.9, 1.1]))
def test_no_plan_for_eight_ops_on_four_nodes_is_better(problem: Json, tightness: float | None) -> None:
    """At eight ops on four nodes in a row, where most transfers are relayed, no plan costs less."""
    check_against_brute_force(problem, tightness)


@settings(max_examples=50, deadline=None)
@given(problems(shapes=((4, 8, True), (3, 12, True))))
def test_a_plan_covers_every_op_once_and_keeps_its_bounds(problem: Json) -> None:
    """Stages are in order without gap or overlap, score as evaluated, and break no bound."""
    parsed = parse_problem(json.dumps(problem).encode())
    try:
        found = plan(parsed)
    except PlanInfeasibleError:
        return
    assert [op for stage in found.stages for op in range(stage.start, stage.stop)] == list(range(parsed.model.ops))
    assert found.score == evaluate(parsed, found.stages)
    assert broken_bound(parsed, found.stages, found.score) is None


def chain(**changes: Any) -> Problem:
    """Four ops; a slow origin, a relay that is slower still, and a fast node that only the relay reaches."""
    fields: dict[str, Any] = {
        "model": Model(cut_bytes=(1e6, 1e5, 1e5, 1e4, 1e3), weight_mb=(1.0, 2.0, 3.0, 4.0)),
        "origin": "pi",
        "nodes": (
            Node(name="pi", op_ms=(10.0, 100.0, 100.0, 100.0), memory_mb=100.0, busy_w=5.0),
            Node(name="relay", op_ms=(1000.0,) * 4, memory_mb=100.0),
            Node(name="far", op_ms=(1.0,) * 4, memory_mb=100.0),
        ),
        "links": tuple(
            Link(src=src, dst=dst, rtt_ms=2.0, mbps=80.0)
            for src, dst in (("pi", "relay"), ("relay", "far"), ("far", "relay"), ("relay", "pi"))
        ),
    }
    return Problem(**{**fields, **changes})


def with_memory(problem: Problem, **memory_mb: float) -> Problem:
    """The problem with other memory bounds."""
    nodes = tuple(
        Node(name=node.name, op_ms=node.op_ms, memory_mb=memory_mb[node.name], busy_w=node.busy_w)
        for node in problem.nodes
    )
    return Problem(model=problem.model, origin=problem.origin, nodes=nodes, links=problem.links)


def test_a_relay_carries_to_a_node_that_the_origin_cannot_reach() -> None:
    """Where the direct link is missing, an empty stage relays, and the result comes back the same way."""
    found = plan(chain())
    assert [(stage.node, stage.start, stage.stop, stage.codec) for stage in found.stages] == [
        ("pi", 0, 1, None),
        ("relay", 1, 1, "raw"),
        ("far", 1, 4, "raw"),
    ]
    assert found.score.way_back == ("far", "relay", "pi")


def test_a_forbidden_cut_is_not_cut() -> None:
    """The plan cuts where the model can be cut, at a higher cost."""
    free, bound = plan(chain()), plan(chain(model=Model(cut_bytes=(1e6, 1e5, 1e5, 1e4, 1e3), forbidden_cuts=(1,))))
    assert 1 not in [stage.start for stage in bound.stages]
    assert bound.score.objective > free.score.objective


def test_a_missed_deadline_is_named_with_the_best_that_can_be_reached() -> None:
    """The sentence says which latency the quickest plan would reach."""
    best_ms = plan(chain()).score.latency_ms
    with pytest.raises(PlanInfeasibleError, match=f"deadline_ms of 10: the quickest takes {best_ms:.6g} ms") as caught:
        plan(chain(deadline_ms=10.0))
    assert caught.value.bound == "deadline_ms"


def test_a_deadline_missed_at_a_risk_is_named_with_the_best_quantile() -> None:
    """The sentence says which quantile the best plan reaches, and its excess."""
    nodes = tuple(msgspec.structs.replace(node, op_ms_std=(2.0,) * 4) for node in chain().nodes)
    problem = chain(nodes=nodes, deadline_ms=10.0, risk=0.99)
    best_ms = plan(msgspec.structs.replace(problem, deadline_ms=None)).score.latency_quantile_ms
    sentence = f"the quickest takes {best_ms:.6g} ms at the 0.99 quantile, {best_ms - 10:.6g} ms too many"
    with pytest.raises(PlanInfeasibleError, match=sentence):
        plan(problem)


def test_a_risk_prefers_what_is_sure() -> None:
    """On the mean the uncertain link is the quicker one; at a risk the plan takes the sure one."""
    nodes = (Node(name="pi", op_ms=(500.0,)), Node(name="fog", op_ms=(20.0,)), Node(name="pc", op_ms=(10.0,)))
    links = tuple(
        Link(src=src, dst=dst, rtt_ms=20.0, mbps=100.0, rtt_ms_std=40.0 if "pc" in (src, dst) else 0.0)
        for src, dst in (("pi", "fog"), ("fog", "pi"), ("pi", "pc"), ("pc", "pi"))
    )
    problem = Problem(model=Model(cut_bytes=(1e4, 1e3)), origin="pi", nodes=nodes, links=links)
    assert [stage.node for stage in plan(problem).stages] == ["pc"]
    assert [stage.node for stage in plan(msgspec.structs.replace(problem, risk=0.95)).stages] == ["fog"]


def test_throughput_shares_the_work_out() -> None:
    """For latency one fast node runs all; for throughput a pipeline of all nodes, none busier than need be."""
    quick = Node(name="pc", op_ms=(10.0,) * 6)
    nodes = (Node(name="pi", op_ms=(20.0,) * 6), quick)
    links = (Link(src="pi", dst="pc", rtt_ms=1.0, mbps=100.0), Link(src="pc", dst="pi", rtt_ms=1.0, mbps=100.0))
    problem = Problem(model=Model(cut_bytes=(1e3,) * 7), origin="pi", nodes=nodes, links=links)
    assert [(stage.node, stage.start, stage.stop) for stage in plan(problem).stages] == [("pc", 0, 6)]
    shared = plan(msgspec.structs.replace(problem, objective=Objective(throughput=1.0)))
    assert shared.score.period_ms == pytest.approx(40.0)
    assert sum(stage.stop - stage.start for stage in shared.stages if stage.node == "pi") == 2


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(spread=True, throughput=True), st.sampled_from([None, 0.9, 1.1]), st.integers(0, 30))
def test_a_search_that_is_cut_short_says_how_far_it_may_be_off(
    problem: Json, tightness: float | None, most_labels: int
) -> None:
    """The plan keeps its bounds, and its objective is within the gap of the least; or the search says it gave up."""
    problem, best = hurried(problem, tightness)
    parsed = parse_problem(json.dumps(problem).encode())
    try:
        found = plan(parsed, most_labels=most_labels)
    except PlanInfeasibleError as error:
        assert best is None or (error.bound == "most_labels" and "was given up" in str(error))
        return
    assert best is not None
    assert broken_bound(parsed, found.stages, found.score) is None
    assert best.objective <= found.score.objective * (1 + 1e-9)
    assert found.score.objective <= best.objective * (1 + found.gap) * (1 + 1e-9)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(((2, 6, True), (3, 5, True), (4, 5, True))), st.data())
def test_a_codec_that_is_allowed_makes_no_plan_worse(problem: Json, data: st.DataObject) -> None:
    """Whatever it does at each cut, raw transfers remain; where no node packs, plans are those without it."""
    cuts = len(problem["model"]["bytes"])
    ratios = data.draw(st.lists(st.sampled_from([None, 0.1, 0.9, 2.0]), min_size=cuts, max_size=cuts))
    more = {"name": "more", "ratio": ratios, "encode_ms_per_mb": data.draw(eighths(0, 30)), "decode_ms_per_mb": 1.0}
    packed = {**problem, "codecs": [*problem["codecs"], more]}
    none_packs = {**packed, "nodes": [{**node, "codec_factor": None} for node in problem["nodes"]]}
    raw_alone = {**problem, "codecs": problem["codecs"][:1]}
    found = []
    for each in (packed, problem, none_packs, raw_alone):
        try:
            found.append(plan(parse_problem(json.dumps(each).encode())).score.objective)
        except PlanInfeasibleError:
            found.append(math.inf)
    with_more, without, of_none, raw = found
    assert with_more <= without * (1 + 1e-12)
    assert of_none == raw


def test_a_codec_is_taken_where_it_is_allowed() -> None:
    """One that packs well at the best cut moves no cut; one that is allowed elsewhere alone moves it."""
    problem = Problem(
        model=Model(cut_bytes=(1e6, 5e5, 6e5, 1e3)),
        origin="pi",
        nodes=(Node(name="pi", op_ms=(10.0, 10.0, 400.0)), Node(name="pc", op_ms=(1.0, 1.0, 40.0))),
        links=(Link(src="pi", dst="pc", rtt_ms=2.0, mbps=40.0), Link(src="pc", dst="pi", rtt_ms=2.0, mbps=40.0)),
    )
    assert plan(problem).stages == (Stage("pi", 0, 1), Stage("pc", 1, 3, "raw"))
    packed = Codec(name="packed", ratio=(None, None, 0.25, None))
    moved = msgspec.structs.replace(problem, codecs=(*problem.codecs, packed))
    assert plan(moved).stages == (Stage("pi", 0, 2), Stage("pc", 2, 3, "packed"))
    slow = tuple(msgspec.structs.replace(node, codec_factor=100.0) for node in problem.nodes)
    dear = msgspec.structs.replace(packed, encode_ms_per_mb=(0.0, 0.0, 2.0, 0.0))
    kept = msgspec.structs.replace(problem, nodes=slow, codecs=(*problem.codecs, dear))
    assert plan(kept).stages == plan(problem).stages


def test_a_full_search_proves_its_plan() -> None:
    """Without a cap, or with one that is not reached, the gap is 0."""
    tight = with_memory(chain(), pi=5.0, relay=5.0, far=5.0)
    assert plan(tight).gap == 0.0
    assert plan(tight, most_labels=10_000) == plan(tight)


def test_missing_memory_is_named_in_mb() -> None:
    """Too little in sum, an op too large for any node, and ops that cannot be shared out each have their sentence."""
    with pytest.raises(PlanInfeasibleError, match=r"10 MB, but .* adds up to 9 .*: 1 MB are missing") as caught:
        plan(with_memory(chain(), pi=3.0, relay=3.0, far=3.0))
    assert caught.value.bound == "memory_mb"
    with pytest.raises(PlanInfeasibleError, match=r"op 3 weighs 4 MB, but the largest .* is 3.5 .*: 0.5 MB are"):
        plan(with_memory(chain(), pi=3.5, relay=3.5, far=3.5))
    with pytest.raises(PlanInfeasibleError, match=r"cannot be shared out .*: 1 MB more on 'pc' would do"):
        plan(unshareable())


def unshareable() -> Problem:
    """Three ops of 2 MB that two nodes of 3 MB hold in sum, but not op by op."""
    model = Model(cut_bytes=(1.0,) * 4, weight_mb=(2.0, 2.0, 2.0))
    nodes = tuple(Node(name=name, op_ms=(1.0,) * 3, memory_mb=3.0) for name in ("pi", "pc"))
    links = tuple(Link(src=src, dst=dst, rtt_ms=1.0, mbps=1.0) for src, dst in (("pi", "pc"), ("pc", "pi")))
    return Problem(model=model, origin="pi", nodes=nodes, links=links)


def test_a_node_out_of_reach_lends_no_memory() -> None:
    """A node that no links lead back from does not count, however large it is."""
    nodes = (
        Node(name="pi", op_ms=(1.0,), memory_mb=1.0),
        Node(name="pc", op_ms=(1.0,)),
    )
    one_way = (Link(src="pi", dst="pc", rtt_ms=1.0, mbps=1.0),)
    problem = Problem(model=Model(cut_bytes=(1.0, 1.0), weight_mb=(3.0,)), origin="pi", nodes=nodes, links=one_way)
    with pytest.raises(PlanInfeasibleError, match=r"within reach adds up to 1 \(pi 1\): 2 MB are missing"):
        plan(problem)


def test_a_dearer_but_quicker_way_is_taken_for_a_deadline() -> None:
    """Energy alone prefers the slow direct link; a deadline makes the plan take the relay, whose radio costs energy."""
    nodes = (
        Node(name="pi", op_ms=(500.0,), busy_w=5.0),
        Node(name="relay", op_ms=(500.0,), busy_w=5.0, tx_j_per_mb=1.0, rx_j_per_mb=1.0),
        Node(name="pc", op_ms=(1.0,), busy_w=5.0),
    )
    links = tuple(
        Link(src=src, dst=dst, rtt_ms=rtt_ms, mbps=100.0)
        for src, dst, rtt_ms in (("pi", "pc", 200.0), ("pi", "relay", 2.0), ("relay", "pc", 2.0), ("pc", "pi", 2.0))
    )
    problem = Problem(
        model=Model(cut_bytes=(1e5, 1e3)),
        origin="pi",
        nodes=nodes,
        links=links,
        objective=Objective(total_energy=1.0),
    )
    assert [stage.node for stage in plan(problem).stages] == ["pc"]
    hurried = plan(msgspec.structs.replace(problem, deadline_ms=50.0))
    assert [stage.node for stage in hurried.stages] == ["relay", "pc"]
