"""The checks of single numbers and names: what passes, and that what does not is told with its place."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import ProblemError
from coordinator.field_checks import MAX_NUMBER, check_names, check_number, check_numbers


@dataclass(frozen=True, slots=True)
class Thing:
    """It has a name."""

    name: str


@given(st.lists(st.floats(0.0, MAX_NUMBER)), st.floats(), st.lists(st.floats(0.0, MAX_NUMBER)))
def test_the_first_number_that_does_not_pass_is_named(before: list[float], number: float, after: list[float]) -> None:
    """By its place in the list; where all pass nothing is said."""
    numbers = [*before, number, *after]
    if 0.0 <= number <= MAX_NUMBER:
        check_numbers("op_ms", numbers)
    else:
        with pytest.raises(ProblemError, match=rf"^op_ms\[{len(before)}\] is "):
            check_numbers("op_ms", numbers)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (math.nan, "mbps is nan, it must be a finite number"),
        (0.5, "mbps is 0.5, it must be 1 or more"),
        (1e16, r"mbps is 1e\+16, it must be at most 1e\+15"),
    ],
)
def test_a_number_is_told_what_would_be_right(number: float, said: str) -> None:
    """Finite, not below the least, not above the largest."""
    with pytest.raises(ProblemError, match=f"^{said}$"):
        check_number("mbps", number, least=1.0)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", ""], r"nodes\[1\]\.name is empty"),
        (["a", "b\n"], r"nodes\[1\]\.name is 'b\\n', it must have no line breaks or control characters"),
        (["a", "b", "a"], r"nodes\[2\]\.name is 'a', which nodes\[0\] has already"),
    ],
)
def test_a_name_can_be_shown_and_is_nobody_else_s(names: list[str], said: str) -> None:
    """The message says both places."""
    check_names("nodes", [Thing("a"), Thing("b")])
    with pytest.raises(ProblemError, match=f"^{said}$"):
        check_names("nodes", map(Thing, names))
