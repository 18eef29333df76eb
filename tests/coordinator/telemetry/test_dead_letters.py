"""What InfluxDB refused can be seen, given back and removed, while nobody else uses the store."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.configuration import InfluxSettings
from coordinator.errors import StoreError
from coordinator.telemetry.dead_letters import (
    DeadLetter,
    dead_letters,
    discard_dead_letters,
    retry_dead_letters,
    waiting_points,
)
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_shipping import Refused
from coordinator.telemetry.influx_spool import Spool
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.sqlite_file import connect_to_read, prepare, sole_use

LINES = (b"link,src=pi,dst=pc mbps=1 1000000000", b"link,src=pi,dst=pc mbps=2 2000000000")
PLENTY = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that keeps two refused points."""
    path = tmp_path / "telemetry.sqlite"
    prepare(path)
    spool = Spool(path, max_bytes=PLENTY)
    with closing(connect_to_read(path)) as connection:
        spool.bury(connection, tuple(Refused(line, "points beyond retention policy") for line in LINES), now=1_000.0)
    return path


def test_they_are_shown_with_their_reasons(store: Path) -> None:
    """In the order that they were refused; a coordinator may use the store meanwhile."""
    with closing(sole_use(store)):
        assert dead_letters(store) == tuple(
            DeadLetter(1_000.0, "points beyond retention policy", line.decode()) for line in LINES
        )


def test_those_that_are_given_back_are_sent(store: Path, influx_settings: InfluxSettings) -> None:
    """The next coordinator has them in its spool, and the server in its database."""
    assert retry_dead_letters(store, max_bytes=PLENTY) == 2
    assert (dead_letters(store), waiting_points(store)) == ((), 2)
    kept = InfluxTelemetryStore(store, influx_settings, coordinator="hub", retention_s=1e9)
    kept.flush()
    kept.close()
    assert waiting_points(store) == 0
    with closing(InfluxServer(influx_settings)) as server:
        assert server.query("SELECT count(mbps) FROM link")[0][0].values == ((0, 2),)


def test_those_that_are_removed_are_gone(store: Path) -> None:
    """Nothing waits instead."""
    assert discard_dead_letters(store) == 2
    assert (dead_letters(store), waiting_points(store), discard_dead_letters(store)) == ((), 0, 0)


@pytest.mark.parametrize("act", [discard_dead_letters, lambda path: retry_dead_letters(path, max_bytes=PLENTY)])
def test_a_store_in_use_is_left_alone(store: Path, act: Callable[[Path], int]) -> None:
    """Its coordinator would not know."""
    with closing(sole_use(store)), pytest.raises(StoreError, match="another coordinator uses this store; stop it"):
        act(store)
    assert len(dead_letters(store)) == 2


def test_a_store_without_influxdb_has_none(tmp_path: Path) -> None:
    """Nothing of it is changed by looking."""
    path = tmp_path / "telemetry.sqlite"
    prepare(path)
    before = path.read_bytes()
    assert (dead_letters(path), waiting_points(path), discard_dead_letters(path)) == ((), 0, 0)
    assert path.read_bytes() == before


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """Not even its lock."""
    for act in (dead_letters, waiting_points, discard_dead_letters):
        with pytest.raises(StoreError, match="there is no store here"):
            act(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())
