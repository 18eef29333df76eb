"""The links between nodes: what agents estimate of them, by probes and by tensors, and what transfers really took."""

from boards.choices import DEPLOYMENTS, DESTINATIONS, SOURCES
from boards.events import events, plan_changes
from boards.influxql import THIS_DEPLOYMENT, figure, newest, series
from boards.layout import MARK, Dashboard, Override, Panel, Query, Row

_PAIR = '"src" =~ /^($src)$/ AND "dst" =~ /^($dst)$/'
_METHODS = "`probe` is estimated actively, `transfer` passively from tensors that went anyway."
_ESTIMATE = "$tag_src to $tag_dst, by $tag_method"


def _estimates(title: str, field: str, unit: str, description: str) -> Panel:
    return Panel(
        kind="timeseries",
        title=title,
        description=f"{description} {_METHODS}",
        queries=(Query(series(f'mean("{field}")', "link", _PAIR, by=("src", "dst", "method")), _ESTIMATE),),
        width=12,
        height=9,
        unit=unit,
        least=0.0,
    )


_AGAINST = Panel(
    kind="timeseries",
    title="Bandwidth: estimates against what transfers took",
    description="Estimates are what plans reckon with. The third kind of line is what the tensors of inferences really"
    " got: bytes over time, half a round trip included, so small ones look slow.",
    queries=(
        Query(series('mean("mbps")', "link", _PAIR, by=("src", "dst", "method")), "$tag_src to $tag_dst: $tag_method"),
        Query(
            series(
                'sum("size_bytes") * 8 / 1000 / sum("transfer_ms")',
                "transfer",
                _PAIR,
                THIS_DEPLOYMENT,
                by=("src", "dst", "emulated"),
            ),
            "$tag_src to $tag_dst: inferences" + MARK,
        ),
    ),
    width=24,
    height=10,
    unit="Mbits",
    least=0.0,
    overrides=(Override(": inferences", {"custom.lineStyle": {"dash": [10, 10], "fill": "dash"}}),),
)


def _newest_estimate(title: str, field: str, unit: str) -> Panel:
    return Panel(
        kind="bargauge",
        title=f"{title}, newest estimate",
        description=f"Within the time range. {_METHODS}",
        queries=(Query(figure(f'last("{field}")', "link", _PAIR, by=("src", "dst", "method")), _ESTIMATE),),
        width=12,
        height=8,
        unit=unit,
        least=0.0,
        none="no estimate",
    )


_TRANSFERS = Panel(
    kind="timeseries",
    title="Transfers p50 and p95",
    description="From the send to the arrival, of the tensors of inferences.",
    queries=(
        Query(
            series(
                'percentile("transfer_ms", 50) AS "p50", percentile("transfer_ms", 95) AS "p95"',
                "transfer",
                _PAIR,
                THIS_DEPLOYMENT,
                by=("src", "dst", "emulated"),
            ),
            "$tag_src to $tag_dst $col" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="ms",
    least=0.0,
)
_TRAFFIC = Panel(
    kind="timeseries",
    title="Tensors per second",
    description="Bytes that inferences sent over each link; probes are not in it. The last interval is not over yet.",
    queries=(
        Query(
            series(
                'sum("size_bytes") * 1000 / $__interval_ms',
                "transfer",
                _PAIR,
                THIS_DEPLOYMENT,
                by=("src", "dst", "emulated"),
            ),
            "$tag_src to $tag_dst" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="Bps",
    least=0.0,
)
_ESTIMATED = ("src", "dst", "way", "method", "rtt_ms", "rtt_ms_std", "mbps", "mbps_std")
_LOG = Panel(
    kind="table",
    title="Estimates, the newest 100",
    description=f"With their spreads. {_METHODS}",
    queries=(
        Query(newest(("src", "dst", "way", "method", "rtt_ms", "rtt_ms_std", "mbps", "mbps_std"), "link", _PAIR)),
    ),
    width=24,
    height=9,
    overrides=(Override("_ms", {"unit": "ms"}), Override("mbps", {"unit": "Mbits"})),
)

LINKS = Dashboard(
    uid="splitrail-links",
    title="Splitrail: links",
    description="Round trip and bandwidth of each link, estimated actively and passively, and what transfers took.",
    variables=(SOURCES, DESTINATIONS, DEPLOYMENTS),
    annotations=(plan_changes(THIS_DEPLOYMENT), events(is_on=False)),
    rows=(
        Row((_newest_estimate("Round trip", "rtt_ms", "ms"), _newest_estimate("Bandwidth", "mbps", "Mbits"))),
        Row(
            (
                _estimates("Round trip", "rtt_ms", "ms", "Mean of the estimates."),
                _estimates("Bandwidth", "mbps", "Mbits", "One way; mean of the estimates."),
            )
        ),
        Row((_AGAINST,)),
        Row((_TRANSFERS, _TRAFFIC)),
        Row(
            (
                _estimates("Spread of the round trip", "rtt_ms_std", "ms", "Standard deviation."),
                _estimates("Spread of the bandwidth", "mbps_std", "Mbits", "Standard deviation."),
            )
        ),
        Row((_LOG,)),
    ),
)
