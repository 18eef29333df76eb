"""What is kept of telemetry for long: means, sums and quantiles of each minute, under the measurements' own names.

One declaration for InfluxDB 1's continuous queries and InfluxDB 2's tasks. Pure; setting them up is
`coordinator.telemetry.influx_setup`'s.
"""

from dataclasses import dataclass
from typing import Final, Literal

from coordinator.telemetry.measurements import ENERGY, INFERENCE, LINK, NODE, FieldKind, Measurement

POLICY: Final = "rollup"
"""Where they are kept: a retention policy in the same database; in InfluxDB 2 the bucket `<database>/rollup`."""
MINUTE: Final = "1m"
EVERY: Final = "5m"
FOR: Final = "1h"
"""Each time the last hour is reckoned anew: what a node sent up to an hour late is in it."""

Function = Literal["mean", "sum", "max", "count", "p50", "p95"]


@dataclass(frozen=True, slots=True)
class RolledField:
    """A field of the rollup: a function of a minute's values of the field `of`; its unit is that of `of`."""

    name: str
    function: Function
    of: str


@dataclass(frozen=True, slots=True)
class Rollup:
    """What is kept of one measurement, for each minute and each combination of its tags."""

    measurement: Measurement
    fields: tuple[RolledField, ...]


def _means(*names: str) -> tuple[RolledField, ...]:
    return tuple(RolledField(name, "mean", name) for name in names)


ROLLUPS: Final = (
    Rollup(
        ENERGY,
        (
            RolledField("used_j", "sum", "used_j"),
            RolledField("interval_s", "sum", "interval_s"),
            *_means("power_w"),
            RolledField("power_w_max", "max", "power_w"),
        ),
    ),
    Rollup(
        INFERENCE,
        (
            RolledField("inferences", "count", "latency_ms"),
            *_means("latency_ms"),
            RolledField("latency_ms_p50", "p50", "latency_ms"),
            RolledField("latency_ms_p95", "p95", "latency_ms"),
            *_means("origin_energy_j", "total_energy_j", "compute_energy_j"),
        ),
    ),
    Rollup(
        NODE,
        (
            *_means("cpu", "memory_used_mb", "memory_total_mb", "agent_memory_mb", "temperature_c"),
            RolledField("temperature_c_max", "max", "temperature_c"),
            RolledField("throttled", "max", "throttled"),
            *_means("load", "skew_s"),
        ),
    ),
    Rollup(LINK, _means("rtt_ms", "rtt_ms_std", "mbps", "mbps_std")),
)

_INFLUXQL: Final[dict[Function, str]] = {
    "mean": 'mean("{}")',
    "sum": 'sum("{}")',
    "max": 'max("{}")',
    "count": 'count("{}")',
    "p50": 'percentile("{}", 50)',
    "p95": 'percentile("{}", 95)',
}
_QUANTILE: Final = '(tables=<-, column) => tables |> quantile(q: {}, method: "exact_selector", column: column)'
_FLUX: Final[dict[Function, str]] = {
    "mean": "mean",
    "sum": "sum",
    "max": "max",
    "count": "count",
    "p50": _QUANTILE.format("0.5"),
    "p95": _QUANTILE.format("0.95"),
}


def kind_of(rollup: Rollup, field: RolledField) -> FieldKind:
    """The kind of a rolled field's values."""
    if field.function == "count":
        return "count"
    kinds = {each.name: each.kind for each in rollup.measurement.fields}
    return kinds[field.of] if field.function == "max" else "number"


def name_of(rollup: Rollup) -> str:
    """The name of a continuous query or task."""
    return f"splitrail_{rollup.measurement.name}"


def identifier(name: str) -> str:
    """A name in InfluxQL that somebody else chose."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def selection(rollup: Rollup, *, database: str, raw_policy: str) -> str:
    """The rollup as InfluxQL; a WHERE clause for the time goes before its GROUP BY, or a continuous query around it."""
    name = rollup.measurement.name
    fields = ", ".join(f'{_INFLUXQL[each.function].format(each.of)} AS "{each.name}"' for each in rollup.fields)
    tags = ", ".join(f'"{tag.name}"' for tag in rollup.measurement.tags)
    return (
        f'SELECT {fields} INTO "{database}"."{POLICY}"."{name}" FROM "{database}".{identifier(raw_policy)}."{name}"'
        f" GROUP BY time({MINUTE}), {tags}"
    )


def continuous_query(rollup: Rollup, *, database: str, raw_policy: str) -> str:
    """The statement that makes InfluxDB 1 keep the rollup up to date."""
    return (
        f'CREATE CONTINUOUS QUERY "{name_of(rollup)}" ON "{database}" RESAMPLE EVERY {EVERY} FOR {FOR}'
        f" BEGIN {selection(rollup, database=database, raw_policy=raw_policy)} END"
    )


def flux_task(rollup: Rollup, *, bucket: str, into: str) -> str:
    """The Flux script that makes InfluxDB 2 keep the rollup up to date."""
    name = rollup.measurement.name
    lines = [
        'import "date"',
        "",
        f'option task = {{name: "{name_of(rollup)}", every: {EVERY}}}',
        "",
        "// Whole minutes: a part of one would replace what its whole gave before.",
        f'raw = from(bucket: "{bucket}")',
        f"    |> range(start: date.truncate(t: -{FOR}, unit: {MINUTE}), stop: date.truncate(t: now(), unit: {MINUTE}))",
        f'    |> filter(fn: (r) => r._measurement == "{name}")',
    ]
    for field in rollup.fields:
        lines += [
            "",
            f'raw |> filter(fn: (r) => r._field == "{field.of}")',
            f"    |> aggregateWindow(every: {MINUTE}, fn: {_FLUX[field.function]}, createEmpty: false,"
            ' timeSrc: "_start")',
            f'    |> set(key: "_field", value: "{field.name}")',
            f'    |> to(bucket: "{into}")',
            f'    |> yield(name: "{field.name}")',
        ]
    return "\n".join(lines) + "\n"
