"""What Grafana makes of a statement before InfluxDB sees it: variables in the browser, macros in its backend.

After Grafana's documentation and the tests and source of its InfluxDB plugin (datasource.ts, pkg/tsdb/influxdb).
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

POINTS = 1_000
"""About what a panel on a whole screen asks for."""
LEAST_INTERVAL_S = 10
"""Of provisioning/datasources/influxdb.yaml, `timeInterval`."""
INTERVALS_S = (10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From and to, s since 1970."""

    start: float
    stop: float


def with_period(chosen: TimeRange, period: str | None) -> TimeRange:
    """The time range of a panel that has one of its own; days are those of UTC here."""
    match period:
        case None:
            return chosen
        case "now/d":
            day = datetime.datetime.fromtimestamp(chosen.stop, datetime.UTC).replace(hour=0, minute=0, second=0)
            return TimeRange(day.replace(microsecond=0).timestamp(), chosen.stop)
        case _:
            number, unit = int(period[:-1]), period[-1]
            return TimeRange(chosen.stop - number * {"m": 60, "h": 3_600, "d": 86_400}[unit], chosen.stop)


def substituted(text: str, chosen: TimeRange, variables: Mapping[str, Sequence[str]]) -> str:
    """The statement that Grafana posts; every variable stands in a regular expression and may have several values."""
    for name, values in variables.items():
        text = re.sub(rf"\${name}\b", lambda _, of=tuple(values): in_regex(of), text)
    interval_s = interval_of(chosen)
    text = text.replace(
        "$timeFilter", f"time >= {round(chosen.start * 1e3)}ms and time <= {round(chosen.stop * 1e3)}ms"
    )
    text = text.replace("$interval", in_words(interval_s))
    text = text.replace("$__interval_ms", str(interval_s * 1_000))
    return text.replace("$__interval", in_words(interval_s))


def in_regex(values: Sequence[str]) -> str:
    """The values as a part of a regular expression; several in brackets."""
    escaped = [re.sub(r"[\\^$*+?.()|[\]{}/]", r"\\\g<0>", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def interval_of(chosen: TimeRange) -> int:
    """The length of an interval in s, so that the panel gets no more points than it has room for."""
    wanted = (chosen.stop - chosen.start) / POINTS
    return next((interval for interval in INTERVALS_S if interval >= max(wanted, LEAST_INTERVAL_S)), INTERVALS_S[-1])


def in_words(interval_s: int) -> str:
    """An interval as Grafana writes it."""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if interval_s % length_s == 0:
            return f"{interval_s // length_s}{unit}"
    return f"{interval_s}s"


def legends_of(alias: str, columns: Sequence[str], tags: Mapping[str, str]) -> list[str]:
    """The names of a group's lines, one for each column but the time."""
    named = re.sub(r"\$tag_(\w+)", lambda found: tags.get(found[1], found[0]), alias)
    return [named.replace("$col", column) for column in columns[1:]]
