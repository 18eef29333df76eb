"""Durations and moments as people type them, `90s`, `7d` or an ISO time; pure, the present is given."""

import datetime
import re
from functools import lru_cache
from typing import Final

from coordinator.errors import TimeError

UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "y": 31_536_000}
"""A year has 365 days here: nobody counts the leap days of a retention."""
FOREVER: Final = "inf"
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhdwy])")
_LATEST_NS: Final = 2**63 - 1
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def seconds_of(text: str) -> int:
    """A duration such as `90s`, `15m`, `1h`, `7d`, `4w` or `2y`, in s, above 0. TimeError if it is none."""
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * UNITS_S[found[2]] if found else 0
    if not seconds:
        raise TimeError(f"{text!r} is no duration: give one such as 90s, 15m, 1h, 7d or 2y")
    return seconds


def retention_of(text: str) -> int | None:
    """A duration in s, of an hour at least as InfluxDB has it, or None for `inf`. TimeError if it is neither."""
    if text == FOREVER:
        return None
    seconds = seconds_of(text)
    if seconds < UNITS_S["h"]:
        raise TimeError(f"{text!r} is too short to keep telemetry for: InfluxDB's least is 1h")
    return seconds


def moment_ns(text: str, now_s: float) -> int:
    """The moment a duration before `now_s` (s since 1970), or at an ISO time, in ns since 1970.

    A time without a zone is this machine's. TimeError if the text is neither, or before 1970.
    """
    if _DURATION.fullmatch(text):
        return _within_bounds(text, round(now_s * 1e6) * 1_000 - seconds_of(text) * 1_000_000_000)
    try:
        moment = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise TimeError(
            f"{text!r} is no time: give one such as 1h or 7d ago, 2026-03-01, 2026-03-01T14:30 or 2026-03-01T14:30Z"
        ) from None
    return _within_bounds(text, (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1_000)


def in_words(seconds: int | None) -> str:
    """A duration in its largest whole unit; `inf` for None."""
    if seconds is None:
        return FOREVER
    unit = next(unit for unit in reversed(UNITS_S) if seconds % UNITS_S[unit] == 0)
    return f"{seconds // UNITS_S[unit]}{unit}"


def rfc_3339(time_ns: int) -> str:
    """A time in UTC to the nanosecond, such as 2026-03-01T14:30:00.000000000Z; of equal length, so that it sorts."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds:09d}Z"


@lru_cache(1_024)
def _second(seconds: int) -> str:
    return f"{_EPOCH + datetime.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"


def _within_bounds(text: str, time_ns: int) -> int:
    if not 0 <= time_ns <= _LATEST_NS:
        raise TimeError(f"{text!r} is out of range: give a time between 1970 and 2262")
    return time_ns
