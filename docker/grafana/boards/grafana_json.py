"""Dashboards as the JSON that Grafana reads, of schema version 39 (Grafana 10.4 and later), by its documented names."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from boards.layout import MARK, Annotation, Dashboard, Panel, Query, Row, Variable
from boards.panel_kinds import field_defaults, options_of

Json = Mapping[str, object]

SCHEMA_VERSION: Final = 39
DATASOURCE_UID: Final = "splitrail-influxdb"
"""The one that provisioning/datasources/influxdb.yaml makes."""
DATASOURCE: Final[Json] = {"type": "influxdb", "uid": "${datasource}"}
COLUMNS: Final = 24
# https://grafana.com/docs/grafana/latest/dashboards/use-dashboards/: "no effect when the time range is absolute"
ABSOLUTE: Final = " With an absolute time range, as dragging over a picture makes it, Grafana shows that one here too."
TAG: Final = "splitrail"
MARKED: Final[tuple[Json, ...]] = (
    {"id": "renameByRegex", "options": {"regex": "/(.*); emulated: yes$/", "renamePattern": "$1 (emulated)"}},
    # An InfluxDB that leaves out the tags that a group has not leaves the alias as it is.
    {"id": "renameByRegex", "options": {"regex": r"/(.*); emulated: (\$tag_emulated)?$/", "renamePattern": "$1"}},
)


def dashboard_json(dashboard: Dashboard, others: Sequence[Dashboard]) -> Json:
    """What the file of a dashboard holds, with links to the others."""
    return {
        "annotations": {"list": [_annotation(each) for each in dashboard.annotations]},
        "description": dashboard.description,
        "editable": False,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [_link(dashboard, other) for other in others],
        "panels": list(_placed(dashboard.rows)),
        "refresh": dashboard.refresh,
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
        "description": panel.description + (ABSOLUTE if panel.period is not None else ""),
        "datasource": DATASOURCE,
        "targets": [_target(query, chr(ord("A") + place)) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": options_of(panel.kind),
        "transformations": _transformations(panel),
        **({"timeFrom": panel.period} if panel.period is not None else {}),
    }


def _transformations(panel: Panel) -> list[Json]:
    """What Grafana does with the rows before it draws them."""
    if panel.joined is not None:
        key, calculations = panel.joined.key, panel.joined.calculations
        fields: dict[str, Json] = {key: {"aggregations": [], "operation": "groupby"}}
        for column, wanted in calculations.items():
            fields[column] = {"aggregations": list(wanted), "operation": "aggregate"}
        return [
            {"id": "groupBy", "options": {"fields": fields}},
            {"id": "joinByField", "options": {"byField": key, "mode": "outer"}},
        ]
    marked = any(query.alias is not None and query.alias.endswith(MARK) for query in panel.queries)
    return list(MARKED) if marked else []


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


def _link(here: Dashboard, there: Dashboard) -> Json:
    """The way to another dashboard; `All` is not taken to where one is to be chosen, nor months to where hours are."""
    return {
        "asDropdown": False,
        "icon": "dashboard",
        "includeVars": all(variable.choice == "one" for variable in here.variables),
        "keepTime": here.period == there.period,
        "tags": [],
        "targetBlank": False,
        "title": there.title.removeprefix("Splitrail: "),
        "tooltip": there.description,
        "type": "link",
        "url": f"/d/{there.uid}",
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
