"""The InfluxDB store: the contract of every store, over a real server, and what only a server elsewhere has."""

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from eventually import eventually
from fronted_influxd import ORG, TOKEN, FrontedInfluxd
from influxd_fixture import make_database
from telemetry_store_contract import TelemetryStoreContract, inference, mark, reading

from broker.mosquitto import free_port
from coordinator.configuration import InfluxSettings
from coordinator.errors import InfluxError, StoreError
from coordinator.telemetry import influx_queries, influx_shipping
from coordinator.telemetry.influx_answers import Series
from coordinator.telemetry.influx_queries import Queries, Summaries
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import StoredUpTo
from coordinator.telemetry.summarising import NOTHING
from testbed.private_influxd import PrivateInfluxd

pytestmark = pytest.mark.usefixtures("nothing_left")


def open_store(path: Path, settings: InfluxSettings) -> InfluxTelemetryStore:
    # The contract's times lie in 1970: keep them.
    return InfluxTelemetryStore(path, settings, coordinator="c", retention_s=100.0, clock=lambda: 0.0)


def rows(settings: InfluxSettings, statement: str) -> list[tuple[object, ...]]:
    with closing(InfluxServer(settings)) as server:
        (series,) = server.query(statement, timeout_s=30.0)
    return [row for each in series for row in each.values]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "telemetry.sqlite"


class TestInfluxTelemetryStore(TelemetryStoreContract):
    """The contract, over a real InfluxDB 1.6."""

    @pytest.fixture
    def store(self, path: Path, influx_settings: InfluxSettings) -> Iterator[InfluxTelemetryStore]:
        with closing(open_store(path, influx_settings)) as opened:
            yield opened


@pytest.mark.parametrize("store", ["1.8", "2", "3"], indirect=True)
class TestInfluxTelemetryStoreOfNewerForm(TelemetryStoreContract):
    """The contract, written and asked in the published forms of 1.8, 2 and 3, which a real 1.6 stands behind."""

    @pytest.fixture
    def store(
        self,
        request: pytest.FixtureRequest,
        path: Path,
        influx_settings: InfluxSettings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[InfluxTelemetryStore]:
        monkeypatch.setenv("SPLITRAIL_INFLUXDB_TOKEN", TOKEN)
        with FrontedInfluxd(request.param, influx_settings.url) as fronted:
            settings = msgspec.structs.replace(influx_settings, url=fronted.url, org=ORG)
            with closing(open_store(path, settings)) as opened:
                yield opened
            assert all(asked.path != "/write" for asked in fronted.script.asked)


@pytest.fixture
def away() -> InfluxSettings:
    """A server that is not there."""
    return InfluxSettings(url=f"http://127.0.0.1:{free_port()}")


def test_a_server_that_is_away_stands_in_the_way_of_nothing(path: Path, away: InfluxSettings) -> None:
    """What comes is confirmed, for it is on the disk; the report says what waits, where and why."""
    confirmed: list[StoredUpTo] = []
    with closing(open_store(path, away)) as store:
        store.on_stored(confirmed.extend)
        store.record(reading(1, 4.0, marked=mark(1)), 10.0)
        store.flush()
        assert confirmed == [StoredUpTo("pi", "s1", 1)]
        assert store.summarise_inferences("photos", 0.0) == NOTHING
        assert store.summarise_power(0.0) == ()
        report = store.report()
        assert (report.kind, report.where) == ("influxdb", f"{away.url} database splitrail")
        assert (report.waiting, report.dead_letters, report.lost) == (1, 0, 0)
        assert report.obstacle == f"{report.where}: no InfluxDB listens there: start it, or correct influxdb.url"


def test_what_waited_is_sent_by_the_next_run(path: Path, away: InfluxSettings, influx_settings: InfluxSettings) -> None:
    """And once, also where its node has sent it again."""
    for settings in (away, influx_settings):
        with closing(open_store(path, settings)) as store:
            store.record(reading(1, 4.0, marked=mark(1)), 10.0)
            store.flush()
    assert [row[1] for row in rows(influx_settings, "SELECT energy_j FROM energy")] == [10.0]


def test_closing_sends_what_was_recorded(path: Path, influx_settings: InfluxSettings) -> None:
    """A clean stop leaves nothing behind, in InfluxDB and in the file."""
    with closing(open_store(path, influx_settings)) as store:
        for number in range(1_234):
            store.record(inference(f"r{number}", 1.0, at=number / 1e3), 1.0)
    assert len(rows(influx_settings, "SELECT latency_ms FROM inference")) == 1_234
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM outgoing").fetchone() == (0,)


def test_points_that_the_server_will_never_take_are_kept_aside(path: Path, influxd: PrivateInfluxd) -> None:
    """Those older than the retention, here, among one that is not: the report counts them."""
    settings = msgspec.structs.replace(influxd.settings, database=f"young-{time.time_ns()}")
    with closing(InfluxServer(settings)) as server:
        server.query(f'CREATE DATABASE "{settings.database}" WITH DURATION 1h', timeout_s=30.0)
    now = time.time()
    with closing(open_store(path, settings)) as store:
        for number, at in enumerate((now - 7_200.0, now, now - 7_201.0), 1):
            store.record(msgspec.structs.replace(reading(number, 4.0), at=at), at)
        store.flush()
        assert (store.report().waiting, store.report().dead_letters, store.report().obstacle) == (0, 2, None)
    assert len(rows(settings, "SELECT energy_j FROM energy")) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert {reason for (reason,) in connection.execute("SELECT reason FROM dead_letter")} == {
            "partial write: points beyond retention policy dropped=1"
        }


def test_a_database_that_is_made_later_takes_what_waited(
    path: Path, influxd: PrivateInfluxd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `splitrail telemetry init` does, while the coordinator runs."""
    monkeypatch.setattr(influx_shipping, "DENIED_WAIT_S", 0.1)
    settings = msgspec.structs.replace(influxd.settings, database=f"later-{time.time_ns()}")
    with closing(open_store(path, settings)) as store:
        store.record(reading(1, 4.0), 10.0)
        store.flush()
        assert "`splitrail telemetry init` makes it" in (store.report().obstacle or "")
        make_database(settings)
        assert eventually(lambda: store.report().waiting == 0)
        assert [power.power_w for power in store.summarise_power(0.0)] == [4.0]
        assert eventually(lambda: store.report().obstacle is None)


def test_a_store_goes_from_sqlite_to_influxdb_and_knows_what_it_has(
    path: Path, influx_settings: InfluxSettings
) -> None:
    """The ledger goes on: nothing is stored again elsewhere, and all is confirmed."""
    confirmed: list[StoredUpTo] = []
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 0.0)) as before:
        before.record(reading(1, 4.0, marked=mark(1)), 10.0)
    with closing(open_store(path, influx_settings)) as store:
        store.on_stored(confirmed.extend)
        store.record(reading(1, 4.0, marked=mark(1)), 10.0)
        store.record(reading(2, 5.0, marked=mark(2)), 10.0)
        store.flush()
        assert confirmed[-1] == StoredUpTo("pi", "s1", 2)
    assert len(rows(influx_settings, "SELECT energy_j FROM energy")) == 1


def test_what_cannot_be_used_leaves_nothing_open(path: Path, away: InfluxSettings) -> None:
    """A second coordinator on one file, and settings without their secrets."""
    with closing(open_store(path, away)), pytest.raises(StoreError, match="another coordinator uses this store"):
        open_store(path, away)
    with pytest.raises(InfluxError, match=r"influxdb\.username goes with a password"):
        open_store(path, msgspec.structs.replace(away, username="pi"))


def test_a_server_that_hangs_keeps_neither_intake_nor_status(
    path: Path, influx_settings: InfluxSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and says nothing: the status waits once, then not again for a while."""
    monkeypatch.setattr(influx_queries, "WAIT_S", 0.2)
    confirmed: list[StoredUpTo] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = InfluxSettings(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        with closing(open_store(path, settings)) as store:
            store.on_stored(confirmed.extend)
            store.record(reading(1, 4.0, marked=mark(1)), 10.0)
            assert store.summarise_power(0.0) == ()
            assert eventually(lambda: confirmed == [StoredUpTo("pi", "s1", 1)])
            assert (store.report().obstacle or "").endswith("database splitrail: no answer within 0.2 s")
            assert [store.summarise_inferences(f"d{number}", 0.0) for number in range(256)] == [NOTHING] * 256


class TestQueries:
    """Asking on a thread of its own."""

    @staticmethod
    def series(power_w: float) -> tuple[tuple[Series, ...], ...]:
        tags = {"node": "pi", "meter": "model", "source": "modelled", "scope": "board"}
        return (
            (),
            (Series(("time", "mean"), "energy", tags, ((0, power_w),)),),
            (Series(("time", "last"), "energy", tags, ((2_000_000_000, 7),)),),
        )

    def test_one_status_is_one_question(self) -> None:
        """However many deployments it has; something new, or another while, is asked for again."""
        asked: list[str] = []

        def ask(statements: str) -> tuple[tuple[Series, ...], ...]:
            asked.append(statements)
            return self.series(float(len(asked)))

        queries = Queries(ask, where="influx")
        queries.start()
        powers = [
            queries.summaries(since, version).power[0].power_w for since, version in ((5, 1), (5, 1), (5, 2), (6, 2))
        ]
        queries.close()
        assert powers == [1.0, 1.0, 2.0, 3.0]
        assert asked[0].count("time >= 5000000000") == 3

    def test_after_a_failure_there_is_a_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then it is asked again, and the obstacle is gone."""
        failures = 0

        def ask(_: str) -> tuple[tuple[Series, ...], ...]:
            nonlocal failures
            failures += 1
            if failures == 1:
                raise InfluxError("http://influx", "away")
            return self.series(1.0)

        queries = Queries(ask, where="influx")
        queries.start()
        assert [queries.summaries(5.0, number) for number in range(3)] == [Summaries({}, ())] * 3
        assert (failures, queries.obstacle) == (1, "away")
        monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + influx_queries.PAUSE_S)
        assert queries.summaries(5.0, 4).power[0].power_w == 1.0
        assert queries.obstacle is None
        queries.close()

    def test_many_may_ask_at_once(self) -> None:
        """Each gets the answer to its own question."""
        queries = Queries(lambda statements: self.series(float(statements.count("time >= 7000000000"))), where="influx")
        queries.start()
        found: list[tuple[float, float]] = []

        def look(since: float) -> None:
            found.extend((since, queries.summaries(since, 1).power[0].power_w) for _ in range(20))

        threads = [threading.Thread(target=look, args=(since,)) for since in (7.0, 8.0, 7.0, 8.0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        queries.close()
        assert sorted(set(found)) == [(7.0, 3.0), (8.0, 0.0)]

    def test_rows_that_are_none_are_no_reason_to_stop(self) -> None:
        """What a server sends is not trusted to be what was asked for."""
        nonsense = (
            (Series(("time",), "inference", {"deployment": "photos"}, ((), (None,), ("x", True, 2))),),
            (Series((), "energy", {}, ((),)), Series((), "energy", {"node": "pi"}, ())),
        )
        summaries = influx_queries.summaries_of(nonsense)
        assert summaries.inferences["photos"].count == 3
        assert summaries.power == ()
