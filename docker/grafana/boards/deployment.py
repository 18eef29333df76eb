"""One deployment: where its time goes, how it is split, and whether the plan keeps its promise."""

from boards.choices import DEPLOYMENT, LONG_AGO
from boards.events import event_log, events, plan_changes
from boards.inferences import latency, outcomes, per_second
from boards.influxql import SUCCEEDED, THIS_DEPLOYMENT, figure, newest, series
from boards.layout import MARK, Dashboard, Join, Override, Panel, Query, Row

_PLAN = ("epoch", "split", "reason", "strategy", "modelled_latency_ms", "modelled_total_energy_j")

_IN_FORCE = Panel(
    kind="table",
    title="The newest plan",
    description="Its split and why it was made, within 30 days; what it promises is the cost model's: modelled.",
    queries=(
        Query(
            newest(
                _PLAN,
                "plan",
                THIS_DEPLOYMENT,
                limit=1,
            )
        ),
    ),
    width=24,
    height=4,
    period=LONG_AGO,
    overrides=(
        Override("^Time$", {"displayName": "made"}),
        Override("^modelled_latency_ms$", {"displayName": "latency, modelled", "unit": "ms"}),
        Override("^modelled_total_energy_j$", {"displayName": "energy of all nodes, modelled", "unit": "joule"}),
    ),
)
_PROMISE = Panel(
    kind="stat",
    title="Latency that the newest plan promises",
    description="Modelled: what the cost model expected of the newest plan within 30 days, to be held against the"
    " measured latency beside it.",
    queries=(
        Query(
            figure('last("modelled_latency_ms")', "plan", THIS_DEPLOYMENT, by=("deployment",)),
            "$tag_deployment, modelled",
        ),
    ),
    width=6,
    height=4,
    unit="ms",
    period=LONG_AGO,
    none="no plan",
)
_SENT = Panel(
    kind="stat",
    title="Bytes of an inference",
    description="Mean bytes over all links.",
    queries=(
        Query(
            figure('mean("sent_bytes")', "inference", THIS_DEPLOYMENT, SUCCEEDED, by=("emulated",)),
            "sent" + MARK,
        ),
    ),
    width=6,
    height=4,
    unit="decbytes",
    none="no inferences",
)
_STAGES = Panel(
    kind="timeseries",
    title="Latency by stage",
    description="Means of each stage's compute and waiting, and of each transfer, one on another; the line is the mean"
    " latency as the origin measures it. What is above the areas is acknowledgement and scheduling. In an interval with"
    " a change of plan the stages of both plans stand on one another.",
    queries=(
        Query(
            series(
                'mean("wait_ms") AS "waits", mean("compute_ms") AS "computes"',
                "stage",
                THIS_DEPLOYMENT,
                by=("position", "node", "emulated"),
            ),
            "stage $tag_position: $tag_node $col" + MARK,
        ),
        Query(
            series('mean("transfer_ms")', "transfer", THIS_DEPLOYMENT, by=("position", "src", "dst", "emulated")),
            "transfer $tag_position: $tag_src to $tag_dst" + MARK,
        ),
        Query(
            series('mean("latency_ms")', "inference", THIS_DEPLOYMENT, "\"outcome\" = 'answered'", by=("emulated",)),
            "the whole" + MARK,
        ),
    ),
    width=24,
    height=10,
    unit="ms",
    least=0.0,
    is_stacked=True,
    overrides=(
        Override(
            "^the whole",
            {
                "custom.stacking": {"group": "A", "mode": "none"},
                "custom.fillOpacity": 0,
                "custom.lineWidth": 2,
                "color": {"mode": "fixed", "fixedColor": "text"},
            },
        ),
    ),
)
_SPLIT = Panel(
    kind="state-timeline",
    title="The split over time",
    description="Each row is a stage and its node; the number is how many ops it computed of the last inference in the"
    " interval. No colour: that node had no such stage, or nothing was asked.",
    queries=(
        Query(
            series(
                'last("stop") - last("start")',
                "stage",
                THIS_DEPLOYMENT,
                by=("position", "node", "emulated"),
                fill="null",
            ),
            "stage $tag_position: $tag_node" + MARK,
        ),
    ),
    width=12,
    height=9,
    value_texts={"0": ("relays", "gray")},
)
_SHARES = Panel(
    kind="timeseries",
    title="Share of the ops by node",
    description="Of all ops that were computed in the interval. An op is not a millisecond: see the stages above.",
    queries=(
        Query(
            series('sum("stop") - sum("start")', "stage", THIS_DEPLOYMENT, by=("node", "emulated")),
            "$tag_node" + MARK,
        ),
    ),
    width=12,
    height=9,
    as_shares=True,
)
_PREDICTED = Panel(
    kind="timeseries",
    title="Latency predicted and measured",
    description="Measured: p50 and p95 of the answered inferences. Modelled: what the cost model expected of the plan,"
    " from the first change of plan in the time range on; what plans before it promised is in the table below.",
    queries=(
        Query(
            series(
                'percentile("latency_ms", 50) AS "p50", percentile("latency_ms", 95) AS "p95"',
                "inference",
                THIS_DEPLOYMENT,
                "\"outcome\" = 'answered'",
                by=("emulated",),
            ),
            "measured $col" + MARK,
        ),
        Query(
            series(
                'last("modelled_latency_ms") AS "mean", last("modelled_latency_ms_std") AS "spread"',
                "plan",
                THIS_DEPLOYMENT,
                fill="previous",
            ),
            "modelled $col",
        ),
    ),
    width=12,
    height=9,
    unit="ms",
    least=0.0,
    overrides=(
        Override(
            "^modelled",
            {"custom.lineInterpolation": "stepAfter", "custom.lineStyle": {"dash": [10, 10], "fill": "dash"}},
        ),
    ),
)
_PLAN_STAGES = Panel(
    kind="table",
    title="Stages of the newest plans",
    description="What the cost model expects of each: modelled. Within 30 days.",
    queries=(
        Query(
            newest(
                ("epoch", "position", "node", "start", "stop", "modelled_compute_ms", "modelled_transfer_ms"),
                "plan_stage",
                THIS_DEPLOYMENT,
                limit=20,
            )
        ),
    ),
    width=12,
    height=9,
    period=LONG_AGO,
    overrides=(Override("_ms$", {"unit": "ms"}),),
)
_KEPT = Panel(
    kind="table",
    title="What each plan promised, and what was measured under it",
    description="By epoch, within 30 days: the latency that the cost model expected (modelled), and the mean and the"
    " longest that the origin measured, of the newest 5,000 answered inferences.",
    queries=(
        Query(
            newest(("epoch", "split", "modelled_latency_ms", "modelled_latency_ms_std"), "plan", THIS_DEPLOYMENT),
        ),
        Query(
            newest(
                ("epoch", "latency_ms", "emulated"),
                "inference",
                THIS_DEPLOYMENT,
                "\"outcome\" = 'answered'",
                limit=5_000,
            )
        ),
    ),
    width=24,
    height=9,
    period=LONG_AGO,
    joined=Join(
        "epoch",
        {
            "split": ("lastNotNull",),
            "modelled_latency_ms": ("lastNotNull",),
            "modelled_latency_ms_std": ("lastNotNull",),
            "latency_ms": ("mean", "max", "count"),
            "emulated": ("lastNotNull",),
        },
    ),
    overrides=(
        Override("_ms", {"unit": "ms"}),
        Override(r"^split \(", {"displayName": "split"}),
        Override(r"^modelled_latency_ms \(", {"displayName": "modelled"}),
        Override(r"^modelled_latency_ms_std \(", {"displayName": "modelled, spread"}),
        Override(r"^latency_ms \(mean", {"displayName": "measured, mean"}),
        Override(r"^latency_ms \(max", {"displayName": "measured, longest"}),
        Override(r"^latency_ms \(count", {"displayName": "inferences", "unit": "short"}),
        Override(r"^emulated \(", {"displayName": "emulated"}),
    ),
)
_PLANS = Panel(
    kind="table",
    title="Plan changes",
    description="In the time range, with why; the figures are the cost model's: modelled.",
    queries=(
        Query(
            newest(
                _PLAN,
                "plan",
                THIS_DEPLOYMENT,
            )
        ),
    ),
    width=12,
    height=9,
    overrides=(Override("_ms$", {"unit": "ms"}), Override("_j$", {"unit": "joule"})),
)
_FAILURES = Panel(
    kind="table",
    title="Failed and rescued",
    description="Why the newest ones failed, or why the origin finished them alone.",
    queries=(
        Query(
            newest(
                ("outcome", "error", "fallback", "latency_ms", "epoch", "request_id"),
                "inference",
                THIS_DEPLOYMENT,
                "\"outcome\" != 'answered'",
            )
        ),
    ),
    width=12,
    height=9,
    overrides=(Override("_ms$", {"unit": "ms"}),),
)

DEPLOYMENT_BOARD = Dashboard(
    uid="splitrail-deployment",
    title="Splitrail: deployment",
    description="Where the time of one deployment goes, how it is split, and whether its plan keeps its promise.",
    variables=(DEPLOYMENT,),
    annotations=(plan_changes(THIS_DEPLOYMENT), events(THIS_DEPLOYMENT, is_on=False)),
    rows=(
        Row((outcomes(THIS_DEPLOYMENT), latency(THIS_DEPLOYMENT), _PROMISE, _SENT)),
        Row((_IN_FORCE,)),
        Row((_STAGES,)),
        Row((_SPLIT, _SHARES)),
        Row((_PREDICTED, per_second(THIS_DEPLOYMENT))),
        Row((_KEPT,), title="Plans"),
        Row((_PLANS, _PLAN_STAGES)),
        Row((_FAILURES, event_log(THIS_DEPLOYMENT, width=12)), title="What went wrong"),
    ),
)
