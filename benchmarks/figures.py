"""What a benchmark found, in the form that all of them write with `--json FILE`: one `Figure` a line of the report.

Leaves to `comparison.py` what has become worse, and to `run.py` running them all.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One figure; `name` is unique in its benchmark and stays the same from run to run."""

    name: str
    value: float
    unit: str
    """As in "ms", "MB", "messages/s"; "" of a plain number."""
    better: Literal["lower", "higher"]
    noise: float | None = None
    """How far apart repetitions in this run were, in `unit`: see `spread`; None where there was one."""
    reference: float | None = None
    """What something plain took in the same run, in `unit`."""
    ratio: float | None = None
    """`value / reference`, where the ratio is what counts: then `goal` is one of the ratio."""
    goal: float | None = None
    """What is to be reached, by the ratio where there is one, else by the value."""
    drift: float | None = None
    """How far the committed figures went from run to run, as a share: kept by `make bench`, not a script's to give."""

    def __post_init__(self) -> None:
        """ValueError for a figure that is no number, which JSON would write as null."""
        for number in (self.value, self.noise, self.reference, self.ratio, self.goal, self.drift):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.name}: {number} is not a finite number; leave such a figure out")

    @property
    def relative(self) -> float | None:
        """The value beside its reference; None without one. It can be compared with another machine's."""
        if self.ratio is not None:
            return self.ratio
        return self.value / self.reference if self.reference else None


def spread(repetitions: Sequence[float]) -> float | None:
    """What `noise` is: half the way from the least to the greatest repetition but one on either side from five on."""
    if len(repetitions) < 2:
        return None
    ordered = sorted(repetitions)
    kept = ordered[1:-1] if len(ordered) >= 5 else ordered
    return (kept[-1] - kept[0]) / 2


def repeated(
    name: str,
    repetitions: Sequence[float],
    unit: str,
    better: Literal["lower", "higher"],
    *,
    reference: float | None = None,
    goal: float | None = None,
) -> Figure:
    """The median of one repetition or more, with their spread; a `goal` is one of the value."""
    value = statistics.median(repetitions)
    return Figure(name, value, unit, better, noise=spread(repetitions), reference=reference, goal=goal)


def write(path: Path, figures: Iterable[Figure]) -> None:
    """Write them as a JSON list; ValueError if two have one name."""
    found = list(figures)
    names = [figure.name for figure in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two figures are called {twice[0]!r}")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def read(path: Path) -> list[Figure]:
    """What `write` wrote; msgspec.DecodeError for anything else, OSError where there is no such file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Figure])
