"""The minimum cut of DADS against trying every cut of the chain, under light and heavy load."""

import itertools
import json
import math
from typing import Any

import brute_force
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from random_problems import problems

from coordinator import dads, neurosurgeon
from coordinator.errors import PlanInfeasibleError
from coordinator.problem import Objective
from coordinator.problem_file import parse_problem

Json = Any
SHAPES = ((2, 6, True), (3, 6, True), (4, 5, True))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(shapes=SHAPES))
def test_under_light_load_it_is_the_quickest_single_cut(problem: Json) -> None:
    """On a chain the minimum cut comes to the same latency as trying every single cut, bounds included."""
    parsed = msgspec.structs.replace(parse_problem(json.dumps(problem).encode()), objective=Objective(latency=1.0))
    try:
        quickest_ms = neurosurgeon.plan(parsed).score.latency_ms
    except PlanInfeasibleError:
        with pytest.raises(PlanInfeasibleError, match="no minimum cut between"):
            dads.plan(parsed)
        return
    assert dads.plan(parsed).score.latency_ms == pytest.approx(quickest_ms)


def slowest_part_ms(problem: Json, other: str, cut: int) -> float:
    """The time of the slowest part of a cut: the origin, the way there, the other node, the way back."""
    nodes = {node["name"]: node for node in problem["nodes"]}
    links = {(link["src"], link["dst"]): link for link in problem["links"]}
    sizes, origin = problem["model"]["bytes"], problem["origin"]

    def compute_ms(name: str, start: int, stop: int) -> float:
        return sum(nodes[name]["op_ms"][start:stop]) / (1 - nodes[name]["load"])

    def carry_ms(src: str, dst: str, size: float) -> float:
        return min(
            (
                sum(
                    links[pair]["rtt_ms"] / 2 + 8 * size / (1000 * links[pair]["mbps"])
                    for pair in itertools.pairwise(path)
                )
                for path in brute_force.simple_paths(problem, src, dst)
            ),
            default=math.inf,
        )

    ops = len(sizes) - 1
    if other == origin:
        return compute_ms(origin, 0, ops)
    return max(
        compute_ms(origin, 0, cut),
        carry_ms(origin, other, sizes[cut]),
        compute_ms(other, cut, ops),
        carry_ms(other, origin, sizes[-1]),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(shapes=SHAPES))
def test_under_heavy_load_no_cut_has_a_quicker_slowest_part(problem: Json) -> None:
    """Where throughput weighs most, the slowest of origin, network and other node takes the least time."""
    problem["objective"] = {"throughput": 1.0}
    origin, ops = problem["origin"], len(problem["model"]["bytes"]) - 1
    every = {
        (node["name"], cut): slowest_part_ms(problem, node["name"], cut)
        for node in problem["nodes"]
        for cut in range(ops)
        if cut not in problem["model"]["forbidden_cuts"]
        and brute_force.fits(problem, [origin] * cut + [node["name"]] * (ops - cut))
    }
    least_ms = min(every.values(), default=math.inf)
    try:
        stages = dads.plan(parse_problem(json.dumps(problem).encode())).stages
    except PlanInfeasibleError:
        assert least_ms == math.inf
        return
    assert every[stages[-1].node, stages[-1].start] == pytest.approx(least_ms)


def test_energy_does_not_count() -> None:
    """Whatever energy weighs, the delay decides."""
    problem = parse_problem(
        json.dumps(
            {
                "model": {"bytes": [1e6, 1e4, 4e3]},
                "origin": "pi",
                "nodes": [
                    {"name": "pi", "op_ms": [20, 20], "busy_w": 5},
                    {"name": "pc", "op_ms": [1, 1], "busy_w": 900},
                ],
                "links": [
                    {"src": "pi", "dst": "pc", "rtt_ms": 2, "mbps": 100},
                    {"src": "pc", "dst": "pi", "rtt_ms": 2, "mbps": 100},
                ],
                "objective": {"total_energy": 1.0},
            }
        ).encode()
    )
    assert [(stage.node, stage.stop) for stage in dads.plan(problem).stages] == [("pi", 1), ("pc", 2)]
