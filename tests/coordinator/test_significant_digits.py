"""Estimates as a reader wants them."""

import pytest

from coordinator.significant_digits import significant


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (2_049.0, 3, "2050"),
        (430.0, 2, "430"),
        (0.5432, 2, "0.54"),
        (26.31, 3, "26.3"),
        (40.0, 3, "40"),
        (0.0, 2, "0"),
        (1e9, 3, "1000000000"),
    ],
)
def test_estimates_have_the_digits_that_are_known(value: float, digits: int, words: str) -> None:
    """A gigabit link reads like any other."""
    assert significant(value, digits) == words
