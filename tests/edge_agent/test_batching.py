"""When requests are computed together: by measured runs alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.batching import MOST, RUNS_TO_TELL, SIZES, RunTimes, batch_size, is_worth_waiting


def times(**took_ns: int) -> RunTimes:
    """What runs of one, two, four and eight requests took each time."""
    known = RunTimes()
    for name, size in (("one", 1), ("two", 2), ("four", 4), ("eight", 8)):
        for _ in range(RUNS_TO_TELL if name in took_ns else 0):
            known = known.after(size, took_ns[name])
    return known


def test_nothing_is_tried_before_single_runs_are_known() -> None:
    """They tell what a batch has to be better than."""
    assert batch_size(RunTimes(), 8, MOST) == 1
    assert batch_size(RunTimes().after(1, 10), 8, MOST) == 1
    assert batch_size(times(one=10), 8, MOST) == 2


def test_only_what_waits_is_taken_and_no_more_than_may_be() -> None:
    """A run takes none but the sizes that are measured."""
    known = times(one=10, two=10, four=12, eight=20)
    assert [batch_size(known, waiting, MOST) for waiting in range(1, 10)] == [1, 2, 2, 4, 4, 4, 4, 8, 8]
    assert [batch_size(known, 8, most) for most in (1, 2, 4, 8)] == [1, 2, 4, 8]


def test_a_size_is_tried_once_the_next_smaller_one_pays() -> None:
    """And is left alone from then on if it does not."""
    assert batch_size(times(one=10, two=14), 8, MOST) == 4
    assert batch_size(times(one=10, two=14, four=39), 8, MOST) == 2
    assert batch_size(times(one=10, two=19), 8, MOST) == 1


@given(st.integers(1, 10**9), st.sampled_from(SIZES), st.floats(0.1, 4.0))
def test_a_batch_pays_where_its_requests_are_answered_sooner_on_average(one: int, size: int, share: float) -> None:
    """Than one after the other, each of which waits for those before it."""
    together = round(one * size * share)
    known = RunTimes()
    for _ in range(RUNS_TO_TELL):
        known = known.after(1, one).after(size, together)
    in_turn = sum(one * number for number in range(1, size + 1)) / size
    assert known.pays(size) == (together <= in_turn)


def test_a_run_that_others_disturbed_does_not_decide() -> None:
    """The middle of the last runs does; old ones are forgotten."""
    known = times(one=10, two=12).after(2, 1_000)
    assert known.pays(2) is True
    for _ in range(RUNS_TO_TELL):
        known = known.after(2, 1_000)
    assert known.pays(2) is False


@pytest.mark.parametrize(("waiting", "most", "worth"), [(1, 8, True), (3, 8, True), (4, 8, False), (1, 1, False)])
def test_more_are_waited_for_where_a_larger_batch_is_known_to_pay(waiting: int, most: int, worth: bool) -> None:
    """Not to find out whether it does."""
    known = times(one=10, two=12, four=15, eight=79)
    assert is_worth_waiting(known, waiting, most) is worth
