"""The whole site at a glance: who is there, what it draws, what it answers and how fast."""

from boards.choices import DEPLOYMENTS, JUST_NOW, LONG_AGO
from boards.events import event_log, events, plan_changes
from boards.inferences import latency, latency_over_time, outcomes, per_second
from boards.influxql import SUCCEEDED, THIS_DEPLOYMENT, figure, of_groups
from boards.layout import MARK, Dashboard, Override, Panel, Query, Row
from boards.power import energy_measured, energy_today, power_now, power_over_time

_NODES_HEARD = Panel(
    kind="stat",
    title="Nodes heard from",
    description="Nodes whose telemetry came in the last two minutes. A node that is away spools; its telemetry comes"
    " later, and it is counted again then.",
    queries=(
        Query(
            of_groups(
                'count("cpu")',
                figure('last("cpu") AS "cpu"', "node", by=("node", "emulated")),
                by=("emulated",),
            ),
            "nodes" + MARK,
        ),
    ),
    width=6,
    height=4,
    period=JUST_NOW,
    none="none",
)
_ENERGY_OF_ANSWERS = Panel(
    kind="stat",
    title="Energy of an inference",
    description="Mean energy of all nodes by the cost model, which reckons with the watts that nodes announce: it is"
    " modelled. What meters say of the stages is on the dashboard Energy.",
    queries=(
        Query(
            figure(
                'mean("total_energy_j")',
                "inference",
                THIS_DEPLOYMENT,
                SUCCEEDED,
                by=("deployment", "energy_source", "energy_scope", "emulated"),
            ),
            "$tag_deployment: $tag_energy_source, $tag_energy_scope" + MARK,
        ),
    ),
    width=6,
    height=4,
    unit="joule",
    none="no inferences",
)
_TO_NODE = {"title": "the node ${__value.text}", "url": "/d/splitrail-node?var-node=${__value.text}"}
_NODES = Panel(
    kind="table",
    title="Nodes",
    description="The last birth of each node within 30 days: when it came, its tier and version, and what is emulated"
    " where something is. Click a node to see it.",
    queries=(
        Query(
            figure(
                'last("text") AS "announced", "tier", "version", "emulated"',
                "event",
                "\"kind\" = 'birth'",
                by=("node",),
            )
        ),
    ),
    width=12,
    height=9,
    period=LONG_AGO,
    overrides=(
        Override("^node$", {"links": [_TO_NODE]}),
        Override("^announced$", {"custom.hidden": True}),
        Override("^Time$", {"displayName": "came"}),
        Override("^emulated$", {"displayName": "emulated: what"}),
    ),
)
_MACHINES = Panel(
    kind="table",
    title="Machines now",
    description="The newest reading of each within two minutes. Of an emulated node they are its host's.",
    queries=(
        Query(
            figure(
                'last("cpu") AS "cpu", last("memory_used_mb") AS "memory used", last("temperature_c") AS "temperature",'
                ' last("throttled") AS "throttled by causes", last("skew_s") AS "clock ahead"',
                "node",
                by=("node",),
            )
        ),
    ),
    width=12,
    height=9,
    period=JUST_NOW,
    overrides=(
        Override("^node$", {"links": [_TO_NODE]}),
        Override("^Time$", {"custom.hidden": True}),
        Override("^cpu$", {"unit": "percentunit"}),
        Override("^memory used$", {"unit": "decmbytes"}),
        Override("^temperature$", {"unit": "celsius"}),
        Override("^clock ahead$", {"unit": "s"}),
    ),
)
FLEET = Dashboard(
    uid="splitrail-fleet",
    title="Splitrail: fleet",
    description="Who is there, what it draws and what it answers. Measured and modelled energy stand apart.",
    variables=(DEPLOYMENTS,),
    annotations=(plan_changes(THIS_DEPLOYMENT), events(is_on=False)),
    rows=(
        Row((_NODES_HEARD, outcomes(THIS_DEPLOYMENT), latency(THIS_DEPLOYMENT), _ENERGY_OF_ANSWERS)),
        Row((*power_now(), *energy_today())),
        Row((per_second(THIS_DEPLOYMENT), latency_over_time(THIS_DEPLOYMENT))),
        Row((power_over_time(title="Power by node"), energy_measured())),
        Row((_NODES, _MACHINES)),
        Row((event_log(width=24),)),
    ),
)
