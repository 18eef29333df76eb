"""How many threads an interpreter gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.threads import ThreadTime, best_count, counts_to_try, is_hopeless, segment_threads


def times(*unsplit_ms: float) -> list[ThreadTime]:
    """What 1, 2, 3, ... threads took."""
    return [ThreadTime(threads=count, unsplit_ms=ms) for count, ms in enumerate(unsplit_ms, 1)]


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (6, (1, 2, 3, 4, 6)), (16, (1, 2, 3, 4, 6, 8, 12, 16))],
)
def test_all_small_counts_are_tried_and_few_large_ones(cores: int, counts: tuple[int, ...]) -> None:
    """A Pi's four all; a server's 64 would take long."""
    assert counts_to_try(cores) == counts


@given(st.integers(1, 1024))
def test_counts_rise_to_all_cores(cores: int) -> None:
    """None comes twice."""
    counts = counts_to_try(cores)
    assert counts[0] == 1
    assert counts[-1] == cores
    assert list(counts) == sorted(set(counts))


def test_the_quickest_count_is_taken() -> None:
    """Where it is worth its cores."""
    assert best_count(times(10.0, 6.0, 5.0, 4.0)) == 4


def test_a_gain_that_is_small_is_not_worth_a_core() -> None:
    """The least count within 5 % of the quickest."""
    assert best_count(times(10.0, 6.0, 5.8, 5.9)) == 2
    assert best_count(times(10.0, 9.8)) == 1
    assert best_count(times(10.0)) == 1


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=8))
def test_the_best_count_is_never_much_slower_than_another(unsplit_ms: list[float]) -> None:
    """Whatever the times are."""
    measured = times(*unsplit_ms)
    chosen = next(time for time in measured if time.threads == best_count(measured))
    assert chosen.unsplit_ms * 0.95 <= min(unsplit_ms)


def test_larger_counts_are_not_tried_after_one_that_is_much_slower() -> None:
    """More threads than the machine has free cores."""
    assert is_hopeless(times(10.0, 13.0))
    assert not is_hopeless(times(10.0, 12.0))
    assert not is_hopeless(times(10.0))


def test_a_segment_that_gains_nothing_by_threads_gets_one() -> None:
    """Small ops are over before the others have begun."""
    many, single = (0.15, 0.12, 2.0), (0.11, 0.09, 3.6)
    assert segment_threads(2, many, single, 0, 2) == 1
    assert segment_threads(2, many, single, 2, 3) == 2
    assert segment_threads(2, many, single, 0, 3) == 2


def test_a_gain_must_be_more_than_what_changing_pools_costs() -> None:
    """Two segments of one node each have their threads."""
    assert segment_threads(2, (0.05,), (0.06,), 0, 1) == 1
    assert segment_threads(2, (0.05,), (0.10,), 0, 1) == 2


def test_a_number_that_was_given_holds_for_all_segments() -> None:
    """Then the ops are measured with it alone."""
    assert segment_threads(3, (1.0, 1.0), (), 0, 1) == 3
