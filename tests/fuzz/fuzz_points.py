"""Valid messages as points: whatever a node says, the samples keep to the schema, and a store shows the same ones."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st
from messages_to_fuzz import messages
from schema_samples import COORDINATOR, any_message, assert_as_declared, stored_samples

from broker.messages import InferenceReport
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.point_time import arrival_of_kept, recorded_at
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.store import Storable

arrivals = st.one_of(st.sampled_from((0.0, 1.0, 1.7e9)), st.floats(0.0, 8e9))


@given(any_message | messages(InferenceReport), arrivals, st.booleans())
def kept(message: Storable, arrived_at: float, retained: bool) -> None:
    """From its arrival to a store's view and a line of InfluxDB's protocol."""
    at = recorded_at(message, arrival_of_kept(message, arrived_at) if retained else arrived_at)
    assert 0.0 <= at <= arrived_at
    try:
        samples = samples_of(message, at, coordinator=COORDINATOR)
    except OverflowError:
        return
    for sample in samples:
        assert_as_declared(sample)
        line = line_of(sample)
        assert b"\n" not in line
        assert line.endswith(b" %d" % sample.time_ns)
    assert stored_samples(message, at) == set(samples)


def run(data: bytes) -> None:
    """One message, drawn from the bytes."""
    kept.hypothesis.fuzz_one_input(data)


def seeds() -> Iterator[bytes]:
    """Hypothesis draws from any bytes."""
    yield from (bytes(range(256)) * 4, bytes(2_000), b"\xff" * 500)
