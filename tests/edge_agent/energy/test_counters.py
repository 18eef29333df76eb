"""Counters that wrap or begin anew: their sum never falls, and what is not known is not counted."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.energy.counters import CounterSum

RANGE = 1_000


@given(st.lists(st.tuples(*[st.integers(0, RANGE - 1)] * 2), max_size=30), st.tuples(*[st.integers(0, RANGE - 1)] * 2))
def test_wraps_lose_nothing(steps: list[tuple[int, int]], first: tuple[int, int]) -> None:
    """Counters that wrap at most once between two readings count all that they rose by."""
    counted = CounterSum([value % RANGE for value in first], [RANGE, RANGE], at_s=0.0)
    true = list(first)
    for at_s, rises in enumerate(steps, start=1):
        true = [value + rise for value, rise in zip(true, rises, strict=True)]
        assert counted.advance([value % RANGE for value in true], at_s) == sum(true) - sum(first)
    assert counted.uncounted_s == 0.0


@example([(RANGE, 0.0), (-10, 1.0)], True)
@given(st.lists(st.tuples(st.integers(-10, 2 * RANGE), st.floats(0, 100)), min_size=1, max_size=30), st.booleans())
def test_a_sum_never_falls(readings: list[tuple[int, float]], range_is_known: bool) -> None:
    """Whatever a counter shows, its sum stands or rises, and uncounted time is at most the time that passed."""
    at_s = 5.0
    counted = CounterSum([readings[0][0]], [RANGE if range_is_known else None], at_s=at_s, longest_s=50.0)
    totals = [0]
    for value, passed_s in readings:
        at_s += passed_s
        totals.append(counted.advance([value], at_s))
    assert all(before <= after for before, after in pairwise(totals))
    assert 0.0 <= counted.uncounted_s <= at_s - 5.0 + 1e-9


def test_one_silent_counter_silences_the_sum() -> None:
    """Two packages of which one tells nothing are no sum of two packages: the interval is not counted."""
    counted = CounterSum([500, 500], [None, None], at_s=0.0)
    assert counted.advance([600, 100], 2.0) == 0
    assert counted.uncounted_s == 2.0
    assert counted.advance([650, 150], 3.0) == 100
    assert counted.uncounted_s == 2.0


def test_what_may_have_wrapped_twice_is_not_counted() -> None:
    """After a longer pause than a wrap can take at the least, the difference says nothing."""
    counted = CounterSum([0], [RANGE], at_s=0.0, longest_s=60.0)
    assert counted.advance([900], 61.0) == 0
    assert counted.uncounted_s == pytest.approx(61.0)
    assert counted.advance([950], 62.0) == 50
