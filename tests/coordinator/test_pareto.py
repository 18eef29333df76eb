"""The Pareto front against a brute force that scores every plan by every way back."""

import itertools
import json
import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import brute_force
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_problems import SHAPES, eighths, problems

from coordinator import exact, pareto
from coordinator.cost import PartitionPlan, broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.pareto import pareto_front
from coordinator.pareto_dominance import non_dominated
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem
from coordinator.problem_file import parse_problem

Json = Any
Point = tuple[float, float, float]
CLOSE = 1e-9


@st.composite
def uncertain(draw: st.DrawFn, shapes: tuple[tuple[int, int, bool], ...] = SHAPES) -> Json:
    """A problem whose times and bandwidths have spreads, and a risk."""
    problem = draw(problems(shapes=shapes))
    for node in problem["nodes"]:
        node["op_ms_std"] = [draw(eighths(0, 30)) for _ in node["op_ms"]]
    for link in problem["links"]:
        link["rtt_ms_std"] = draw(eighths(0, 10))
        link["mbps_std"] = link["mbps"] * draw(st.sampled_from([0.0, 0.25, 0.5]))
    return {**problem, "risk": draw(st.sampled_from([0.5, 0.75, 0.95, 0.999]))}


def variance_ms2(problem: Json, op_nodes: list[str], sent: list[tuple[tuple[str, ...], float]]) -> float:
    """The variance of a plan's latency, from the text: independent times, each stretched; transfers to first order."""
    nodes = {node["name"]: node for node in problem["nodes"]}
    links = {(link["src"], link["dst"]): link for link in problem["links"]}
    variance = 0.0
    for op, name in enumerate(op_nodes):
        stds = nodes[name].get("op_ms_std") or [0.0] * len(op_nodes)
        variance += (stds[op] / (1 - nodes[name].get("load", 0))) ** 2
    for path, size in sent:
        for hop in itertools.pairwise(path):
            link = links[hop]
            variance += (link.get("rtt_ms_std", 0) / 2) ** 2
            variance += (8 * size / (1000 * link["mbps"]) * link.get("mbps_std", 0) / link["mbps"]) ** 2
    return variance


def every_plan(problem: Json) -> Iterator[Point]:
    """Latency, origin energy and total energy of every plan that keeps the bounds, by every way back."""
    names, sizes = [node["name"] for node in problem["nodes"]], problem["model"]["bytes"]
    ratios = {codec["name"]: codec["ratio"] for codec in problem["codecs"]}
    origin, deadline = problem["origin"], problem.get("deadline_ms")
    deviations = NormalDist().inv_cdf(problem["risk"]) if problem.get("risk") else 0.0
    paths = {(src, dst): brute_force.simple_paths(problem, src, dst) for src in names for dst in names}
    for op_nodes in itertools.product(names, repeat=len(sizes) - 1):
        if not brute_force.fits(problem, list(op_nodes)):
            continue
        makers = (origin, *op_nodes)
        cuts = [cut for cut in range(len(op_nodes)) if makers[cut] != makers[cut + 1]]
        if set(cuts) & set(problem["model"].get("forbidden_cuts", [])):
            continue
        choices = [
            [
                transfer
                for path in paths[makers[cut], makers[cut + 1]]
                for codec in ratios
                if brute_force.may_pack(problem, transfer := brute_force.Transfer(path, codec), cut)
            ]
            for cut in cuts
        ]
        for *chosen, way_back in itertools.product(*choices, paths[op_nodes[-1], origin]):
            transfers = dict(zip(cuts, chosen, strict=True))
            figures = brute_force.figures(problem, list(op_nodes), transfers, way_back)
            sent = [
                (move.path, sizes[cut] * brute_force.at_cut(ratios[move.codec], cut)) for cut, move in transfers.items()
            ]
            variance = variance_ms2(problem, list(op_nodes), [*sent, (way_back, sizes[-1])])
            latency_ms = figures.latency_ms + deviations * math.sqrt(variance)
            if deadline is None or latency_ms <= deadline * (1 + CLOSE):
                yield latency_ms, figures.origin_energy_j, figures.total_energy_j


def point(plan: PartitionPlan) -> Point:
    """What a plan is compared by."""
    return plan.score.latency_quantile_ms, plan.score.origin_energy_j, plan.score.total_energy_j


def as_good(one: Point, other: Point) -> bool:
    """Whether one is at least as good in every figure, up to rounding."""
    return all(mine <= its + CLOSE * max(1.0, abs(its)) for mine, its in zip(one, other, strict=True))


def check_against_brute_force(problem: Json) -> None:
    """The front has a plan as good as any, and none that a plan beats; or no plan keeps the bounds."""
    plans = set(every_plan(problem))
    try:
        front = pareto_front(parse_problem(json.dumps(problem).encode()))
    except PlanInfeasibleError:
        assert not plans
        return
    points = [point(plan) for plan in front]
    assert points == sorted(points)
    assert all(any(as_good(mine, theirs) for mine in points) for theirs in plans)
    for mine in points:
        assert any(as_good(theirs, mine) and as_good(mine, theirs) for theirs in plans)
        assert not any(as_good(theirs, mine) and not as_good(mine, theirs) for theirs in plans)
    assert not any(as_good(one, other) for one, other in itertools.permutations(points, 2))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems())
def test_the_front_has_every_plan_that_none_beats_within_memory(problem: Json) -> None:
    """Over all nodes, orders, relays, codecs, loads, ways back and memory bounds."""
    check_against_brute_force(problem)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(uncertain())
def test_the_front_of_uncertain_times_is_of_the_whole_plans_quantile(problem: Json) -> None:
    """With spreads and a risk, latency is the quantile of the whole plan."""
    check_against_brute_force(problem)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(problems(), uncertain()), st.sampled_from([0.75, 0.99, 1.0, 1.2]))
def test_a_deadline_ends_the_front(problem: Json, tightness: float) -> None:
    """With a deadline near the quickest latencies, the front has only plans that keep it."""
    plans = sorted(every_plan(problem))
    deadline = plans[len(plans) // 3][0] * tightness if plans else 100.0
    check_against_brute_force({**problem, "deadline_ms": deadline})


@settings(max_examples=60, deadline=None)
@given(problems(shapes=((4, 8, True), (3, 12, True))))
def test_plans_of_the_front_are_plans(problem: Json) -> None:
    """Each covers the ops in order, keeps the bounds and scores as evaluated, but for its own way back."""
    parsed = parse_problem(json.dumps(problem).encode())
    try:
        front = pareto_front(parsed)
    except PlanInfeasibleError:
        return
    for plan in front:
        best = evaluate(parsed, plan.stages)
        assert broken_bound(parsed, plan.stages, plan.score) is None
        assert plan.score.objective >= best.objective - CLOSE
        if plan.score.way_back == best.way_back:
            assert point(plan) == pytest.approx((best.latency_quantile_ms, best.origin_energy_j, best.total_energy_j))
    if not parsed.objective.throughput:
        least = min(plan.score.objective for plan in front)
        assert least == pytest.approx(exact.plan(parsed).score.objective, rel=CLOSE)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(problems(shapes=((3, 9, True),)), uncertain(shapes=((3, 9, True),))),
    st.lists(st.sampled_from([0.2, 0.35, 0.5, 0.7]), min_size=3, max_size=3),
)
def test_what_is_known_to_be_beaten_is_left_out_and_nothing_else(problem: Json, shares: list[float]) -> None:
    """Where no node can hold all weights, the bounds that shorten the search leave the front as it is."""
    for node, share in zip(problem["nodes"], shares, strict=True):
        node["memory_mb"] = share * sum(problem["model"]["weight_mb"])
    parsed = parse_problem(json.dumps(problem).encode())
    try:
        front = pareto_front(parsed)
    except PlanInfeasibleError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pareto, "_guide", lambda tables: None)
        in_full = pareto_front(parsed)
    assert len(front) == len(in_full)
    assert np.allclose([point(plan) for plan in front], [point(plan) for plan in in_full], rtol=CLOSE)


def two_ways_back() -> Problem:
    """A far node whose result returns quickly at a price in energy, or slowly without."""
    links = [("pi", "far", 80.0), ("far", "pi", 8.0), ("far", "relay", 800.0), ("relay", "pi", 800.0)]
    return Problem(
        model=Model(cut_bytes=(1e3, 1e6)),
        origin="pi",
        nodes=(
            Node(name="pi", op_ms=(1e5,), busy_w=5.0),
            Node(name="relay", op_ms=(1e5,), tx_j_per_mb=1.0, rx_j_per_mb=1.0),
            Node(name="far", op_ms=(1.0,), busy_w=1.0),
        ),
        links=tuple(Link(src=src, dst=dst, rtt_ms=2.0, mbps=mbps) for src, dst, mbps in links),
        codecs=(Codec(name="packed", ratio=0.5),),
    )


def test_one_split_may_be_on_the_front_by_several_ways_back() -> None:
    """The quick way back over a relay and the thrifty one are two plans of one split; the result is never packed."""
    quick, thrifty = pareto_front(two_ways_back())
    assert quick.stages == thrifty.stages
    assert (quick.score.way_back, thrifty.score.way_back) == (("far", "relay", "pi"), ("far", "pi"))
    assert thrifty.score.latency_ms - quick.score.latency_ms == pytest.approx(1000.0 - 2 * 10.0 - 1.0)
    assert quick.score.total_energy_j - thrifty.score.total_energy_j == pytest.approx(2.0)


@pytest.mark.parametrize("memory_mb", [None, 0.0])
def test_a_way_back_that_the_objective_does_not_like_may_keep_the_deadline(memory_mb: float | None) -> None:
    """Where memory is scarce too: the thrifty way back is late, the quick one is a plan of the front."""
    free = two_ways_back()
    nodes = tuple(msgspec.structs.replace(node, memory_mb=memory_mb) for node in free.nodes[:2])
    problem = msgspec.structs.replace(
        free,
        model=msgspec.structs.replace(free.model, weight_mb=(1.0,)),
        nodes=(*nodes, free.nodes[2]),
        objective=Objective(total_energy=1.0),
        deadline_ms=500.0,
    )
    assert [plan.score.way_back for plan in pareto_front(problem)] == [("far", "relay", "pi")]


def test_plans_that_are_equal_in_all_figures_appear_once() -> None:
    """Two machines of one kind make one plan of the front, not two."""
    node = Node(name="pi", op_ms=(10.0, 10.0), busy_w=5.0)
    twins = tuple(Node(name=name, op_ms=(1.0, 1.0), busy_w=5.0) for name in ("left", "right"))
    links = tuple(
        Link(src=src, dst=dst, rtt_ms=0.1, mbps=100.0)
        for src, dst in itertools.permutations(("pi", "left", "right"), 2)
    )
    problem = Problem(model=Model(cut_bytes=(100.0, 100.0, 100.0)), origin="pi", nodes=(node, *twins), links=links)
    assert len(pareto_front(problem)) == 1


def test_a_bound_that_cannot_be_kept_is_named_as_by_the_planner() -> None:
    """The front raises the same sentence as the exact planner."""
    problem = two_ways_back()
    hurried = Problem(
        model=problem.model, origin="pi", nodes=problem.nodes, objective=Objective(total_energy=1.0), deadline_ms=1.0
    )
    with pytest.raises(PlanInfeasibleError) as by_front:
        pareto_front(hurried)
    with pytest.raises(PlanInfeasibleError) as by_planner:
        exact.plan(hurried)
    assert str(by_front.value) == str(by_planner.value)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4), max_size=600), st.integers(1, 4))
def test_dominance_keeps_exactly_what_none_beats(rows: list[tuple[int, ...]], figures: int) -> None:
    """Each distinct row that no other equals or undercuts everywhere is kept, once and in order."""
    points = np.array([row[:figures] for row in rows], dtype=float).reshape(len(rows), figures)
    kept = [tuple(points[row]) for row in non_dominated(points)]
    distinct = {tuple(row) for row in points}
    unbeaten = sorted(
        row
        for row in distinct
        if not any(other != row and all(map(lambda a, b: a <= b, other, row)) for other in distinct)
    )
    assert kept == unbeaten


def test_rounding_makes_no_two_plans_of_one() -> None:
    """Rows that differ in the last digits alone are one, whichever comes first."""
    points = np.array([[1.0 + 1e-15, 2.0], [1.0, 2.0 + 1e-15], [1.0, 2.0 - 3e-15], [3.0, 1.0]])
    assert len(non_dominated(points)) == 2
