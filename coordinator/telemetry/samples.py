"""One sample: a point of a measurement, as every store and every export knows it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Value = float | int | str | bool
LONGEST_TAG: Final = 64
_GREATEST_COUNT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Sample:
    """Tags and fields in the order of the schema, those that are known; at least one field; ns since 1970."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, Value], ...]
    time_ns: int


def sample(
    measurement: str,
    time_ns: int,
    tags: Iterable[tuple[str, str | None]],
    fields: Iterable[tuple[str, Value | None]],
) -> Sample:
    """A sample without what is empty, unknown or not finite. OverflowError where a count exceeds 64 bits."""
    return Sample(
        measurement,
        tuple([(name, text) for name, text in tags if text]),
        tuple([(name, value) for name, value in fields if value is not None and _is_known(value)]),
        time_ns,
    )


def yes(flag: bool) -> str | None:
    """A flag as a tag."""
    return "yes" if flag else None


def place(position: int) -> str:
    """A place in a plan as a tag, of equal lengths, so that it sorts."""
    return f"{position:03d}"


def tag_text(text: str) -> str:
    """A free text as a tag: short, printable, and without the one mark that no form of escaping agrees on."""
    return "".join([letter if letter.isprintable() and letter != "\\" else "_" for letter in text[:LONGEST_TAG]])


def _is_known(value: Value) -> bool:
    match value:
        case "":
            return False
        case float():
            return math.isfinite(value)
        case int() if value > _GREATEST_COUNT:
            raise OverflowError(value)
        case _:
            return True
