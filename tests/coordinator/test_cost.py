"""The cost model, sentence by sentence, and against an independent reckoning."""

import itertools
import json
import math
from typing import Any

import brute_force
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_problems import problems

from coordinator.cost import Stage, broken_bound, evaluate
from coordinator.errors import PlanError
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem
from coordinator.problem_file import parse_problem

Json = Any

PI = Node(name="pi", op_ms=(10.0, 20.0, 30.0), idle_w=2.0, busy_w=6.0, tx_j_per_mb=0.5, rx_j_per_mb=0.25)
FOG = Node(
    name="fog", op_ms=(1.0, 2.0, 3.0), load=0.5, idle_w=8.0, busy_w=20.0, tx_j_per_mb=0.1, rx_j_per_mb=0.2, memory_mb=4
)
PC = Node(name="pc", op_ms=(0.5, 0.5, 0.5), idle_w=30.0, busy_w=90.0, tx_j_per_mb=0.1, rx_j_per_mb=0.2)
PROBLEM = Problem(
    model=Model(cut_bytes=(2e6, 1e6, 5e5, 1e6), weight_mb=(1.0, 2.0, 3.0)),
    origin="pi",
    nodes=(PI, FOG, PC),
    links=(
        Link(src="pi", dst="fog", rtt_ms=4.0, mbps=80.0),
        Link(src="fog", dst="pi", rtt_ms=4.0, mbps=40.0),
        Link(src="fog", dst="pc", rtt_ms=10.0, mbps=100.0),
        Link(src="pc", dst="fog", rtt_ms=10.0, mbps=50.0),
    ),
    codecs=(Codec(name="raw"), Codec(name="half", ratio=0.5, encode_ms_per_mb=4.0, decode_ms_per_mb=2.0)),
)


def test_everything_on_the_origin_takes_its_ops_alone() -> None:
    """Without transfers the latency is the sum of the ops, the energy is busy for all of it, and the objective is 1."""
    score = evaluate(PROBLEM, [Stage("pi", 0, 3)])
    assert score.latency_ms == pytest.approx(60.0)
    assert score.origin_energy_j == score.total_energy_j == pytest.approx(0.36)
    assert score.objective == pytest.approx(1.0)
    assert score.way_back == ()


def test_a_split_pays_computes_transfers_and_return() -> None:
    """Load stretches compute by 1/(1-load); a transfer takes rtt/2 and its bits; the output returns raw."""
    score = evaluate(PROBLEM, [Stage("pi", 0, 1), Stage("fog", 1, 3, "raw")])
    # pi 10; fog (2+3)*2; there 2+100; back 2+200
    assert score.latency_ms == pytest.approx(10 + 10 + 102 + 202)
    origin_j = (6 * 10 + 2 * (324 - 10)) / 1000 + 0.5 * 1 + 0.25 * 1
    assert score.origin_energy_j == pytest.approx(origin_j)
    assert score.total_energy_j == pytest.approx(origin_j + 12 * 10 / 1000 + 0.2 * 1 + 0.1 * 1)
    assert score.way_back == ("fog", "pi")


def test_a_codec_belongs_to_the_whole_transfer() -> None:
    """The maker encodes and the reader decodes, per MB before encoding and under load; the relay only forwards."""
    score = evaluate(PROBLEM, [Stage("fog", 0, 0, "half"), Stage("pc", 0, 1, "half"), Stage("fog", 1, 3, "half")])
    # 2 MB pi -> fog -> pc as 1 MB: encode 8 on pi, decode 4 on pc; then 1 MB pc -> fog as 0.5 MB: encode 4, decode 2*2
    there = 8 + (2 + 100) + (5 + 80) + 4
    on = 4 + (5 + 80) + 4
    assert score.latency_ms == pytest.approx(there + 0.5 + on + 10 + (2 + 200))
    compute_fog, compute_pc = 4 + 10, 4 + 0.5 + 4
    radio_fog = 0.2 * 1 + 0.1 * 1 + 0.2 * 0.5 + 0.1 * 1
    radio_pc = 0.2 * 1 + 0.1 * 0.5
    others_j = (12 * compute_fog + 60 * compute_pc) / 1000 + radio_fog + radio_pc
    assert score.total_energy_j - score.origin_energy_j == pytest.approx(others_j)
    assert score.origin_energy_j == pytest.approx((6 * 8 + 2 * (score.latency_ms - 8)) / 1000 + 0.5 * 1 + 0.25 * 1)


def test_a_split_on_one_node_costs_nothing() -> None:
    """Two stages in a row on one node transfer nothing, whatever codec they name."""
    whole = evaluate(PROBLEM, [Stage("pi", 0, 3)])
    parts = evaluate(PROBLEM, [Stage("pi", 0, 0), Stage("pi", 0, 1), Stage("pi", 1, 3, "half")])
    assert parts.latency_ms == pytest.approx(whole.latency_ms)


def test_the_result_returns_by_the_way_that_costs_the_objective_least() -> None:
    """An energy objective returns over the direct link, a latency objective over a quicker relay."""
    links = (
        *PROBLEM.links,
        Link(src="pc", dst="pi", rtt_ms=1.0, mbps=10.0),
        Link(src="pi", dst="pc", rtt_ms=1, mbps=9),
    )
    relay = Node(name="fog", op_ms=FOG.op_ms, tx_j_per_mb=50.0)
    problem = msgspec.structs.replace(PROBLEM, links=links, nodes=(PI, relay, PC))
    stages = [Stage("pc", 0, 3, "raw")]
    assert evaluate(problem, stages).way_back == ("pc", "fog", "pi")
    thrifty = msgspec.structs.replace(problem, objective=Objective(total_energy=1.0))
    assert evaluate(thrifty, stages).way_back == ("pc", "pi")


def test_of_ways_back_of_one_price_the_quickest_is_taken() -> None:
    """A relay without a radio adds no energy, though the sum over two links may differ in its last digit."""
    hops = [("pi", "far", 100.0), ("far", "pi", 500.0), ("far", "relay", 500.0), ("relay", "pi", 10.0)]
    problem = Problem(
        model=Model(cut_bytes=(1e3, 1e5)),
        origin="pi",
        nodes=(
            Node(name="pi", op_ms=(100.0,), busy_w=6.4, rx_j_per_mb=0.7),
            Node(name="relay", op_ms=(100.0,)),
            Node(name="far", op_ms=(10.0,), tx_j_per_mb=0.14),
        ),
        links=tuple(Link(src=src, dst=dst, rtt_ms=2.0, mbps=mbps) for src, dst, mbps in hops),
        objective=Objective(total_energy=1.0),
    )
    assert evaluate(problem, [Stage("far", 0, 1, "raw")]).way_back == ("far", "pi")


def test_the_objective_is_relative_to_origin_only() -> None:
    """Each weighted figure is divided by its value for everything on the origin, even where that breaks a bound."""
    objective = Objective(latency=0.5, origin_energy=0.25, total_energy=2.0)
    problem = msgspec.structs.replace(PROBLEM, objective=objective, deadline_ms=1.0)
    score = evaluate(problem, [Stage("fog", 0, 3, "raw")])
    expected = 0.5 * score.latency_ms / 60 + 0.25 * score.origin_energy_j / 0.36 + 2 * score.total_energy_j / 0.36
    assert score.objective == pytest.approx(expected)


def test_spreads_add_up_as_variances() -> None:
    """Load stretches an op's deviation; half a round trip's, and a bandwidth's to first order, count for each hop."""
    nodes = (
        msgspec.structs.replace(PI, op_ms_std=(1.0, 2.0, 3.0)),
        msgspec.structs.replace(FOG, op_ms_std=(0.0, 0.5, 0.25)),
        PC,
    )
    there, back, *others = PROBLEM.links
    links = (msgspec.structs.replace(there, rtt_ms_std=6.0), msgspec.structs.replace(back, mbps_std=10.0), *others)
    problem = msgspec.structs.replace(PROBLEM, nodes=nodes, links=links)
    stages = [Stage("pi", 0, 1), Stage("fog", 1, 3, "raw")]
    # pi 1; fog 0.5*2 and 0.25*2; there 6/2; back 200 ms at 10/40 of its bandwidth
    variance = 1 + 1 + 0.25 + 9 + (200 * 10 / 40) ** 2
    score = evaluate(problem, stages)
    assert score.latency_std_ms == pytest.approx(math.sqrt(variance))
    assert score.latency_quantile_ms == score.latency_ms == pytest.approx(324)
    at_risk = evaluate(msgspec.structs.replace(problem, risk=0.95), stages)
    # The 0.95 quantile of a normal distribution lies 1.6449 deviations above its mean.
    assert at_risk.latency_quantile_ms == pytest.approx(324 + 1.6448536 * math.sqrt(variance))
    assert at_risk.objective == pytest.approx(at_risk.latency_quantile_ms / (60 + 1.6448536 * math.sqrt(14)))
    assert (at_risk.latency_ms, at_risk.total_energy_j) == (score.latency_ms, score.total_energy_j)
    assert evaluate(msgspec.structs.replace(problem, risk=0.5), stages).latency_quantile_ms == pytest.approx(324)


def test_the_period_is_that_of_the_busiest_node_or_link() -> None:
    """What a node runs, encodes and decodes adds up, and so does what a directed link carries, the return included."""
    problem = msgspec.structs.replace(PROBLEM, objective=Objective(throughput=2.0))
    score = evaluate(problem, [Stage("pi", 0, 1), Stage("fog", 1, 3, "half")])
    # pi 10 + 4; there 2 + 50; fog (2+3+2)*2; back 2 + 200
    assert score.period_ms == pytest.approx(202)
    assert score.objective == pytest.approx(2 * 202 / 60)
    # fog -> pi carries 1 MB after op 0 and the result of 1 MB after op 2
    twice = evaluate(problem, [Stage("fog", 0, 1, "raw"), Stage("pi", 1, 2, "raw"), Stage("fog", 2, 3, "raw")])
    assert twice.period_ms == pytest.approx(2 + 200 + 2 + 200)
    assert evaluate(problem, [Stage("pi", 0, 3)]).objective == pytest.approx(2.0)


def test_the_way_back_spares_what_is_busy() -> None:
    """For throughput the result takes another link than the tensors, at a risk a surer one than on the mean."""
    links = (
        *(Link(src="pi", dst="pc", rtt_ms=0, mbps=800), Link(src="pc", dst="pi", rtt_ms=0, mbps=80, mbps_std=40)),
        *(Link(src="pc", dst="fog", rtt_ms=0, mbps=100), Link(src="fog", dst="pi", rtt_ms=0, mbps=100)),
    )
    problem = msgspec.structs.replace(PROBLEM, links=links)
    stages = [Stage("pc", 0, 1, "raw"), Stage("pi", 1, 2, "raw"), Stage("pc", 2, 3, "raw")]
    assert evaluate(problem, stages).way_back == ("pc", "pi")
    throughput = msgspec.structs.replace(problem, objective=Objective(throughput=1.0))
    assert evaluate(throughput, stages).way_back == ("pc", "fog", "pi")
    at_risk = msgspec.structs.replace(problem, risk=0.95)
    assert evaluate(at_risk, [Stage("pc", 0, 3, "raw")]).way_back == ("pc", "fog", "pi")
    # A plan that is unsure already hardly becomes less sure: deviations do not add up, variances do.
    assert evaluate(at_risk, stages).way_back == ("pc", "pi")


def test_a_broken_bound_is_named_with_its_excess() -> None:
    """Memory counts the weights of all of a node's stages; the deadline counts the whole latency."""
    stages = [Stage("fog", 0, 1, "raw"), Stage("pi", 1, 2, "raw"), Stage("fog", 2, 3, "raw")]
    assert broken_bound(PROBLEM, stages, evaluate(PROBLEM, stages)) is None
    stages = [Stage("fog", 0, 3, "raw")]
    broken = broken_bound(PROBLEM, stages, evaluate(PROBLEM, stages))
    assert broken is not None
    assert broken.message == "the ops on 'fog' weigh 6 MB, 2 MB over its memory_mb of 4"
    hurried = msgspec.structs.replace(PROBLEM, deadline_ms=50.0)
    stages = [Stage("pi", 0, 3)]
    broken = broken_bound(hurried, stages, evaluate(hurried, stages))
    assert broken is not None
    assert broken.message == "the plan takes 60 ms, 10 ms over the deadline_ms of 50"
    unsure = msgspec.structs.replace(PI, op_ms_std=(0.0, 0.0, 10.0))
    hurried = msgspec.structs.replace(hurried, nodes=(unsure, FOG, PC), deadline_ms=70.0, risk=0.95)
    broken = broken_bound(hurried, stages, evaluate(hurried, stages))
    assert broken is not None
    assert broken.message == "the plan takes 76.4485 ms at the 0.95 quantile, 6.44854 ms over the deadline_ms of 70"


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "stages end at op 0, the model has 3 ops"),
        ([Stage("pi", 0, 2)], "stages end at op 2, the model has 3 ops"),
        ([Stage("pi", 0, 1), Stage("pi", 2, 3)], "it must start at op 1"),
        ([Stage("pi", 0, 2), Stage("pi", 1, 3)], "it must start at op 2"),
        ([Stage("pi", 0, 4)], "stages end at op 4, the model has 3 ops"),
        ([Stage("pi", 0, 3), Stage("fog", 3, 3, "raw")], "the last stage, on 'fog', is empty"),
        ([Stage("mars", 0, 3, "raw")], "'mars', which is none of the problem's nodes"),
        ([Stage("fog", 0, 3, "zip")], "codec 'zip', the problem has raw, half"),
        ([Stage("fog", 0, 3)], "codec None, the problem has raw, half"),
        ([Stage("pc", 0, 3, "raw")], "from 'pi' to 'pc', which no link joins"),
        ([Stage("fog", 0, 0, "raw"), Stage("pc", 0, 3, "half")], "a relay forwards what it was sent"),
    ],
)
def test_stages_that_are_no_plan_are_refused(stages: list[Stage], message: str) -> None:
    """A gap, an overlap, an unknown name, a missing link or a relay that repacks is an error that says which."""
    with pytest.raises(PlanError, match=message):
        evaluate(PROBLEM, stages)


def test_a_forbidden_cut_and_a_lost_result_are_refused() -> None:
    """A stage cannot start where the model cannot be cut, nor end where no links lead back."""
    model = Model(cut_bytes=PROBLEM.model.cut_bytes, forbidden_cuts=(1,))
    with pytest.raises(PlanError, match=r"stages\[1\] starts at op 1, where the model cannot be cut"):
        evaluate(msgspec.structs.replace(PROBLEM, model=model), [Stage("pi", 0, 1), Stage("fog", 1, 3, "raw")])
    with pytest.raises(PlanError, match="no links lead back to the origin 'pi'"):
        evaluate(msgspec.structs.replace(PROBLEM, links=PROBLEM.links[:1]), [Stage("fog", 0, 3, "raw")])


def scored_problems() -> st.SearchStrategy[Json]:
    """Problems of some size, with and without spread and throughput."""
    shapes = ((2, 8, True), (3, 6, True), (4, 6, True))
    return st.one_of(problems(shapes), problems(shapes, spread=True), problems(shapes, spread=True, throughput=True))


@settings(max_examples=200, deadline=None)
@given(scored_problems(), st.data())
def test_any_plan_scores_as_an_independent_reckoning_says(problem: Json, data: st.DataObject) -> None:
    """On random assignments, relay paths and codecs, all figures are those of the brute force."""
    ops = len(problem["model"]["bytes"]) - 1
    problem["model"]["forbidden_cuts"] = []
    names = [node["name"] for node in problem["nodes"]]
    op_nodes: list[str] = []
    transfers: dict[int, brute_force.Transfer] = {}
    stages: list[Stage] = []
    for op in range(ops):
        at = op_nodes[-1] if op_nodes else problem["origin"]
        reachable = [name for name in names if brute_force.simple_paths(problem, at, name)]
        name = data.draw(st.sampled_from(reachable))
        codec = "raw"
        if name != at:
            path = data.draw(st.sampled_from(brute_force.simple_paths(problem, at, name)))
            packed = (brute_force.Transfer(path, codec["name"]) for codec in problem["codecs"])
            transfers[op] = data.draw(
                st.sampled_from([one for one in packed if brute_force.may_pack(problem, one, op)])
            )
            codec = transfers[op].codec
            stages += [Stage(relay, op, op, codec) for relay in path[1:-1]]
        stages.append(Stage(name, op, op + 1, codec if name != at else None))
        op_nodes.append(name)
    expected = brute_force.returned(problem, op_nodes, transfers)
    parsed = parse_problem(json.dumps(problem).encode())
    if expected is None:
        with pytest.raises(PlanError, match="no links lead back"):
            evaluate(parsed, stages)
        return
    score = evaluate(parsed, stages)
    figures = (
        *(score.latency_ms, score.origin_energy_j, score.total_energy_j, score.objective),
        *(score.latency_std_ms, score.latency_quantile_ms, score.period_ms),
    )
    assert figures == pytest.approx(tuple(expected), rel=1e-9, abs=1e-12)
    assert all(pair in {(link.src, link.dst) for link in parsed.links} for pair in itertools.pairwise(score.way_back))
