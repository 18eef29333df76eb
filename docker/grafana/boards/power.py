"""Panels of what meters measure and what the model says, always apart, and never two meters added.

Energy of inferences is the dashboard `boards.energy`'s.
"""

from dataclasses import dataclass
from typing import Final

from boards.choices import JUST_NOW, TODAY
from boards.influxql import figure, of_groups, series
from boards.layout import MARK, Panel, Query

_APART: Final = "Each meter has its own figure: what two meters of one node cover may overlap, so they are never added."


@dataclass(frozen=True, slots=True)
class PowerSource:
    """Where figures come from; those of a meter are never emulated, since an emulated node has the model alone."""

    word: str
    description: str
    groups: tuple[str, ...]
    alias: str

    @property
    def condition(self) -> str:
        """Leaves out the others' readings."""
        return f"\"source\" = '{self.word}'"


MEASURED: Final = PowerSource(
    "measured", "By meters, by meter and scope.", ("meter", "scope"), "$tag_meter: measured, $tag_scope"
)
MODELLED: Final = PowerSource(
    "modelled",
    "By the model, of all nodes, those with a meter too: not measured.",
    ("scope", "emulated"),
    "modelled, $tag_scope" + MARK,
)


def power_now(*conditions: str) -> tuple[Panel, Panel]:
    """Power at this moment, summed over nodes, measured and modelled in panels of their own."""
    return _power_now(MEASURED, conditions), _power_now(MODELLED, conditions)


def energy_today(*conditions: str) -> tuple[Panel, Panel]:
    """Energy since midnight, summed over nodes, measured and modelled in panels of their own."""
    return _energy_today(MEASURED, conditions), _energy_today(MODELLED, conditions)


def energy_measured(*conditions: str) -> Panel:
    """Energy by node and meter, from meters alone."""
    return Panel(
        kind="bargauge",
        title="Energy measured in the time range",
        description=f"By node, meter and scope, from meters alone. {_APART}",
        queries=(
            Query(
                figure(
                    'sum("used_j") / 3600', "energy", MEASURED.condition, *conditions, by=("node", "meter", "scope")
                ),
                "$tag_node: " + MEASURED.alias,
            ),
        ),
        width=12,
        height=9,
        unit="watth",
        least=0.0,
        none="no meter",
    )


def power_over_time(*conditions: str, title: str) -> Panel:
    """The power of each meter of each node."""
    return _over_time(title, f"Mean power. {_APART}", 'mean("power_w")', "watt", conditions)


def energy_over_time(*conditions: str) -> Panel:
    """Energy summed up since the time range began, of each meter of each node."""
    return _over_time(
        "Energy since the time range began",
        f"Summed from the readings. {_APART}",
        'cumulative_sum(sum("used_j")) / 3600',
        "watth",
        conditions,
    )


def _over_time(title: str, description: str, what: str, unit: str, conditions: tuple[str, ...]) -> Panel:
    groups = ("node", "meter", "source", "scope", "emulated")
    return Panel(
        kind="timeseries",
        title=title,
        description=f"By node, meter, source and scope. {description}",
        queries=(
            Query(
                series(what, "energy", *conditions, by=groups),
                "$tag_node: $tag_meter, $tag_source, $tag_scope" + MARK,
            ),
        ),
        width=12,
        height=9,
        unit=unit,
        least=0.0,
    )


def _power_now(source: PowerSource, conditions: tuple[str, ...]) -> Panel:
    of_each = figure('mean("power_w") AS "w"', "energy", source.condition, *conditions, by=("node", *source.groups))
    return Panel(
        kind="stat",
        title=f"Power now, {source.word}",
        description=f"Mean of the last two minutes, summed over nodes. {source.description} {_APART}",
        queries=(Query(of_groups('sum("w")', of_each, by=source.groups), source.alias),),
        width=6,
        height=4,
        unit="watt",
        period=JUST_NOW,
        none="no reading",
    )


def _energy_today(source: PowerSource, conditions: tuple[str, ...]) -> Panel:
    today = figure('sum("used_j") / 3600', "energy", source.condition, *conditions, by=source.groups)
    return Panel(
        kind="stat",
        title=f"Energy today, {source.word}",
        description=f"Since midnight, summed over readings and nodes. {source.description} {_APART}",
        queries=(Query(today, source.alias),),
        width=6,
        height=4,
        unit="watth",
        period=TODAY,
        none="no reading",
    )
