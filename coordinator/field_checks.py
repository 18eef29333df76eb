"""Checks of single fields of a problem or a fleet: their numbers are finite and bounded, their names can be told apart.

Each raises ProblemError, which says the field's place and what would be right; which fields there are is not told here.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from coordinator.errors import ProblemError

MAX_NUMBER = 1e15
"""The largest number that a problem may hold, so that every figure made from it is finite."""


class Named(Protocol):
    """What a name tells from others of its kind."""

    @property
    def name(self) -> str:
        """The name."""


def check_number(place: str, number: float, least: float = 0.0) -> None:
    """Finite, from `least` to the largest."""
    if not math.isfinite(number):
        raise ProblemError(f"{place} is {number}, it must be a finite number")
    if number < least:
        raise ProblemError(f"{place} is {number:g}, it must be {least:g} or more")
    if number > MAX_NUMBER:
        raise ProblemError(f"{place} is {number:g}, it must be at most {MAX_NUMBER:g}")


def check_numbers(place: str, numbers: Sequence[float]) -> None:
    """Each as by `check_number`."""
    # One pass in C for the usual case; a NaN compares false and so falls through to the slow search for its place.
    if not all(0.0 <= number <= MAX_NUMBER for number in numbers):
        for index, number in enumerate(numbers):
            check_number(f"{place}[{index}]", number)


def check_names(place: str, values: Iterable[Named]) -> None:
    """Each has a name that can be shown, and no two the same."""
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if not value.name:
            raise ProblemError(f"{place}[{index}].name is empty")
        check_printable(f"{place}[{index}].name", value.name)
        if value.name in first:
            raise ProblemError(
                f"{place}[{index}].name is {value.name!r}, which {place}[{first[value.name]}] has already"
            )
        first[value.name] = index


def check_printable(place: str, name: str) -> None:
    """Names go into one-line messages and onto terminals."""
    if not name.isprintable():
        raise ProblemError(f"{place} is {name!r}, it must have no line breaks or control characters")
