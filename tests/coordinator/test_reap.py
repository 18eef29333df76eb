"""Reap's split against trying every (i, j) from the method's text, and when it changes its split."""

import itertools
import json
import math
from typing import Any, NamedTuple

import brute_force
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_problems import problems

from coordinator import reap
from coordinator.cost import Stage, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.problem import Link, Model, Node, Objective, Problem
from coordinator.problem_file import parse_problem

Json = Any
SHAPES = ((3, 7, True), (4, 6, True))


class Split(NamedTuple):
    """A split by the nodes of its three parts and the first ops of the second and third, and reap's figures of it."""

    names: tuple[str, str, str]
    first: int
    second: int
    latency_ms: float
    origin_j: float
    total_j: float


def with_tiers(problem: Json) -> Json:
    """The problem with its origin on the edge, and a fog and a cloud node or two."""
    others = iter(("fog", "cloud", "fog"))
    nodes = [
        {**node, "tier": "edge" if node["name"] == problem["origin"] else next(others)} for node in problem["nodes"]
    ]
    return {**problem, "nodes": nodes}


def every_split(problem: Json) -> list[Split]:
    """All splits over every edge, fog and cloud node in a row, by the method's text alone."""
    nodes = {node["name"]: node for node in problem["nodes"]}
    links = {(link["src"], link["dst"]): link for link in problem["links"]}
    sizes = problem["model"]["bytes"]
    ops = len(sizes) - 1
    cuts = [cut for cut in range(1, ops) if cut not in problem["model"]["forbidden_cuts"]]

    def carry_ms(path: tuple[str, ...], size: float) -> float:
        return sum(
            links[pair]["rtt_ms"] / 2 + 8 * size / (1000 * links[pair]["mbps"]) for pair in itertools.pairwise(path)
        )

    found = []
    for fog, cloud in itertools.permutations(nodes, 2):
        names = (problem["origin"], fog, cloud)
        ways_back = brute_force.simple_paths(problem, cloud, problem["origin"])
        chained = (names[0], fog) in links and (fog, cloud) in links
        if [nodes[name]["tier"] for name in names] != ["edge", "fog", "cloud"] or not chained or not ways_back:
            continue
        back_ms = min(carry_ms(way, sizes[-1]) for way in ways_back)
        for first, second in itertools.combinations(cuts, 2):
            compute_ms = [
                sum(nodes[name]["op_ms"][start:stop]) / (1 - nodes[name]["load"])
                for name, start, stop in zip(names, (0, first, second), (first, second, ops), strict=True)
            ]
            there_ms = carry_ms(names[:2], sizes[first]) + carry_ms(names[1:], sizes[second])
            origin_j = 12.0 * compute_ms[0] / 1000
            others_j = [nodes[name]["busy_w"] * ms / 1000 for name, ms in zip(names[1:], compute_ms[1:], strict=True)]
            latency_ms = sum(compute_ms) + there_ms + back_ms
            found.append(Split(names, first, second, latency_ms, origin_j, origin_j + sum(others_j)))
    return found


def probes(problem: Json, splits: list[Split]) -> list[Split]:
    """Of every chain, the splits after one and two, two and three, three and four fifths of the layers but the last."""
    forbidden = problem["model"]["forbidden_cuts"]
    cuts = [cut for cut in range(1, len(problem["model"]["bytes"]) - 1) if cut not in forbidden]
    layers = {(len(cuts) * k // 5, len(cuts) * (k + 1) // 5) for k in (1, 2, 3)}
    probed = {(cuts[i], cuts[j]) for i, j in layers if i < j}
    return [split for split in splits if (split.first, split.second) in probed]


def value(split: Split, anchors: list[Split]) -> float:
    """The published objective: 0.6 origin energy, 0.3 total energy, 0.1 latency, relative to the probes' means."""
    return sum(
        weight * getattr(split, field) * len(anchors) / sum(getattr(each, field) for each in anchors)
        for weight, field in ((0.6, "origin_j"), (0.3, "total_j"), (0.1, "latency_ms"))
    )


def keeps_bounds(problem: Json, split: Split) -> bool:
    """Whether the split, scored as any plan is, keeps memory and deadline."""
    ops = len(problem["model"]["bytes"]) - 1
    parts = zip(split.names, (0, split.first, split.second), (split.first, split.second, ops), strict=True)
    op_nodes = [name for name, start, stop in parts for _ in range(start, stop)]
    transfers = {
        cut: brute_force.Transfer(pair, "raw")
        for cut, pair in zip((split.first, split.second), itertools.pairwise(split.names), strict=True)
    }
    scored = brute_force.returned(problem, op_nodes, transfers)
    assert scored is not None
    deadline = problem["deadline_ms"]
    in_time = deadline is None or scored.latency_ms <= deadline * brute_force.SLACK
    return in_time and brute_force.fits(problem, op_nodes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(shapes=SHAPES), st.one_of(st.none(), st.floats(0.7, 1.5)))
def test_no_split_of_three_parts_is_better_by_its_own_objective(problem: Json, tightness: float | None) -> None:
    """Over every (i, j) and every chain that keeps the bounds, none has a lower value; with none there is no plan."""
    problem = with_tiers(problem)
    splits = every_split(problem)
    if splits and tightness is not None:
        latencies = sorted(split.latency_ms for split in splits)
        problem["deadline_ms"] = latencies[len(latencies) // 2] * tightness
    anchors = probes(problem, splits)
    least = min((value(split, anchors) for split in splits if keeps_bounds(problem, split)), default=math.inf)
    try:
        plan = reap.plan(parse_problem(json.dumps(problem).encode()))
    except PlanInfeasibleError:
        assert least == math.inf
        return
    assert len(plan.stages) == 3
    chosen = next(
        split
        for split in splits
        if [(stage.node, stage.start) for stage in plan.stages]
        == list(zip(split.names, (0, split.first, split.second), strict=True))
    )
    assert value(chosen, anchors) == pytest.approx(least)


NODES = (
    Node(name="pi", tier="edge", op_ms=(30.0, 40.0, 50.0, 40.0, 30.0, 10.0), idle_w=2.7, busy_w=6.4),
    Node(name="laptop", tier="fog", op_ms=(10.0, 12.0, 15.0, 12.0, 10.0, 3.0), idle_w=5.0, busy_w=20.0),
    Node(name="pc", tier="cloud", op_ms=(4.0, 5.0, 6.0, 5.0, 4.0, 1.0), idle_w=40.0, busy_w=95.0),
)
STATIC = (Stage("pi", 0, 3), Stage("laptop", 3, 5, "raw"), Stage("pc", 5, 6, "raw"))


def site(mbps: float = 40.0, **changes: Any) -> Problem:
    """A Pi, a laptop and a PC in a row."""
    links = tuple(
        Link(src=src, dst=dst, rtt_ms=4.0, mbps=rate)
        for one, other, rate in (("pi", "laptop", mbps), ("laptop", "pc", 200.0))
        for src, dst in ((one, other), (other, one))
    )
    fields: dict[str, Any] = {
        "model": Model(cut_bytes=(6e5, 12e5, 4e5, 3e5, 2e5, 1e5, 4e3), weight_mb=(1.0,) * 6),
        "origin": "pi",
        "nodes": NODES,
        "links": links,
    }
    return Problem(**{**fields, **changes})


def tiers(*names: str | None) -> tuple[Node, ...]:
    """The nodes with other tiers."""
    return tuple(msgspec.structs.replace(node, tier=name) for node, name in zip(NODES, names, strict=True))


def test_no_tier_stays_empty_even_where_that_costs() -> None:
    """Its energy model gives the Pi one layer, although it pays with latency; leaving a tier out is not considered."""
    plan = reap.plan(site())
    assert [stage.node for stage in plan.stages] == ["pi", "laptop", "pc"]
    assert (plan.stages[0].start, plan.stages[0].stop) == (0, 1)
    assert plan.score == evaluate(site(), plan.stages)


def test_the_problem_s_weights_do_not_count() -> None:
    """Its own weights are part of the method."""
    assert reap.plan(site(objective=Objective(total_energy=1.0))).stages == reap.plan(site()).stages


def test_a_memory_bound_moves_the_split() -> None:
    """A PC that holds one op leaves the others to laptop and Pi."""
    nodes = (*NODES[:2], msgspec.structs.replace(NODES[2], memory_mb=1.5))
    assert [stage.stop - stage.start for stage in reap.plan(site(nodes=nodes)).stages][2] == 1


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (site(nodes=tiers(None, "fog", "cloud")), "an origin of the tier 'edge', 'pi' has no tier"),
        (site(nodes=tiers("fog", "fog", "cloud")), "an origin of the tier 'edge', 'pi' has the tier 'fog'"),
        (site(nodes=tiers("edge", "cloud", "cloud")), "needs a node of the tier 'fog'"),
        (site(nodes=tiers("edge", "fog", "fog")), "needs a node of the tier 'cloud'"),
        (site(links=site().links[:3]), "needs links from 'pi' to a fog node, from there to a cloud node, and a way"),
        (site(model=msgspec.structs.replace(site().model, forbidden_cuts=(1, 2, 3, 4))), "takes two cut points"),
        (
            site(deadline_ms=20.0),
            r"keeps the bounds: at best the plan takes .* over the deadline_ms of 20",
        ),
        (
            site(nodes=tuple(msgspec.structs.replace(node, memory_mb=1.5) for node in NODES)),
            r"no split over .* keeps the bounds: at best the ops on '.*' weigh .* over its memory_mb of 1.5",
        ),
    ],
)
def test_what_it_cannot_split_is_named_in_one_sentence(problem: Problem, sentence: str) -> None:
    """A missing tier, link or cut, and a bound that no split keeps, each has its words."""
    with pytest.raises(PlanInfeasibleError, match=sentence) as caught:
        reap.plan(problem)
    assert "\n" not in str(caught.value)


def test_a_clearly_better_split_replaces_the_standing_one() -> None:
    """At a window's end the best other split is taken if it gains at least 3 % by reap's own objective."""
    changed = reap.reap_changes(site(), STATIC, None, reap.units_of(site()))
    assert changed == reap.plan(site())


def test_the_best_split_stays() -> None:
    """No other split is better than the best."""
    assert reap.reap_changes(site(), reap.plan(site()).stages, 100.0, reap.units_of(site())) is None


def test_less_than_three_percent_is_no_reason_to_change() -> None:
    """Of two splits whose values differ by less, the standing one stays, whichever of them it is."""
    units = reap.units_of(site())
    own = reap.with_own_figures(site())
    stages = [
        (Stage("pi", 0, i), Stage("laptop", i, j, "raw"), Stage("pc", j, 6, "raw"))
        for i, j in itertools.combinations(range(1, 6), 2)
    ]
    best = min(units.value(evaluate(own, each)) for each in stages)
    for each in stages:
        gain = 1.0 - best / units.value(evaluate(own, each))
        changed = reap.reap_changes(site(), each, None, units)
        assert (changed is not None) == (gain >= 0.03)


def test_a_missed_deadline_forces_a_change() -> None:
    """A window that was too slow makes it leave the best split for the next best that should keep the deadline."""
    hurried = site(deadline_ms=400.0)
    standing = reap.plan(hurried).stages
    assert reap.reap_changes(hurried, standing, 399.0, reap.units_of(hurried)) is None
    changed = reap.reap_changes(hurried, standing, 401.0, reap.units_of(hurried))
    assert changed is not None
    assert changed.stages != standing
    assert changed.score.latency_ms <= 400.0


def test_without_a_split_that_keeps_the_deadline_it_holds() -> None:
    """A link so slow that every split is too late changes nothing."""
    slow = site(mbps=0.5, deadline_ms=150.0)
    assert reap.reap_changes(slow, STATIC, 5000.0, reap.units_of(site())) is None
