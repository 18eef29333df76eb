"""Emulated contention: a step function of time that comes and goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.contention import UNDISTURBED, Contention, fog_contention


def test_a_load_lasts_until_the_next_step() -> None:
    """Before the first step its load holds, after the last one the last."""
    contention = Contention((0.0, 10.0, 20.0), (0.0, 0.6, 0.2))
    assert [contention.load_at(at_s) for at_s in (-1.0, 0.0, 9.9, 10.0, 19.9, 20.0, 1e6)] == [
        0.0,
        0.0,
        0.0,
        0.6,
        0.6,
        0.2,
        0.2,
    ]


def test_a_period_starts_anew() -> None:
    """The schedule repeats from its first step."""
    contention = Contention((0.0, 10.0), (0.0, 0.5), period_s=15.0)
    assert [contention.load_at(at_s) for at_s in (14.9, 15.0, 25.0, 30.0)] == [0.5, 0.0, 0.5, 0.0]


@given(st.floats(1.0, 10_000.0))
def test_the_fog_nodes_contention_appears_and_vanishes_twice(duration_s: float) -> None:
    """It begins and ends in peace, and every fifth of the time is of one load, however long the run."""
    contention = fog_contention(duration_s)
    middles = [contention.load_at((fifth + 0.5) * duration_s / 5) for fifth in range(5)]
    assert middles == [0.0, 0.6, 0.0, 0.8, 0.0]
    assert contention.load_at(duration_s) == 0.0


def test_a_node_may_be_left_in_peace() -> None:
    """The schedule of a run without contention."""
    assert UNDISTURBED.load_at(12.0) == pytest.approx(0.0)
