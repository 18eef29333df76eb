"""The committed dashboards as Grafana reads them, and the InfluxQL statements in them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coordinator.telemetry.measurements import MEASUREMENTS, Measurement
from coordinator.telemetry.rollups import ROLLUPS

GRAFANA = Path(__file__).parents[2] / "docker" / "grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
SCHEMA = {measurement.name: measurement for measurement in MEASUREMENTS}
ROLLED_FIELDS = {rollup.measurement.name: {field.name for field in rollup.fields} for rollup in ROLLUPS}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a dashboard, and what Grafana makes of its rows."""

    dashboard: str
    owner: str
    """The panel's title, or the annotation's or variable's name."""
    place: Literal["timeseries", "stat", "table", "state-timeline", "bargauge", "annotation", "variable"]
    text: str
    alias: str | None
    """None where it makes a table."""
    period: str | None
    """The panel's own time range."""

    def __str__(self) -> str:
        return f"{self.dashboard.removeprefix('splitrail-')}: {self.owner} [{self.place}]"

    @property
    def measurement(self) -> Measurement:
        """What it asks."""
        (name,) = set(re.findall(r'FROM (?:"rollup"\.)?"(\w+)"', self.text))
        return SCHEMA[name]

    @property
    def fields(self) -> set[str]:
        """The fields that there are, of the points or of their minutes."""
        measurement = self.measurement
        if 'FROM "rollup".' in self.text:
            return ROLLED_FIELDS[measurement.name]
        return {field.name for field in measurement.fields}

    @property
    def groups(self) -> tuple[str, ...]:
        """The tags that the outermost statement groups by."""
        _, grouped, tail = self.text.rpartition(" GROUP BY ")
        return tuple(re.findall(r'"(\w+)"', tail)) if grouped and ") WHERE" not in tail else ()


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def statements() -> list[Statement]:
    """All of them: of panels, of annotations, of variables."""
    found = []
    for uid, dashboard in DASHBOARDS.items():
        for panel in panels_of(dashboard):
            for target in panel["targets"]:
                found.append(
                    Statement(
                        uid,
                        panel["title"],
                        panel["type"],
                        target["query"],
                        target.get("alias"),
                        panel.get("timeFrom"),
                    )
                )
        for annotation in dashboard["annotations"]["list"]:
            found.append(
                Statement(uid, annotation["name"], "annotation", annotation["target"]["query"], None, period=None)
            )
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found.append(Statement(uid, variable["name"], "variable", variable["query"], None, period=None))
    return found


def statement(uid: str, owner: str) -> Statement:
    """The one statement of a panel, or the first of several."""
    return next(each for each in statements() if (each.dashboard, each.owner) == (f"splitrail-{uid}", owner))
