"""The views of the SQLite store are the telemetry schema: the same samples by both ways."""

import pytest
from hypothesis import given
from messages_to_fuzz import messages
from schema_samples import COORDINATOR, any_message, empty_store, recording_times, stored_samples
from test_points import MACHINE, READING, REPORT, plan_with_predictions

from broker.messages import InferenceReport
from coordinator.telemetry.measurements import MEASUREMENTS, Measurement
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.store import Storable


@given(any_message | messages(InferenceReport), recording_times)
def test_a_view_shows_what_the_points_are(message: Storable, recorded_at: float) -> None:
    """Whatever valid message comes: both refuse it, or both say the same."""
    try:
        points = set(samples_of(message, recorded_at, coordinator=COORDINATOR))
    except OverflowError:
        with pytest.raises(OverflowError):
            stored_samples(message, recorded_at)
        return
    assert stored_samples(message, recorded_at) == points


@pytest.mark.parametrize("message", [READING, MACHINE, REPORT, plan_with_predictions()])
def test_a_full_message_is_shown_whole(message: Storable) -> None:
    """With all that it may say."""
    assert stored_samples(message, 1_000.0) == set(samples_of(message, 1_000.0, coordinator=COORDINATOR))


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.name)
def test_a_view_has_the_columns_of_its_measurement(measurement: Measurement) -> None:
    """The time, the tags and the fields, in the declared order: an export is one SELECT."""
    cursor = empty_store().execute(f"SELECT * FROM v_{measurement.name}")
    columns = [column[0] for column in cursor.description]
    assert columns == ["time_ns", *(part.name for part in (*measurement.tags, *measurement.fields))]
