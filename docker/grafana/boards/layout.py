"""A dashboard as values, and those as the JSON that Grafana reads; which panels there are is the other modules' matter.

Fields of the JSON are named after Grafana's documented dashboard model, schema version 39 (Grafana 10.4 and later).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from boards.panel_kinds import Kind, field_defaults, options_of

Json = Mapping[str, object]

SCHEMA_VERSION: Final = 39
DATASOURCE_UID: Final = "splitrail-influxdb"
"""The one that provisioning/datasources/influxdb.yaml makes."""
DATASOURCE: Final[Json] = {"type": "influxdb", "uid": "${datasource}"}
COLUMNS: Final = 24
TAG: Final = "splitrail"
MARK: Final = "; emulated: $tag_emulated"
"""Ends the alias of a query that groups by `emulated`; what it becomes is `MARKED`."""
MARKED: Final[tuple[Json, ...]] = (
    {"id": "renameByRegex", "options": {"regex": "/(.*); emulated: yes$/", "renamePattern": "$1 (emulated)"}},
    # An InfluxDB that leaves out the tags that a group has not leaves the alias as it is.
    {"id": "renameByRegex", "options": {"regex": r"/(.*); emulated: (\$tag_emulated)?$/", "renamePattern": "$1"}},
)


@dataclass(frozen=True, slots=True)
class Query:
    """One InfluxQL statement; without an alias it makes a table, with one a series for each group."""

    text: str
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """What is shown otherwise for the fields whose names match a regular expression, by Grafana's property ids."""

    fields: str
    properties: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture; `width` of 24 columns, `height` in rows of 30 pixels."""

    kind: Kind
    title: str
    description: str
    queries: tuple[Query, ...]
    width: int
    height: int
    unit: str = "short"
    period: str | None = None
    """A time range of its own, such as `now/d`, where the dashboard's would not do."""
    thresholds: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    """Colours from a value on; the first begins at None."""
    value_texts: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    """Text and colour of single values."""
    least: float | None = None
    most: float | None = None
    none: str | None = None
    """What a panel without data says."""
    is_stacked: bool = False
    as_shares: bool = False
    as_bars: bool = False
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side under a heading, or without one."""

    panels: tuple[Panel, ...]
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """What is chosen at the top: a tag's values, one or several of them."""

    name: str
    label: str
    query: str
    choice: Literal["one", "many"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Events that are drawn into every panel with a time axis."""

    name: str
    query: str
    text: str
    """The column to be shown."""
    tags: str
    """The column of a tag that is shown with it."""
    colour: str
    is_on: bool = True


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page of Grafana."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    period: str = "now-1h"


def dashboard_json(dashboard: Dashboard) -> Json:
    """What the file of a dashboard holds."""
    return {
        "annotations": {"list": [_annotation(each) for each in dashboard.annotations]},
        "description": dashboard.description,
        "editable": False,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [_links()],
        "panels": list(_placed(dashboard.rows)),
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": [TAG],
        "templating": {"list": [_datasource_variable(), *(_variable(each) for each in dashboard.variables)]},
        "time": {"from": dashboard.period, "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": dashboard.title,
        "uid": dashboard.uid,
        "version": 1,
        "weekStart": "",
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """The panels with their places, from left to right and from the top down, and their numbers."""
    number, y = 1, 0
    for row in rows:
        if row.title is not None:
            place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
            yield {"collapsed": False, "gridPos": place, "id": number, "panels": [], "title": row.title, "type": "row"}
            number, y = number + 1, y + 1
        x = 0
        for panel in row.panels:
            yield {
                "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
                "id": number,
                **_panel(panel),
            }
            number, x = number + 1, x + panel.width
        y += max(panel.height for panel in row.panels)


def _panel(panel: Panel) -> Json:
    marked = any(query.alias is not None and query.alias.endswith(MARK) for query in panel.queries)
    overrides = [
        {
            "matcher": {"id": "byRegexp", "options": f"/{override.fields}/"},
            "properties": [{"id": name, "value": value} for name, value in override.properties.items()],
        }
        for override in panel.overrides
    ]
    defaults = {
        **field_defaults(panel.kind, is_stacked=panel.is_stacked, as_shares=panel.as_shares, as_bars=panel.as_bars),
        "unit": panel.unit,
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": colour, "value": value} for value, colour in panel.thresholds],
        },
        "mappings": _mappings(panel.value_texts),
        **{
            name: value
            for name, value in (("min", panel.least), ("max", panel.most), ("noValue", panel.none))
            if value is not None
        },
    }
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + place)) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options_of(panel.kind),
        "transformations": list(MARKED) if marked else [],
        **({"timeFrom": panel.period} if panel.period is not None else {}),
    }


def _mappings(texts: Mapping[str, tuple[str, str]]) -> list[Json]:
    if not texts:
        return []
    options = {
        value: {"color": colour, "index": index, "text": text}
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}]


def _target(query: Query, letter: str) -> Json:
    shape = {"resultFormat": "table"} if query.alias is None else {"alias": query.alias, "resultFormat": "time_series"}
    return {"datasource": DATASOURCE, "query": query.text, "rawQuery": True, "refId": letter, **shape}


def _links() -> Json:
    """The way to the other dashboards, keeping what is chosen here."""
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": [TAG],
        "targetBlank": False,
        "title": "",
        "tooltip": "",
        "type": "dashboards",
        "url": "",
    }


def _datasource_variable() -> Json:
    return {
        "current": {"selected": False, "text": "Splitrail", "value": DATASOURCE_UID},
        "hide": 0,
        "includeAll": False,
        "label": "InfluxDB",
        "multi": False,
        "name": "datasource",
        "options": [],
        "query": "influxdb",
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "type": "datasource",
    }


def _variable(variable: Variable) -> Json:
    many = variable.choice == "many"
    return {
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if many else {},
        "datasource": DATASOURCE,
        "definition": variable.query,
        "hide": 0,
        "includeAll": many,
        "label": variable.label,
        "multi": many,
        "name": variable.name,
        "options": [],
        "query": variable.query,
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }


def _annotation(annotation: Annotation) -> Json:
    return {
        "datasource": DATASOURCE,
        "enable": annotation.is_on,
        "hide": False,
        "iconColor": annotation.colour,
        "name": annotation.name,
        "target": {
            "fromAnnotations": True,
            "query": annotation.query,
            "rawQuery": True,
            "refId": "Anno",
            "resultFormat": "table",
            "tagsColumn": annotation.tags,
            "textColumn": annotation.text,
        },
    }
