"""A real, private InfluxDB 1 for the tests, and a database of its own for each test that stores in it."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_server import InfluxServer
from testbed.private_influxd import PrivateInfluxd

__all__ = ["influx_settings", "influxd"]


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateInfluxd]:
    """One InfluxDB for the whole run; a test that stops or kills one starts its own."""
    with PrivateInfluxd(tmp_path_factory.mktemp("influxd")) as running:
        yield running


@pytest.fixture
def influx_settings(influxd: PrivateInfluxd) -> InfluxSettings:
    """The settings of a coordinator with a database that no other test uses, so that tests share a server."""
    settings = msgspec.structs.replace(influxd.settings, database=f"test-{uuid.uuid4().hex[:12]}")
    make_database(settings)
    return settings


def make_database(settings: InfluxSettings) -> None:
    """Make the database that the settings name."""
    with closing(InfluxServer(settings)) as server:
        server.query(f'CREATE DATABASE "{settings.database}"', timeout_s=30.0)
