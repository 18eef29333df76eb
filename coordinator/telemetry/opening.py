"""Which telemetry store a coordinator has, by its settings."""

from typing import Final

from coordinator.configuration import CoordinatorSettings
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import TelemetryStore

_SECONDS_PER_DAY: Final = 86_400.0


def open_store(settings: CoordinatorSettings) -> TelemetryStore:
    """An InfluxDB where the settings name one, else the file. StoreError or InfluxError where it cannot be used."""
    retention_s = settings.retention_days * _SECONDS_PER_DAY
    if settings.influxdb is None:
        return SqliteTelemetryStore(settings.store, retention_s=retention_s, coordinator=settings.name)
    from coordinator.telemetry.influx_store import InfluxTelemetryStore  # noqa: PLC0415  # its client imports slowly

    return InfluxTelemetryStore(settings.store, settings.influxdb, coordinator=settings.name, retention_s=retention_s)
