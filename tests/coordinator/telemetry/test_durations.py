"""Durations and moments as people type them."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import TimeError
from coordinator.telemetry.durations import UNITS_S, in_words, moment_ns, retention_of, rfc_3339, seconds_of

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800), ("4w", 2_419_200), ("2y", 63_072_000)],
)
def test_a_duration_has_a_unit(text: str, seconds: int) -> None:
    """Seconds to years; it is also a moment so long ago."""
    assert seconds_of(text) == seconds
    assert moment_ns(text, NOW_S) == round((NOW_S - seconds) * 1e9)


@pytest.mark.parametrize("text", ["", "0h", "1", "h", "-1h", "1.5h", "1 h", "1H", "1h30m", "9999999999d", "\u0661h"])
def test_what_is_no_duration_is_said(text: str) -> None:
    """In one sentence that shows what would be."""
    with pytest.raises(TimeError, match="is no duration: give one such as 90s"):
        seconds_of(text)


@given(st.integers(1, 10**9 - 1))
def test_a_duration_in_words_is_one(seconds: int) -> None:
    """Whatever it is, as long as it has no more than nine digits."""
    assert seconds_of(in_words(seconds)) == seconds


def test_a_retention_is_an_hour_at_least_or_for_ever() -> None:
    """As InfluxDB has it."""
    assert retention_of("30d") == 30 * UNITS_S["d"]
    assert retention_of("inf") is None
    assert in_words(None) == "inf"
    with pytest.raises(TimeError, match="'59m' is too short to keep telemetry for: InfluxDB's least is 1h"):
        retention_of("59m")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T14:30:00Z", "2026-03-01T14:30:00.000000000Z"),
        ("2026-03-01T14:30:00.25+01:00", "2026-03-01T13:30:00.250000000Z"),
        ("20260301T143000Z", "2026-03-01T14:30:00.000000000Z"),
    ],
)
def test_a_moment_may_be_an_iso_time(text: str, expected: str) -> None:
    """To the microsecond; it is shown in UTC."""
    assert rfc_3339(moment_ns(text, NOW_S)) == expected


def test_a_time_without_a_zone_is_this_machines() -> None:
    """As a clock on the wall says it; a day begins at its midnight."""
    midnight = datetime.datetime(2026, 3, 1).astimezone()
    assert moment_ns("2026-03-01", NOW_S) == moment_ns(midnight.isoformat(), NOW_S)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "14:30", "1 hour", ""])
def test_what_is_no_time_is_said(text: str) -> None:
    """In one sentence that shows what would be."""
    with pytest.raises(TimeError, match="is no time: give one such as 1h"):
        moment_ns(text, NOW_S)


@pytest.mark.parametrize("text", ["1969-12-31T00:00Z", "2300-01-01", "0001-01-01", "9999-12-31T23:59:59-12:00", "99y"])
def test_a_time_that_no_database_has_is_refused(text: str) -> None:
    """Nanoseconds since 1970 in 64 bits."""
    with pytest.raises(TimeError, match=r"out of range|is no time"):
        moment_ns(text, NOW_S)
