"""Months and years, from the minutes that `splitrail telemetry init` has InfluxDB 1 and 2 keep: the policy `rollup`."""

from boards.choices import DEPLOYMENTS, NODES
from boards.events import plan_changes
from boards.influxql import MINUTES, SUCCEEDED, THIS_DEPLOYMENT, THIS_NODE, by_day, series
from boards.layout import MARK, Dashboard, Panel, Query, Row
from boards.power import MEASURED, MODELLED, PowerSource

_DAYS = "A bar is a day in UTC; the first and the last may not be whole."


def _energy_by_day(source: PowerSource) -> Panel:
    return Panel(
        kind="timeseries",
        title=f"Energy by day, {source.word}",
        description=f"{source.description} {_DAYS} Meters of one node may overlap: they are not added.",
        queries=(
            Query(
                by_day('sum("used_j") / 3600', "energy", THIS_NODE, source.condition, by=("node", *source.groups)),
                "$tag_node: " + source.alias,
            ),
        ),
        width=12,
        height=9,
        unit="watth",
        least=0.0,
        as_bars=True,
    )


_POWER = Panel(
    kind="timeseries",
    title="Power, mean and highest",
    description="By node, meter, source and scope; the highest is that of a single reading.",
    queries=(
        Query(
            series(
                'mean("power_w") AS "mean", max("power_w_max") AS "highest"',
                "energy",
                THIS_NODE,
                by=("node", "meter", "source", "scope", "emulated"),
                of=MINUTES,
            ),
            "$tag_node: $tag_meter, $tag_source, $tag_scope, $col" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="watt",
    least=0.0,
)
_TEMPERATURE = Panel(
    kind="timeseries",
    title="Temperature, mean and highest",
    description="Of the processor; an emulated node's is its host's.",
    queries=(
        Query(
            series(
                'mean("temperature_c") AS "mean", max("temperature_c_max") AS "highest"',
                "node",
                THIS_NODE,
                by=("node", "emulated"),
                of=MINUTES,
            ),
            "$tag_node $col" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="celsius",
)
_INFERENCES = Panel(
    kind="timeseries",
    title="Inferences by day",
    description=f"By deployment and outcome. {_DAYS}",
    queries=(
        Query(
            by_day('sum("inferences")', "inference", THIS_DEPLOYMENT, by=("deployment", "outcome", "emulated")),
            "$tag_deployment $tag_outcome" + MARK,
        ),
    ),
    width=12,
    height=9,
    least=0.0,
    as_bars=True,
)
_LATENCY = Panel(
    kind="timeseries",
    title="Latency",
    description="Of the inferences that did not fail: the mean of the minutes' medians, and the highest of their 95th"
    " percentiles. A percentile of a longer time cannot be had from minutes.",
    queries=(
        Query(
            series(
                'mean("latency_ms_p50") AS "p50, mean of minutes", max("latency_ms_p95") AS "p95 of the worst minute"',
                "inference",
                THIS_DEPLOYMENT,
                SUCCEEDED,
                by=("deployment", "emulated"),
                of=MINUTES,
            ),
            "$tag_deployment $col" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="ms",
    least=0.0,
)
_COMPUTE = Panel(
    kind="timeseries",
    title="Compute energy of an inference",
    description="The mean of the minutes' means, of all stages together as their nodes reckon it: measured, modelled or"
    " mixed, as the legend says.",
    queries=(
        Query(
            series(
                'mean("compute_energy_j")',
                "inference",
                THIS_DEPLOYMENT,
                SUCCEEDED,
                by=("deployment", "compute_energy_source", "compute_energy_scope", "emulated"),
                of=MINUTES,
            ),
            "$tag_deployment: $tag_compute_energy_source, $tag_compute_energy_scope" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="joule",
    least=0.0,
)
_BANDWIDTH = Panel(
    kind="timeseries",
    title="Bandwidth",
    description="Mean of the estimates, by probes and by tensors.",
    queries=(
        Query(
            series('mean("mbps")', "link", by=("src", "dst", "method"), of=MINUTES),
            "$tag_src to $tag_dst, by $tag_method",
        ),
    ),
    width=12,
    height=9,
    unit="Mbits",
    least=0.0,
)

HISTORY = Dashboard(
    uid="splitrail-history",
    title="Splitrail: history",
    description="Months and years, from means and sums of minutes, which `splitrail telemetry init` sets up.",
    variables=(NODES, DEPLOYMENTS),
    annotations=(plan_changes(THIS_DEPLOYMENT, is_on=False),),
    period="now-90d",
    refresh="5m",
    rows=(
        Row((_energy_by_day(MEASURED), _energy_by_day(MODELLED))),
        Row((_POWER, _TEMPERATURE)),
        Row((_INFERENCES, _LATENCY)),
        Row((_COMPUTE, _BANDWIDTH)),
    ),
)
