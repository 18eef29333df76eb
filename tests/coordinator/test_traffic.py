"""How a deployment's requests are counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.reap import WARM_UP
from coordinator.traffic import HIGHEST_RATE, Traffic


def counted(*reports: float, latency_ms: float = 50.0) -> Traffic:
    traffic = Traffic()
    for at in reports:
        traffic = traffic.counted(latency_ms, at)
    return traffic


def test_before_the_first_request_there_is_no_rate() -> None:
    """Nothing is made up."""
    assert Traffic().requests_per_s(100.0) == 0.0


@pytest.mark.parametrize("per_s", [2.0, 4.0, 30.0])
def test_the_rate_is_known_after_a_few_seconds(per_s: float) -> None:
    """Also while the window has not filled yet, and it stays there."""
    for seconds in (6.0, 60.0):
        times = [index / per_s for index in range(int(seconds * per_s))]
        assert counted(*times).requests_per_s(times[-1]) == pytest.approx(per_s, rel=0.4)


def test_the_rate_falls_when_requests_cease() -> None:
    """A minute later hardly anything is left of it."""
    traffic = counted(*(index / 10 for index in range(100)))
    assert traffic.requests_per_s(70.0) < 0.05


def test_a_backlog_is_no_rate() -> None:
    """What was kept while the coordinator was away comes all at once."""
    assert counted(*[5.0] * 50_000).requests_per_s(5.0) <= HIGHEST_RATE


@given(times=st.lists(st.floats(-1e6, 1e6), max_size=20), now=st.floats(-1e6, 1e6))
def test_a_rate_is_never_negative_or_infinite(times: list[float], now: float) -> None:
    """Even if clocks are set back."""
    assert 0.0 <= counted(*times).requests_per_s(now) <= HIGHEST_RATE


def test_a_window_counts_what_came_after_its_warm_up() -> None:
    """Its first inferences and those that failed count, but not for the mean."""
    traffic = counted(*range(WARM_UP), latency_ms=900.0)
    assert traffic.window.mean_ms is None
    traffic = traffic.counted(50.0, 10.0).counted(None, 11.0).counted(70.0, 12.0)
    assert traffic.window.mean_ms == 60.0
    assert traffic.window.inferences == traffic.inferences == WARM_UP + 3
