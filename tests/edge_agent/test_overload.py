"""How long a request would wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.overload import DEPLOYMENTS_KEPT, Pace, Paces, after_answer


def test_nothing_is_known_before_the_first_answer() -> None:
    """So nobody is refused by a guess."""
    assert Paces().wait_s("photos", 30) == 0.0


@given(st.floats(0.001, 10.0), st.integers(5, 50))
def test_one_request_after_the_other_counts_by_its_latency(latency_s: float, answers: int) -> None:
    """The pauses between them do not count."""
    pace, at_s = Pace(), 100.0
    for _ in range(answers):
        at_s += 7.0
        pace = after_answer(pace, at_s, at_s + latency_s)
        at_s += latency_s
    assert pace.service_s == pytest.approx(latency_s)


@given(st.floats(0.001, 1.0), st.integers(2, 20))
def test_a_full_pipeline_counts_by_the_time_between_its_answers(period_s: float, depth: int) -> None:
    """Its latency is many times that, but a request that comes waits for as many periods as there are before it."""
    pace, at_s = Pace(), 100.0
    for _ in range(60):
        at_s += period_s
        pace = after_answer(pace, at_s - depth * period_s, at_s)
    paces = Paces()
    for number in range(60):
        paces.answered("photos", 100.0 + (number - depth) * period_s, 100.0 + number * period_s)
    assert pace.service_s == pytest.approx(period_s, rel=0.01)
    assert paces.wait_s("photos", depth) == pytest.approx(depth * period_s, rel=0.01)


def test_a_request_alone_in_a_pipeline_counts_by_its_busiest_part() -> None:
    """Those that come at once after a quiet time are not refused by a latency that they share."""
    pace = after_answer(Pace(), 100.0, 100.9, busiest_s=0.3)
    assert pace.service_s == pytest.approx(0.3)
    assert after_answer(pace, 101.0, 101.9, busiest_s=0.3).service_s == pytest.approx(0.3)
    overlapping = after_answer(pace, 100.5, 101.4, busiest_s=0.1)
    assert overlapping.service_s == pytest.approx(0.3 + 0.2 * (0.5 - 0.3))


def test_deployments_are_told_apart_and_bounded() -> None:
    """A slow model does not make a quick one busy."""
    paces = Paces()
    paces.answered("slow", 0.0, 9.0)
    paces.answered("quick", 0.0, 0.1)
    assert paces.wait_s("quick", 2) == pytest.approx(0.2)
    for number in range(DEPLOYMENTS_KEPT):
        paces.answered(f"other{number}", 0.0, 1.0)
    assert paces.wait_s("slow", 1) == 0.0
