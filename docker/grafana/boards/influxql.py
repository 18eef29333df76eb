"""InfluxQL statements of one shape: always within the dashboard's time, and never more rows than a panel can show."""

from collections.abc import Sequence
from typing import Final, Literal

LONGEST_TABLE: Final = 100
POINTS: Final = ""
"""Every point: the default retention policy."""
MINUTES: Final = '"rollup".'
"""Means, sums and quantiles of minutes, kept for longer (coordinator.telemetry.rollups)."""

THIS_DEPLOYMENT: Final = '"deployment" =~ /^($deployment)$/'
THIS_NODE: Final = '"node" =~ /^($node)$/'
SUCCEEDED: Final = "\"outcome\" != 'failed'"


def figure(what: str, measurement: str, *conditions: str, by: Sequence[str] = ()) -> str:
    """One row for each group: an aggregate of all that the time range holds."""
    return f"SELECT {what} FROM {_quoted(measurement)} {_where(conditions)}{_grouped(by)}"


def series(
    what: str,
    measurement: str,
    *conditions: str,
    by: Sequence[str] = (),
    fill: Literal["none", "null", "previous"] = "none",
    of: str = POINTS,
) -> str:
    """One row for each group and interval, which Grafana chooses so that they fit the panel."""
    groups = ", ".join(["time($__interval)", *map(_quoted, by)])
    return f"SELECT {what} FROM {of}{_quoted(measurement)} {_where(conditions)} GROUP BY {groups} fill({fill})"


def by_day(what: str, measurement: str, *conditions: str, by: Sequence[str]) -> str:
    """One row for each group and day in UTC, from minutes."""
    groups = ", ".join(["time(1d)", *map(_quoted, by)])
    return f"SELECT {what} FROM {MINUTES}{_quoted(measurement)} {_where(conditions)} GROUP BY {groups} fill(none)"


def newest(columns: Sequence[str], measurement: str, *conditions: str, limit: int = LONGEST_TABLE) -> str:
    """The newest points as they are, tags and fields."""
    what = ", ".join(map(_quoted, columns))
    return f"SELECT {what} FROM {_quoted(measurement)} {_where(conditions)} ORDER BY time DESC LIMIT {limit}"


def of_groups(outer: str, inner: str, *, by: Sequence[str] = ()) -> str:
    """An aggregate over the groups of another statement."""
    return f"SELECT {outer} FROM ({inner}) WHERE $timeFilter{_grouped(by)}"


def values_of(tag: str, measurement: str) -> str:
    """All values of a tag, from the index."""
    return f"SHOW TAG VALUES FROM {_quoted(measurement)} WITH KEY = {_quoted(tag)}"


def _where(conditions: Sequence[str]) -> str:
    return " AND ".join(["WHERE $timeFilter", *conditions])


def _grouped(by: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(map(_quoted, by))}" if by else ""


def _quoted(name: str) -> str:
    return f'"{name}"'
