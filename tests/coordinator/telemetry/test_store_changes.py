"""A coordinator whose settings name an InfluxDB one day, with the file that has been its store."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from made_site import plan_message
from telemetry_store_contract import inference, mark, reading

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import StoredUpTo


@pytest.mark.usefixtures("nothing_left")
def test_what_the_file_knows_goes_on_to_count(tmp_path: Path, influx_settings: InfluxSettings) -> None:
    """Epochs, and which telemetry is stored already; its own rows are deleted when they are old enough."""
    path = tmp_path / "telemetry.sqlite"
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 10.0)) as store:
        for message in (reading(1, 4.0, marked=mark(1)), plan_message(7, ("pi", 0, 4)), inference("r", 1.0)):
            store.record(message, 10.0)
    confirmed: list[StoredUpTo] = []
    with closing(
        InfluxTelemetryStore(path, influx_settings, coordinator="hub", retention_s=100.0, clock=lambda: 500.0)
    ) as store:
        store.on_stored(confirmed.extend)
        for sequence in (1, 2):
            store.record(reading(sequence, 4.0 * sequence, marked=mark(sequence), at=500.0), 500.0)
        store.flush()
        assert store.last_epoch("photos") == 7
        assert [power.power_w for power in store.summarise_power(0.0)] == [8.0]
    assert confirmed == [StoredUpTo("pi", "s1", 2)]
    with closing(sqlite3.connect(path)) as connection:
        for table in ("energy", "inference", "inference_stage", "plan"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
