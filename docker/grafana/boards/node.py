"""One machine: what it draws by each meter, how warm and how busy it is, what holds it back, what happened to it."""

from boards.choices import JUST_NOW, LONG_AGO, NODE
from boards.events import event_log, events
from boards.influxql import THIS_NODE, figure, newest, series
from boards.layout import MARK, Dashboard, Override, Panel, Query, Row
from boards.power import energy_measured, energy_over_time, energy_today, power_now, power_over_time

_NOT_ITS_OWN = "An emulated node's is its host's."


def _now(
    title: str, field: str, unit: str, description: str, thresholds: tuple[tuple[float | None, str], ...]
) -> Panel:
    return Panel(
        kind="stat",
        title=title,
        description=description,
        queries=(Query(figure(f'last("{field}")', "node", THIS_NODE, by=("node", "emulated")), "$tag_node" + MARK),),
        width=6,
        height=4,
        unit=unit,
        period=JUST_NOW,
        thresholds=thresholds,
        none="not told",
    )


def _over_time(title: str, what: str, unit: str, description: str, *, most: float | None = None) -> Panel:
    return Panel(
        kind="timeseries",
        title=title,
        description=description,
        queries=(Query(series(what, "node", THIS_NODE, by=("node", "emulated")), "$tag_node $col" + MARK),),
        width=12,
        height=8,
        unit=unit,
        least=None if unit == "s" else 0.0,
        most=most,
    )


_TEMPERATURE_STEPS = (
    (None, "green"),
    (70.0, "yellow"),
    (80.0, "red"),  # a Raspberry Pi throttles from 80 °C on (its documentation, "Frequency management")
)
_THROTTLED = Panel(
    kind="state-timeline",
    title="Held back",
    description=f"How many causes throttle the processor: under-voltage, capped frequency, heat. {_NOT_ITS_OWN}",
    queries=(
        Query(series('max("throttled")', "node", THIS_NODE, by=("node", "emulated"), fill="null"), "$tag_node" + MARK),
    ),
    width=12,
    height=5,
    value_texts={
        "0": ("free", "green"),
        "1": ("1 cause", "red"),
        "2": ("2 causes", "red"),
        "3": ("3 causes", "red"),
        "4": ("4 causes", "red"),
    },
)
_CAUSES = Panel(
    kind="table",
    title="By what",
    description="The newest readings with a cause.",
    queries=(Query(newest(("node", "throttled_by"), "node", THIS_NODE, '"throttled" > 0', limit=20)),),
    width=12,
    height=5,
)
_STAGES = Panel(
    kind="timeseries",
    title="Compute of its stages",
    description="Mean compute of each stage that this node ran, by deployment and place in the plan.",
    queries=(
        Query(
            series('mean("compute_ms")', "stage", THIS_NODE, by=("node", "deployment", "position", "emulated")),
            "$tag_node: $tag_deployment, stage $tag_position" + MARK,
        ),
    ),
    width=12,
    height=9,
    unit="ms",
    least=0.0,
)
_PROFILES = Panel(
    kind="table",
    title="Profiles",
    description="Its measured time of each unsplit model, within 30 days; `emulated` is yes where that node is.",
    queries=(
        Query(
            newest(
                ("node", "model", "emulated", "unsplit_ms", "unsplit_ms_std", "memory_mb", "threads", "runtime"),
                "profile",
                THIS_NODE,
                limit=20,
            )
        ),
    ),
    width=12,
    height=9,
    period=LONG_AGO,
    overrides=(Override("_ms", {"unit": "ms"}), Override("_mb$", {"unit": "decmbytes"})),
)
NODE_BOARD = Dashboard(
    uid="splitrail-node",
    title="Splitrail: node",
    description="One machine: power by source and scope, energy, temperature, throttling, load, memory, clock, events.",
    variables=(NODE,),
    annotations=(events(THIS_NODE),),
    rows=(
        Row(
            (
                _now(
                    "CPU", "cpu", "percentunit", f"Share of all cores that is busy. {_NOT_ITS_OWN}", ((None, "green"),)
                ),
                _now("Temperature", "temperature_c", "celsius", _NOT_ITS_OWN, _TEMPERATURE_STEPS),
                _now(
                    "Load of others",
                    "load",
                    "percentunit",
                    "What others take of it.",
                    ((None, "green"), (0.5, "yellow")),
                ),
                _now(
                    "Clock ahead",
                    "skew_s",
                    "s",
                    "Of the coordinator's; beyond 1 s the coordinator warns.",
                    ((None, "red"), (-1.0, "green"), (1.0, "red")),
                ),
            )
        ),
        Row((*power_now(THIS_NODE), *energy_today(THIS_NODE))),
        Row((power_over_time(THIS_NODE, title="Power by source and scope"), energy_over_time(THIS_NODE))),
        Row(
            (
                _over_time(
                    "Temperature", 'mean("temperature_c") AS "°C"', "celsius", f"The processor's. {_NOT_ITS_OWN}"
                ),
                _over_time(
                    "CPU and load",
                    'mean("cpu") AS "cpu", mean("load") AS "load of others", mean("load_std") AS "its spread"',
                    "percentunit",
                    f"Load stretches compute by 1/(1-load). {_NOT_ITS_OWN}",
                    most=1.0,
                ),
            )
        ),
        Row((_THROTTLED, _CAUSES)),
        Row(
            (
                _over_time(
                    "Memory",
                    'mean("memory_used_mb") AS "used", mean("memory_total_mb") AS "there is",'
                    ' mean("agent_memory_mb") AS "the agent"',
                    "decmbytes",
                    _NOT_ITS_OWN,
                ),
                _over_time("Clock ahead of the coordinator's", 'mean("skew_s") AS "ahead"', "s", "Its skew."),
            )
        ),
        Row((_STAGES, energy_measured(THIS_NODE))),
        Row((event_log(THIS_NODE, width=12), _PROFILES)),
    ),
)
