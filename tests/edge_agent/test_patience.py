"""How long the origin waits for a leg of a request."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from broker.messages import Plan, StagePrediction
from edge_agent.patience import (
    FLOOR_MS,
    NOTHING,
    PAIRS_KEPT,
    Experience,
    Learned,
    Leg,
    allowed_ms,
    grace_ns,
    learn,
    legs,
)

LEG = Leg(1, "pi", "laptop", 100.0, 10.0)


def predicted(plan: Plan, *stages: tuple[float, float], return_ms: float = 0.0) -> Plan:
    """The plan with (transfer, compute) of each stage predicted, each a tenth unsteady."""
    told = tuple(
        StagePrediction(
            transfer_ms=transfer, transfer_std_ms=transfer / 10, compute_ms=compute, compute_std_ms=compute / 10
        )
        for transfer, compute in stages
    )
    prediction = msgspec.structs.replace(plan.prediction, stages=told, return_ms=return_ms)
    return msgspec.structs.replace(plan, prediction=prediction)


def test_a_leg_takes_the_compute_before_it_and_its_transfer() -> None:
    """But not the origin's own compute, which is over when the origin hands on."""
    plan = predicted(
        plan_of(("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10), way_back=("pc", "pi")),
        (0.0, 50.0),
        (20.0, 30.0),
        (5.0, 7.0),
        return_ms=2.0,
    )
    assert [(leg.hop, leg.src, leg.dst, leg.mean_ms) for leg in legs(plan)] == [
        (1, "pi", "laptop", 20.0),
        (2, "laptop", "pc", 35.0),
        (3, "pc", "pi", 9.0),
    ]
    assert legs(plan)[1].std_ms == pytest.approx((3.0**2 + 0.5**2) ** 0.5)


def test_a_relay_at_the_origin_is_no_stage() -> None:
    """The first stage's transfer is the input's way to it."""
    plan = predicted(plan_of(("pc", 0, 10), way_back=("pc", "laptop", "pi")), (20.0, 30.0), return_ms=8.0)
    assert [(leg.src, leg.dst, leg.mean_ms) for leg in legs(plan)] == [
        ("pi", "pc", 20.0),
        ("pc", "laptop", 38.0),
        ("laptop", "pi", 8.0),
    ]


def test_stages_of_one_node_in_a_row_are_one_leg() -> None:
    """Nothing is told between them."""
    plan = predicted(
        plan_of(("pi", 0, 3), ("pc", 3, 7), ("pc", 7, 10), way_back=("pc", "pi")), (0.0, 5.0), (2.0, 30.0), (0.0, 4.0)
    )
    assert [(leg.src, leg.dst, leg.mean_ms) for leg in legs(plan)] == [("pi", "pc", 2.0), ("pc", "pi", 34.0)]


def test_a_revisit_of_the_origin_waits_for_no_compute_of_its_own() -> None:
    """Its clock begins when the origin hands on again."""
    plan = predicted(
        plan_of(("pc", 0, 3), ("pi", 3, 7), ("pc", 7, 10), way_back=("pc", "pi")), (3.0, 4.0), (5.0, 600.0), (7.0, 8.0)
    )
    assert [leg.mean_ms for leg in legs(plan)] == [3.0, 9.0, 7.0, 8.0]


def test_a_plan_without_predictions_sets_no_time() -> None:
    """Then the request's own timeout counts alone, and nothing is learned."""
    [there, back] = legs(plan_of(("pc", 0, 10), way_back=("pc", "pi")))
    assert allowed_ms(there, NOTHING) is None
    assert learn(NOTHING, back, 1e6) == NOTHING


@given(st.floats(0, 1e5), st.floats(0, 1e4), st.floats(0, 1e6))
def test_what_took_as_long_as_predicted_is_never_late(mean_ms: float, std_ms: float, earlier_ms: float) -> None:
    """Nor within four deviations of it, whatever was learned before."""
    leg = Leg(1, "pi", "pc", mean_ms, std_ms)
    allowed = allowed_ms(leg, learn(NOTHING, leg, earlier_ms))
    assert allowed is not None
    assert allowed >= FLOOR_MS + mean_ms + 4 * std_ms


@given(st.floats(1.0, 200.0), st.integers(12, 60))
def test_steady_slowness_that_the_plan_does_not_know_is_learned(factor: float, answers: int) -> None:
    """A node that is emulated, or was never profiled under load, is missed no more after a few answers."""
    known = Learned()
    for _ in range(answers):
        known = learn(known, LEG, factor * 100.0)
    allowed = allowed_ms(LEG, known)
    assert allowed is not None
    assert allowed > factor * 100.0


def test_a_short_leg_that_waited_teaches_nothing_of_long_ones() -> None:
    """Else a millisecond's transfer that took a tenth of a second would let a long stage take minutes."""
    known, long = Learned(), Leg(1, "pi", "pc", 200.0, 10.0)
    for measured_ms in (90.0, 240.0, 30.0, 700.0):
        known = learn(known, Leg(1, "pi", "pc", 2.0, 1.0), measured_ms)
    allowed = allowed_ms(long, known)
    assert allowed is not None
    assert allowed < FLOOR_MS + 1_500.0


def test_what_was_learned_is_forgotten_when_the_node_is_quick_again() -> None:
    """So a node that dies is not waited for as long as it once took."""
    known = Learned()
    for _ in range(20):
        known = learn(known, LEG, 10_000.0)
    for _ in range(60):
        known = learn(known, LEG, 100.0)
    assert allowed_ms(LEG, known) == pytest.approx(FLOOR_MS + 340.0, rel=0.02)


def test_what_is_remembered_is_bounded() -> None:
    """The pair that was asked longest ago is forgotten."""
    experience = Experience()
    slow = Leg(1, "pi", "first", 100.0, 0.0)
    experience.measured(slow, 50_000.0)
    assert experience.allowed_ms(slow) > 10_000.0  # type: ignore[operator]  # it has a prediction
    for number in range(PAIRS_KEPT):
        experience.measured(Leg(1, "pi", f"node{number}", 100.0, 0.0), 100.0)
    assert experience.allowed_ms(slow) == FLOOR_MS + 300.0


def test_an_answer_waits_some_round_trips_for_its_records() -> None:
    """A lost record costs the client four round trips of the farthest node, a tenth of a second to a second."""
    assert grace_ns([1.0, 5.0]) == 100_000_000
    assert grace_ns([1.0, 80.0]) == 320_000_000
    assert grace_ns([400.0]) == 1_000_000_000
    assert grace_ns([1.0, None]) == 1_000_000_000
    assert grace_ns([]) == 100_000_000
