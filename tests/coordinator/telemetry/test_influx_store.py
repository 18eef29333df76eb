"""The InfluxDB store: the contract of every store over a real server, and what only a server elsewhere has."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from telemetry_store_contract import TelemetryStoreContract

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_store import InfluxTelemetryStore


@pytest.fixture
def store(tmp_path: Path, influx_settings: InfluxSettings) -> Iterator[InfluxTelemetryStore]:
    opened = InfluxTelemetryStore(
        tmp_path / "new" / "telemetry.sqlite", influx_settings, coordinator="c", retention_s=100.0, clock=lambda: 0.0
    )
    yield opened
    opened.close()
    assert not {thread.name for thread in threading.enumerate() if thread.name.startswith("splitrail")}


@pytest.mark.usefixtures("nothing_left")
class TestInfluxTelemetryStore(TelemetryStoreContract):
    """The contract, over a real InfluxDB 1.6."""
