"""What inferences cost in joules: by model and route, at the origin and in all, by stage, and how that is known."""

from boards.choices import DEPLOYMENTS, LONG_AGO, MODELS
from boards.events import plan_changes
from boards.influxql import SUCCEEDED, THIS_DEPLOYMENT, figure, newest, of_groups, series
from boards.layout import MARK, Dashboard, Override, Panel, Query, Row

_THIS_MODEL = '"model" =~ /^($model)$/'
_CHOSEN = (THIS_DEPLOYMENT, _THIS_MODEL, SUCCEEDED)
_COST_MODEL = "By the cost model, from announced watts and the times that were measured: the source says modelled."
_COMPUTE = (
    "Of all stages together, as their nodes reckon it, idle power included; waiting and the radio are not in it."
    " `measured` is a meter over the stages, `mixed` a sum of both kinds, which says so."
)


def _by_route(title: str, field: str, tags: str, description: str) -> Panel:
    return Panel(
        kind="bargauge",
        title=title,
        description=f"Mean over the time range, by model and by the nodes that computed. {description}",
        queries=(
            Query(
                figure(
                    f'mean("{field}")',
                    "inference",
                    *_CHOSEN,
                    by=("model", "route", f"{tags}_source", f"{tags}_scope", "emulated"),
                ),
                f"$tag_model on $tag_route: $tag_{tags}_source, $tag_{tags}_scope" + MARK,
            ),
        ),
        width=12,
        height=9,
        unit="joule",
        least=0.0,
        none="no inferences",
    )


_ORIGIN_AND_TOTAL = Panel(
    kind="timeseries",
    title="Origin against total",
    description=f"Mean energy of an inference at its origin, and of all nodes. {_COST_MODEL}",
    queries=(
        Query(
            series(
                'mean("origin_energy_j") AS "origin", mean("total_energy_j") AS "all nodes"',
                "inference",
                *_CHOSEN,
                by=("deployment", "energy_source", "energy_scope", "emulated"),
            ),
            "$tag_deployment, $col: $tag_energy_source, $tag_energy_scope" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="joule",
    least=0.0,
)
_COMPUTE_OVER_TIME = Panel(
    kind="timeseries",
    title="Compute of an inference, and its spread",
    description=_COMPUTE,
    queries=(
        Query(
            series(
                'mean("compute_energy_j") AS "energy", mean("compute_energy_j_std") AS "spread"',
                "inference",
                *_CHOSEN,
                by=("deployment", "compute_energy_source", "compute_energy_scope", "emulated"),
            ),
            "$tag_deployment, $col: $tag_compute_energy_source, $tag_compute_energy_scope" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="joule",
    least=0.0,
)
_STAGES = Panel(
    kind="timeseries",
    title="Energy by stage",
    description="Mean energy of the node while it computed the stage, not stacked, since sources and scopes may differ."
    " `integrated` is a meter over the stage, `scaled` the model by a meter's longer windows, `model` the model alone.",
    queries=(
        Query(
            series(
                'mean("energy_j")',
                "stage",
                THIS_DEPLOYMENT,
                by=(
                    "deployment",
                    "position",
                    "node",
                    "energy_method",
                    "energy_source",
                    "energy_scope",
                    "energy_meter",
                    "emulated",
                ),
            ),
            "$tag_deployment $tag_position: $tag_node, $tag_energy_method by $tag_energy_meter,"
            " $tag_energy_source, $tag_energy_scope" + MARK,
        ),
    ),
    width=24,
    height=10,
    unit="joule",
    least=0.0,
)
_HOW_KNOWN = Panel(
    kind="bargauge",
    title="How the energy of stages is known",
    description="How many stages in the time range, by method and source. What is not `integrated` counts as modelled.",
    queries=(
        Query(
            figure(
                'count("energy_j")',
                "stage",
                THIS_DEPLOYMENT,
                by=("node", "energy_method", "energy_source", "energy_scope", "emulated"),
            ),
            "$tag_node: $tag_energy_method, $tag_energy_source, $tag_energy_scope" + MARK,
        ),
    ),
    width=12,
    height=8,
    least=0.0,
    none="no stages",
)
_UNSURE = Panel(
    kind="bargauge",
    title="Spread of a stage's energy",
    description="Mean standard deviation, by node and method.",
    queries=(
        Query(
            figure(
                'mean("energy_j_std")',
                "stage",
                THIS_DEPLOYMENT,
                by=("node", "energy_method", "energy_source", "energy_scope", "emulated"),
            ),
            "$tag_node: $tag_energy_method, $tag_energy_source, $tag_energy_scope" + MARK,
        ),
    ),
    width=12,
    height=8,
    unit="joule",
    least=0.0,
    none="no stages",
)
_PER_INFERENCE = Panel(
    kind="stat",
    title="Compute of an inference, by how it is known",
    description=f"Mean by source and scope; they are never mixed into one figure. {_COMPUTE}",
    queries=(
        Query(
            figure(
                'mean("compute_energy_j")',
                "inference",
                *_CHOSEN,
                by=("compute_energy_source", "compute_energy_scope", "emulated"),
            ),
            "$tag_compute_energy_source, $tag_compute_energy_scope" + MARK,
        ),
    ),
    width=12,
    height=4,
    unit="joule",
    none="not told",
)
_METERED = Panel(
    kind="stat",
    title="Power of all nodes over the time range",
    description="Mean by meter, source and scope, summed over nodes; what meters cover may overlap: do not add them.",
    queries=(
        Query(
            of_groups(
                'sum("w")',
                figure('mean("power_w") AS "w"', "energy", by=("node", "meter", "source", "scope", "emulated")),
                by=("meter", "source", "scope", "emulated"),
            ),
            "$tag_meter, $tag_source, $tag_scope" + MARK,
        ),
    ),
    width=12,
    height=4,
    unit="watt",
    none="no readings",
)
_PROMISED = Panel(
    kind="table",
    title="What plans promise",
    description="The cost model's energy of the newest plans within 30 days: modelled.",
    queries=(
        Query(
            newest(
                ("deployment", "epoch", "split", "modelled_origin_energy_j", "modelled_total_energy_j"),
                "plan",
                THIS_DEPLOYMENT,
                _THIS_MODEL,
                limit=20,
            )
        ),
    ),
    width=24,
    height=8,
    period=LONG_AGO,
    overrides=(Override("_j$", {"unit": "joule"}),),
)

ENERGY = Dashboard(
    uid="splitrail-energy",
    title="Splitrail: energy",
    description="Joules of inferences, with where each figure comes from: measured, modelled or mixed, and its scope.",
    variables=(DEPLOYMENTS, MODELS),
    annotations=(plan_changes(THIS_DEPLOYMENT),),
    rows=(
        Row((_PER_INFERENCE, _METERED)),
        Row(
            (
                _by_route(
                    "Compute of an inference, by model and route", "compute_energy_j", "compute_energy", _COMPUTE
                ),
                _by_route("All of an inference, by model and route", "total_energy_j", "energy", _COST_MODEL),
            )
        ),
        Row((_ORIGIN_AND_TOTAL, _COMPUTE_OVER_TIME)),
        Row((_STAGES,)),
        Row((_HOW_KNOWN, _UNSURE)),
        Row((_PROMISED,)),
    ),
)
