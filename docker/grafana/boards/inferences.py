"""Panels of how many inferences there are, how they end and how long they take."""

from boards.influxql import SUCCEEDED, figure, series
from boards.layout import MARK, Panel, Query

_P50_AND_P95 = 'percentile("latency_ms", 50) AS "p50", percentile("latency_ms", 95) AS "p95"'


def per_second(*conditions: str) -> Panel:
    """How many inferences end how."""
    rate = 'count("latency_ms") * 1000 / $__interval_ms'
    return Panel(
        kind="timeseries",
        title="Inferences per second",
        description="By outcome: answered, rescued (finished by the origin alone) or failed. The last interval is not"
        " over yet, so it shows too few.",
        queries=(Query(series(rate, "inference", *conditions, by=("outcome", "emulated")), "$tag_outcome" + MARK),),
        width=12,
        height=9,
        unit="reqps",
        least=0.0,
    )


def outcomes(*conditions: str) -> Panel:
    """How many inferences ended how."""
    counts = figure('count("latency_ms")', "inference", *conditions, by=("outcome", "emulated"))
    return Panel(
        kind="stat",
        title="Inferences by outcome",
        description="In the time range; rescued ones were finished by the origin alone.",
        queries=(Query(counts, "$tag_outcome" + MARK),),
        width=6,
        height=4,
        none="none",
    )


def latency(*conditions: str) -> Panel:
    """The median and the slow end of latency."""
    return Panel(
        kind="stat",
        title="Latency p50 and p95",
        description="By deployment, of the inferences that did not fail, in the time range.",
        queries=(
            Query(
                figure(_P50_AND_P95, "inference", *conditions, SUCCEEDED, by=("deployment", "emulated")),
                "$tag_deployment $col" + MARK,
            ),
        ),
        width=6,
        height=4,
        unit="ms",
        none="no inferences",
    )


def latency_over_time(*conditions: str) -> Panel:
    """The same in each interval."""
    return Panel(
        kind="timeseries",
        title="Latency over time, p50 and p95",
        description="By deployment, of the inferences that did not fail.",
        queries=(
            Query(
                series(_P50_AND_P95, "inference", *conditions, SUCCEEDED, by=("deployment", "emulated")),
                "$tag_deployment $col" + MARK,
            ),
        ),
        width=12,
        height=9,
        unit="ms",
        least=0.0,
    )
