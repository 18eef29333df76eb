"""The mixed-integer program of the planning benchmark against trying every plan: a reference must itself be right."""

import json
from typing import Any

import brute_force
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_problems import problems

from benchmarks.mixed_integer import least_objective
from coordinator.problem_file import parse_problem

Json = Any


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(), st.sampled_from([None, 0.9, 1.2]))
def test_the_program_finds_what_trying_every_plan_finds(problem: Json, tightness: float | None) -> None:
    """Over all nodes, relays and codecs, within memory and deadline, its optimum is the brute force's."""
    plans = list(brute_force.every(problem))
    best = brute_force.least(plans, None)
    if best is not None and tightness is not None:
        problem["deadline_ms"] = best.latency_ms * tightness
        best = brute_force.least(plans, problem["deadline_ms"])
    least = least_objective(parse_problem(json.dumps(problem).encode()))
    if best is None:
        assert least is None
    else:
        assert least == pytest.approx(best.objective, rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problems(throughput=True))
def test_the_program_finds_the_least_period_too(problem: Json) -> None:
    """With throughput in the objective, alone or beside others, its optimum is the brute force's."""
    best = brute_force.best(problem)
    least = least_objective(parse_problem(json.dumps(problem).encode()))
    if best is None:
        assert least is None
    else:
        assert least == pytest.approx(best.objective, rel=1e-6, abs=1e-6)
