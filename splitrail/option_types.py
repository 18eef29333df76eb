"""Numbers on the command line, within bounds: types for argparse whose errors say what would be right."""

import argparse
import math
from collections.abc import Callable


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `least` to `most`, neither below 0."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(most)) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def number_above_zero(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def number_above_zero_up_to(most: float, unit: str) -> Callable[[str], float]:
    """The type of an option that takes a number above 0, up to `most`; errors name its unit, such as seconds."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0.0 < number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0, up to {most:g}")
        return number

    return read
