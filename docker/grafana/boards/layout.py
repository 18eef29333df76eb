"""A dashboard as values; which there are is the other modules' matter, what Grafana reads `boards.grafana_json`'s."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from boards.panel_kinds import Kind

MARK: Final = "; emulated: $tag_emulated"
"""Ends the alias of a query that groups by `emulated`; the legend says `(emulated)` for it, or nothing."""


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
class Join:
    """One row for each value of a column that all statements have; the others are reduced by Grafana's calculations."""

    key: str
    calculations: Mapping[str, tuple[str, ...]]
    """Of each other column that is kept; the result is named `column (calculation)`."""


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
    joined: Join | None = None
    """How the rows of a table's several statements become one row for each key."""


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
    refresh: str = "30s"
