"""What a chaos experiment reads in a coordinator's store is what the store was given."""

import sqlite3
from contextlib import closing
from pathlib import Path

from broker.messages import EnergyReading, InferenceReport, SpoolMark
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from testbed.chaos.stored import Stored, read_store


def mark(sequence: int) -> SpoolMark:
    return SpoolMark(session="s1", sequence=sequence, oldest=1, age_s=0.0)


def reading(sequence: int, marked: int | None) -> EnergyReading:
    return EnergyReading(
        node="pi",
        session="s1",
        sequence=sequence,
        at=1_000.0 + sequence,
        energy_j=1.0,
        power_w=1.0,
        interval_s=1.0,
        meter="modelled",
        source="modelled",
        scope="board",
        mark=mark(marked) if marked is not None else None,
    )


def report(marked: int) -> InferenceReport:
    return InferenceReport(
        deployment="photos", epoch=1, request_id="i1", origin="pi", at=1_000.0, latency_ms=5.0, mark=mark(marked)
    )


def test_a_store_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Ledger, readings and inferences; what came without a mark must be within what was counted as dropped."""
    path = tmp_path / "telemetry.sqlite"
    store = SqliteTelemetryStore(path, retention_s=1e12)
    for message in (reading(1, 1), report(2), report(2), reading(2, None), reading(3, 4)):
        store.record(message, 2_000.0)
    store.flush()
    expected = Stored({("pi", "s1"): 2}, {("pi", "s1"): frozenset({1, 2, 3})}, {"i1": 1}, ())
    assert read_store(path, dropped=1) == expected
    assert read_store(path, dropped=0).miscounted == ("telemetry.sqlite has 4 rows of pi, its ledger says 3",)
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM energy")
    assert read_store(path, dropped=1).miscounted == ("telemetry.sqlite has 1 rows of pi, its ledger says 3",)
