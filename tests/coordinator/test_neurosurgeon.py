"""Neurosurgeon's cut against trying every single cut."""

import json
from typing import Any

import brute_force
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_problems import problems

from coordinator import neurosurgeon
from coordinator.errors import PlanInfeasibleError
from coordinator.problem import Codec, Link, Model, Node, Objective, Problem
from coordinator.problem_file import parse_problem

Json = Any


def every_cut(problem: Json) -> list[brute_force.Figures]:
    """The figures of all ops on the origin and of every single cut over any path, as far as they keep memory."""
    origin, ops = problem["origin"], len(problem["model"]["bytes"]) - 1
    found = []
    for node in problem["nodes"]:
        for cut in range(ops):
            op_nodes = [origin] * cut + [node["name"]] * (ops - cut)
            if cut in problem["model"]["forbidden_cuts"] or not brute_force.fits(problem, op_nodes):
                continue
            paths = brute_force.simple_paths(problem, origin, node["name"])
            ways = [{}] if node["name"] == origin else [{cut: brute_force.Transfer(path, "raw")} for path in paths]
            found += [figures for way in ways if (figures := brute_force.returned(problem, op_nodes, way)) is not None]
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(shapes=((2, 6, True), (3, 6, True), (4, 4, True))), st.sampled_from(["latency", "origin_energy"]))
def test_no_single_cut_is_better(problem: Json, aim: str) -> None:
    """For latency and for the origin's energy, no cut between the origin and one other node costs less."""
    problem["objective"] = {"latency": 0.0, "origin_energy": 0.0, "total_energy": 0.0, aim: 1.0}
    every = every_cut(problem)
    try:
        plan = neurosurgeon.plan(parse_problem(json.dumps(problem).encode()))
    except PlanInfeasibleError:
        assert not every
        return
    assert plan.score.objective == pytest.approx(min(figures.objective for figures in every))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(shapes=((3, 6, True),)), st.sampled_from([0.6, 0.9, 1.0, 1.5]))
def test_bounds_are_kept_or_said_to_be_out_of_reach(problem: Json, tightness: float) -> None:
    """For latency, a deadline is kept wherever a single cut keeps it."""
    problem["objective"] = {"latency": 1.0, "origin_energy": 0.0, "total_energy": 0.0}
    quickest_ms = min((figures.latency_ms for figures in every_cut(problem)), default=100.0)
    problem["deadline_ms"] = quickest_ms * tightness
    parsed = parse_problem(json.dumps(problem).encode())
    if every_cut(problem) and tightness >= 1.0:
        assert neurosurgeon.plan(parsed).score.latency_ms == pytest.approx(quickest_ms)
    else:
        with pytest.raises(
            PlanInfeasibleError, match=r"no single cut between '.*' and one other node keeps the bounds"
        ):
            neurosurgeon.plan(parsed)


def site(**changes: Any) -> Problem:
    """A Pi and a PC; waiting costs the Pi little, computing much."""
    fields: dict[str, Any] = {
        "model": Model(cut_bytes=(1e6, 5e5, 1e4, 4e3)),
        "origin": "pi",
        "nodes": (
            Node(name="pi", op_ms=(20.0, 20.0, 20.0), idle_w=1.0, busy_w=11.0),
            Node(name="pc", op_ms=(1.0, 1.0, 1.0), busy_w=95.0),
        ),
        "links": tuple(Link(src=src, dst=dst, rtt_ms=2.0, mbps=100.0) for src, dst in (("pi", "pc"), ("pc", "pi"))),
    }
    return Problem(**{**fields, **changes})


@pytest.mark.parametrize(
    ("objective", "cut"),
    [
        (Objective(latency=1.0), 2),
        (Objective(latency=0.6, origin_energy=0.4), 2),
        (Objective(latency=0.4, origin_energy=0.3, total_energy=0.3), 0),
        (Objective(throughput=1.0), 2),
    ],
)
def test_the_objective_s_weights_pick_latency_or_the_device_s_energy(objective: Objective, cut: int) -> None:
    """Energy is the aim where both energies together outweigh latency, and latency wherever they do not."""
    stages = neurosurgeon.plan(site(objective=objective)).stages
    assert (stages[-1].node, stages[-1].start) == ("pc", cut)


def test_a_loaded_server_gets_less() -> None:
    """A server whose load stretches its times beyond the device's gets nothing."""
    pi, pc = site().nodes
    busy = site(nodes=(pi, msgspec.structs.replace(pc, load=0.99)))
    assert [stage.node for stage in neurosurgeon.plan(busy).stages] == ["pi"]


def test_without_another_node_all_ops_stay() -> None:
    """A device alone runs the whole model."""
    assert [stage.node for stage in neurosurgeon.plan(site(nodes=site().nodes[:1], links=())).stages] == ["pi"]


def test_a_problem_without_raw_transfers_is_refused() -> None:
    """The method knows no codecs, and says what to list."""
    packed = Codec(name="packed", ratio=0.5)
    with pytest.raises(PlanInfeasibleError, match="neurosurgeon sends tensors as they are: list the codec 'raw' too"):
        neurosurgeon.plan(site(codecs=(packed,)))
    assert neurosurgeon.plan(site(codecs=(packed, Codec(name="raw")))).stages == neurosurgeon.plan(site()).stages
