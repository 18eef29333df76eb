"""Bandwidth traces: `seconds,mbps` files read strictly, and their value at a moment.

A trace is a plain value; what it does to bytes is `testbed.shaping`'s business.
"""

import csv
import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from testbed.errors import TraceError

DEMO_TRACE = Path(__file__).parent / "traces" / "demo.csv"

HEADER = ["seconds", "mbps"]
MAX_ROWS = 1_000_000
MAX_MBPS = 100_000.0
LONGEST_LINE = 200

AtTheEnd = Literal["loop", "hold"]


@dataclass(frozen=True, slots=True)
class Trace:
    """A step function of time: from `seconds[i]` on the link carries `mbps[i] * scale` Mbit/s, until the next step.

    The last step lasts as long as the one before it; then the trace starts anew (`loop`) or keeps its last value.
    """

    name: str
    seconds: tuple[float, ...]
    mbps: tuple[float, ...]
    scale: float = 1.0
    at_the_end: AtTheEnd = "hold"

    @property
    def label(self) -> str:
        """The trace's name, with the factor where it is scaled; shown beside every figure that rests on it."""
        return self.name if self.scale == 1.0 else f"{self.name}, scaled x{self.scale:g}"

    @property
    def duration_s(self) -> float:
        """Seconds from the first step to the end of the last; infinite for a constant rate."""
        if len(self.seconds) == 1:
            return math.inf
        return 2 * self.seconds[-1] - self.seconds[-2]

    def scaled(self, factor: float) -> "Trace":
        """The same shape with each rate multiplied by `factor`, on top of what it was scaled by before."""
        return replace(self, scale=self.scale * factor)

    def mbps_at(self, time_s: float) -> float:
        """The rate in Mbit/s, `time_s` seconds after the trace's start; before it, the first rate."""
        return self.mbps[self._step(self._phase(time_s))] * self.scale

    def next_step_s(self, time_s: float) -> float:
        """The first moment after `time_s` at which a step begins; infinite where none does."""
        phase = self._phase(time_s)
        step = self._step(phase)
        if step + 1 < len(self.seconds):
            ahead = self.seconds[step + 1] - phase
        elif self.at_the_end == "loop":
            ahead = self.duration_s - phase
        else:
            return math.inf
        # A remainder below the float's resolution would otherwise name the present moment again.
        return max(time_s + ahead, math.nextafter(time_s, math.inf))

    def _phase(self, time_s: float) -> float:
        if time_s <= 0:
            return 0.0
        return math.fmod(time_s, self.duration_s) if self.at_the_end == "loop" else time_s

    def _step(self, phase_s: float) -> int:
        return max(0, bisect_right(self.seconds, phase_s) - 1)


def constant(mbps: float, name: str | None = None) -> Trace:
    """A link that always carries `mbps` Mbit/s."""
    return Trace(name or f"{mbps:g} Mbit/s", (0.0,), (mbps,))


def read_trace(path: Path, *, scale: float = 1.0, at_the_end: AtTheEnd = "hold") -> Trace:
    """The trace in a `seconds,mbps` file; TraceError names the file, the line, and what would be right."""
    seconds: list[float] = []
    mbps: list[float] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(iter(lambda: file.readline(LONGEST_LINE), ""), strict=True)
            if next(rows, None) != HEADER:
                raise TraceError(path, 1, "the first line must be `seconds,mbps`")
            for row in rows:
                if not row:
                    continue
                _append(path, rows.line_num, row, seconds, mbps)
    except OSError as error:
        raise TraceError(path, None, f"cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(path, None, f"is not a CSV file of `seconds,mbps` in UTF-8: {error}") from None
    if not seconds:
        raise TraceError(path, None, "holds no row after its header; a trace needs at least one")
    if not any(mbps):
        raise TraceError(path, None, "carries 0 Mbit/s throughout; a trace needs a rate above 0 somewhere")
    return Trace(path.name, tuple(seconds), tuple(mbps), scale, at_the_end)


def _append(path: Path, line: int, row: list[str], seconds: list[float], mbps: list[float]) -> None:
    """Check one row against those before it and append it."""
    if len(row) != len(HEADER):
        raise TraceError(path, line, f"has {len(row)} columns; a row is two numbers, `seconds,mbps`")
    if len(seconds) == MAX_ROWS:
        raise TraceError(path, line, f"goes past {MAX_ROWS} rows, the most that a trace may have")
    at_s, rate = (_number(path, line, column, text) for column, text in zip(HEADER, row, strict=True))
    if not seconds and at_s != 0.0:
        raise TraceError(path, line, f"starts at {at_s:g} seconds; a trace starts at 0")
    if seconds and at_s <= seconds[-1]:
        raise TraceError(path, line, f"goes from {seconds[-1]:g} to {at_s:g} seconds; seconds must rise")
    if not 0.0 <= rate <= MAX_MBPS:
        raise TraceError(path, line, f"mbps is {rate:g}; it must lie between 0 and {MAX_MBPS:g}")
    seconds.append(at_s)
    mbps.append(rate)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TraceError(path, line, f"{column} is {text[:40]!r}; it must be a finite number")
    return number
