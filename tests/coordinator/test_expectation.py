"""What a plan says of its steps: the cost model's own times, and spreads that add up."""

import math

import made_site
import msgspec
import pytest
from decisions import carry_out, settled
from hypothesis import given, settings
from made_site import declared, folded, inference_message, load_message, received
from random_problems import Json, problems

from coordinator import exact
from coordinator.errors import CoordinatorError
from coordinator.expectation import prediction_of
from coordinator.problem_file import parse_problem

RAW_ONLY = ((1, 8, False), (2, 8, False), (3, 4, False), (4, 3, False))


def test_each_step_has_its_own_time() -> None:
    """Bytes over the link and half a round trip into a stage, the profile's times in it, the result on the way back."""
    _, (plan,) = carry_out(folded([declared(), *made_site.whole_site()]), 0.0)
    first, second = plan.prediction.stages
    assert (first.transfer_ms, first.compute_ms) == (0.0, 40.0)
    assert second.transfer_ms == pytest.approx(1.0 + 100e3 * 8 / 100e3, rel=1e-3)
    assert second.compute_ms == pytest.approx(15.0)
    assert plan.prediction.return_ms == pytest.approx(1.0 + 4e3 * 8 / 100e3, rel=1e-3)
    assert second.transfer_std_ms > 0.0
    assert plan.prediction.return_std_ms > 0.0


def test_what_is_not_known_of_a_load_spreads_a_stage() -> None:
    """A node that has just told its load is more predictable than one that has not been heard of."""
    unheard, (plan,) = carry_out(folded([declared(), *made_site.whole_site()]), 0.0)
    heard, (other,) = carry_out(folded([declared(), *made_site.whole_site(), *received(load_message("pc", 0.0))]), 0.0)
    assert plan.prediction.stages[1].compute_std_ms == pytest.approx(0.15 * 15.0)
    assert other.prediction.stages[1].compute_std_ms == pytest.approx(0.03 * 15.0, rel=0.1)
    assert other.prediction.latency_std_ms < plan.prediction.latency_std_ms
    assert heard.deployments != unheard.deployments


def test_a_loaded_node_takes_longer() -> None:
    """The load stretches a stage's time, and its spread with it."""
    state = folded(received(load_message("pc", 0.2), inference_message(), at=1.0), settled())
    state, _ = carry_out(state, 6.0)
    evaluation = state.deployments["photos"].evaluation
    assert evaluation is not None
    assert evaluation.prediction is not None
    assert evaluation.prediction.stages[1].compute_ms == pytest.approx(15.0 / 0.8, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(problems(RAW_ONLY, spread=True))
def test_the_steps_add_up_to_the_plans_latency(json: Json) -> None:
    """Means to the latency, variances to its spread: the whole plan and its parts never disagree."""
    problem = parse_problem(msgspec.json.encode(json))
    state = folded(received(*(made_site.birth_message(node.name) for node in problem.nodes)))
    try:
        plan = exact.plan(problem)
    except CoordinatorError:
        return
    told = prediction_of(problem, plan, state, now=0.0)
    assert len(told.stages) == len(plan.stages)
    steps = math.fsum(stage.transfer_ms + stage.compute_ms for stage in told.stages)
    assert steps + told.return_ms == pytest.approx(plan.score.latency_ms)
    variances = [stage.transfer_std_ms**2 + stage.compute_std_ms**2 for stage in told.stages]
    assert math.fsum(variances) + told.return_std_ms**2 == pytest.approx(told.latency_std_ms**2)
    assert told.latency_std_ms >= plan.score.latency_std_ms * (1.0 - 1e-9)
