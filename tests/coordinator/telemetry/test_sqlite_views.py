"""The views of the SQLite store are the telemetry schema: the same samples by both ways."""

import functools
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_to_fuzz import messages
from test_points import KINDS, MACHINE, READING, REPORT, plan_with_predictions

from broker.messages import InferenceReport
from coordinator.telemetry.measurements import MEASUREMENTS, Measurement
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.samples import Sample
from coordinator.telemetry.sqlite_rows import Rows
from coordinator.telemetry.sqlite_schema import SCHEMA
from coordinator.telemetry.store import Storable

any_message = st.one_of(*(messages(kind) for kind in KINDS))
times = st.one_of(st.sampled_from((0.0, 1.0, 1.7e9)), st.floats(0.0, 8e9))


@functools.cache
def empty_store() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    return connection


def stored(message: Storable, recorded_at: float) -> set[Sample]:
    """What the views of an empty store say after this message."""
    connection = empty_store()
    connection.execute("BEGIN")
    try:
        Rows("hub").insert(connection, message, recorded_at)
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


@given(any_message, times)
def test_a_view_shows_what_the_points_are(message: Storable, recorded_at: float) -> None:
    """Whatever valid message comes: both refuse it, or both say the same."""
    try:
        points = set(samples_of(message, recorded_at, coordinator="hub"))
    except OverflowError:
        with pytest.raises(OverflowError):
            stored(message, recorded_at)
        return
    assert stored(message, recorded_at) == points


@given(messages(InferenceReport), times)
def test_a_view_shows_what_the_points_of_an_inference_are(report: InferenceReport, recorded_at: float) -> None:
    """As above: it is the message with the most parts."""
    test_a_view_shows_what_the_points_are.hypothesis.inner_test(report, recorded_at)  # type: ignore[attr-defined]


@pytest.mark.parametrize("message", [READING, MACHINE, REPORT, plan_with_predictions()])
def test_a_full_message_is_shown_whole(message: Storable) -> None:
    """With all that it may say."""
    assert stored(message, 1_000.0) == set(samples_of(message, 1_000.0, coordinator="hub"))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.name)
def test_a_view_has_the_columns_of_its_measurement(measurement: Measurement) -> None:
    """The time, the tags and the fields, in the declared order: an export is one SELECT."""
    cursor = empty_store().execute(f"SELECT * FROM v_{measurement.name}")
    columns = [column[0] for column in cursor.description]
    assert columns == ["time_ns", *(part.name for part in (*measurement.tags, *measurement.fields))]
