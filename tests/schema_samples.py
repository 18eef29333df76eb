"""Samples held against the declared telemetry schema: as messages make them, and as the views of a file show them."""

import functools
import math
import sqlite3
from collections.abc import Iterator
from typing import get_args

from hypothesis import strategies as st
from messages_to_fuzz import messages

from coordinator.telemetry.measurements import MEASUREMENTS, FieldKind, Measurement
from coordinator.telemetry.samples import Sample
from coordinator.telemetry.sqlite_rows import Rows
from coordinator.telemetry.sqlite_schema import SCHEMA
from coordinator.telemetry.store import Storable

COORDINATOR = "hub"
STORABLES = get_args(Storable)
TYPES: dict[FieldKind, type] = {"number": float, "count": int, "text": str, "flag": bool}
DECLARED = {each.name: each for each in MEASUREMENTS}

any_message = st.one_of(*(messages(kind) for kind in STORABLES))
recording_times = st.one_of(st.sampled_from((0.0, 1.0, 1.7e9)), st.floats(0.0, 8e9))


def assert_as_declared(sample: Sample) -> None:
    """Names in the schema's order, each once; kinds; nothing empty or infinite; a time of 64 bits."""
    declared = DECLARED[sample.measurement]
    known_tags, known_fields = dict(sample.tags), dict(sample.fields)
    kinds = {field.name: field.kind for field in declared.fields}
    assert [name for name, _ in sample.tags] == [tag.name for tag in declared.tags if tag.name in known_tags]
    assert [name for name, _ in sample.fields] == [name for name in kinds if name in known_fields]
    for text in known_tags.values():
        assert text
        assert text.isprintable()
    assert sample.fields, "a point without a field is none"
    for name, value in sample.fields:
        assert type(value) is TYPES[kinds[name]], (name, value)
        assert not isinstance(value, float) or math.isfinite(value)
        assert value != ""
        assert not isinstance(value, int) or -(2**63) <= value < 2**63
    assert 0 <= sample.time_ns < 2**63


@functools.cache
def empty_store() -> sqlite3.Connection:
    """The tables and views of a store, in memory."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    return connection


def stored_samples(message: Storable, recorded_at: float) -> set[Sample]:
    """What the views of an empty store say after this message."""
    connection = empty_store()
    connection.execute("BEGIN")
    try:
        Rows(COORDINATOR).insert(connection, message, recorded_at)
        return {sample for measurement in MEASUREMENTS for sample in _in_view(connection, measurement)}
    finally:
        connection.rollback()


def _in_view(connection: sqlite3.Connection, measurement: Measurement) -> Iterator[Sample]:
    flags = {field.name for field in measurement.fields if field.kind == "flag"}
    tags = {tag.name for tag in measurement.tags}
    cursor = connection.execute(f"SELECT * FROM v_{measurement.name}")
    columns = [column[0] for column in cursor.description]
    for time_ns, *row in cursor:
        known = [(name, value) for name, value in zip(columns[1:], row, strict=True) if value is not None]
        yield Sample(
            measurement.name,
            tuple((name, value) for name, value in known if name in tags),
            tuple((name, bool(value) if name in flags else value) for name, value in known if name not in tags),
            time_ns,
        )
