"""The SQLite store: the contract of every store, and what only a file has."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from made_site import birth_message, link_message, plan_message
from telemetry_store_contract import TelemetryStoreContract, inference, load, mark, miss, reading

from coordinator.errors import StoreError
from coordinator.telemetry.ledger_table import MAX_SESSIONS_OF_A_NODE
from coordinator.telemetry.sqlite_schema import FIRST
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import StoredUpTo

TABLES = (
    "energy",
    "link",
    "load",
    "inference",
    "inference_stage",
    "inference_transfer",
    "miss",
    "plan",
    "plan_stage",
    "node_event",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "telemetry.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteTelemetryStore]:
    # The contract's times lie in 1970: keep them.
    opened = SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 0.0)
    yield opened
    opened.close()
    assert "splitrail-store" not in {thread.name for thread in threading.enumerate()}


class TestSqliteTelemetryStore(TelemetryStoreContract):
    """The contract, over a real file."""


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def record_one_of_each(store: SqliteTelemetryStore, arrived_at: float) -> None:
    for message in (
        reading(1, 4.0),
        link_message("pi", "pc"),
        load(),
        miss(),
        inference("r", 5.0),
        plan_message(1, ("pi", 0, 1), ("pc", 1, 4)),
        birth_message("pi"),
    ):
        store.record(message, arrived_at)


def test_every_message_becomes_rows(store: SqliteTelemetryStore, path: Path) -> None:
    """All tables are filled, and every energy figure bears its source and scope."""
    record_one_of_each(store, 1.0)
    store.flush()
    counts = {table: rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    assert counts == dict.fromkeys(TABLES, 1) | {"plan_stage": 2}
    assert rows(path, "SELECT source, scope FROM energy") == [("modelled", "board")]
    assert rows(path, "SELECT source, scope FROM inference") == [("modelled", "board")]


def test_the_file_is_in_wal_mode(store: SqliteTelemetryStore, path: Path) -> None:
    """Readers never wait for the writer."""
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_what_is_older_than_the_retention_is_deleted(path: Path) -> None:
    """The file does not grow for ever: the next start finds only what is young enough."""
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 1_000.0)) as store:
        record_one_of_each(store, 1_000.0)
    now = 1_101.0
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: now)) as store:
        store.record(inference("young", 1.0), now)
    assert {table: rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES} == {
        **dict.fromkeys(TABLES, 0),
        "inference": 1,
        "inference_stage": 1,
        "inference_transfer": 1,
    }


def test_closing_keeps_what_was_recorded(path: Path) -> None:
    """A clean stop loses nothing, and another start goes on with the same file."""
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 0.0)) as store:
        for number in range(1_234):
            store.record(inference(f"r{number}", 1.0), 1.0)
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 0.0)) as store:
        assert store.summarise_inferences("photos", 0.0).count == 1_234


def test_a_number_that_sqlite_cannot_hold_loses_its_own_message_only(store: SqliteTelemetryStore, path: Path) -> None:
    """A hostile sequence number is counted as lost; what came with it is kept."""
    store.record(msgspec.structs.replace(reading(1, 1.0), sequence=2**70), 1.0)
    store.record(reading(2, 1.0), 1.0)
    store.flush()
    assert store.lost == 1
    assert rows(path, "SELECT sequence FROM energy") == [(2,)]


def test_a_failing_disk_is_counted_and_survived(store: SqliteTelemetryStore, path: Path) -> None:
    """Where a batch cannot be written it is lost and counted, and the store goes on."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE energy RENAME TO elsewhere")
        store.record(reading(1, 1.0), 1.0)
        store.flush()
        assert store.lost == 1
        connection.execute("ALTER TABLE elsewhere RENAME TO energy")
    store.record(reading(2, 1.0), 1.0)
    store.flush()
    assert rows(path, "SELECT sequence FROM energy") == [(2,)]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kind of file is left alone and closed again, and the message names the way out."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remember(path: Path, timeout: float) -> sqlite3.Connection:
        opened.append(connect(path, timeout=timeout))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", remember)
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and they are longer than a header.\n" * 10)
    with pytest.raises(StoreError, match=r"notes\.txt: cannot be used as the telemetry store: .* under `store`"):
        SqliteTelemetryStore(path, retention_s=1.0)
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        opened[0].execute("SELECT 1")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    """A database with other tables is left alone."""
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    with pytest.raises(StoreError, match="is a database of something else"):
        SqliteTelemetryStore(path, retention_s=1.0)


def test_a_store_has_one_writer(store: SqliteTelemetryStore, path: Path) -> None:
    """A second coordinator is told at once; when the first has closed, the store is free."""
    with pytest.raises(StoreError, match="another coordinator uses this store"):
        SqliteTelemetryStore(path, retention_s=1.0)
    store.close()
    SqliteTelemetryStore(path, retention_s=1.0).close()


def test_a_newer_schema_is_refused(store: SqliteTelemetryStore, path: Path) -> None:
    """A store that a newer splitrail has written is not touched."""
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="has telemetry schema 99, this splitrail knows 2"):
        SqliteTelemetryStore(path, retention_s=1.0)


def test_a_store_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    """What it holds stays, and what came new has its place."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"BEGIN; {FIRST} PRAGMA user_version = 1; COMMIT;")
        connection.execute("INSERT INTO node_event (node, session, state, arrived_at) VALUES ('pi', 's', 'online', 1)")
        connection.execute("INSERT INTO plan VALUES ('photos', 7, 1, 1, 'sha', 'pi', 'exact', 'first', 1, 1, 1)")
        connection.commit()
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 0.0)) as store:
        assert store.last_epoch("photos") == 7
        record_one_of_each(store, 1.0)
        store.flush()
        assert store.lost == 0
    assert rows(path, "SELECT count(*) FROM node_event") == [(2,)]
    assert rows(path, "SELECT epoch, term FROM plan ORDER BY epoch") == [(1, 0), (7, 0)]
    assert rows(path, "PRAGMA user_version") == [(2,)]


def test_a_store_remembers_what_it_has(path: Path) -> None:
    """After a restart what comes again is a duplicate, however long ago its rows were deleted, and is confirmed."""
    now = [0.0]
    confirmed: list[StoredUpTo] = []
    for at in (1.0, 500.0):
        now[0] = at
        with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: now[0])) as store:
            store.on_stored(confirmed.extend)
            store.record(reading(1, 4.0, marked=mark(1)), at)
    assert confirmed == [StoredUpTo("pi", "s1", 1)] * 2
    assert rows(path, "SELECT count(*) FROM energy") == [(0,)]
    assert rows(path, "SELECT node, session, contiguous, ahead, stored, skipped FROM ledger") == [
        ("pi", "s1", 1, "[]", 1, 0)
    ]


def test_what_a_failing_disk_refuses_is_not_confirmed(store: SqliteTelemetryStore, path: Path) -> None:
    """Marked telemetry is not lost then: it comes again, and is stored as if it came for the first time."""
    confirmed: list[StoredUpTo] = []
    store.on_stored(confirmed.extend)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE energy RENAME TO elsewhere")
        store.record(reading(1, 1.0, marked=mark(1)), 1.0)
        store.flush()
        assert (store.lost, confirmed) == (0, [])
        connection.execute("ALTER TABLE elsewhere RENAME TO energy")
    store.record(reading(1, 1.0, marked=mark(1)), 1.0)
    store.flush()
    assert confirmed == [StoredUpTo("pi", "s1", 1)]
    assert rows(path, "SELECT sequence FROM energy") == [(1,)]


def test_what_cannot_be_stored_at_all_is_settled(store: SqliteTelemetryStore, path: Path) -> None:
    """A hostile figure is counted as lost and does not come again for ever."""
    confirmed: list[StoredUpTo] = []
    store.on_stored(confirmed.extend)
    store.record(msgspec.structs.replace(reading(1, 1.0), sequence=2**70, mark=mark(1)), 1.0)
    store.flush()
    assert (store.lost, confirmed) == (1, [StoredUpTo("pi", "s1", 1)])


def test_a_message_is_stored_whole_or_not_at_all(store: SqliteTelemetryStore, path: Path) -> None:
    """A hostile figure deep in a report leaves no half of it."""
    report = inference("r1", 1.0)
    transfer = msgspec.structs.replace(report.transfers[0], size_bytes=2**70)
    store.record(msgspec.structs.replace(report, transfers=(transfer,)), 1.0)
    store.record(inference("r2", 1.0), 1.0)
    store.flush()
    assert store.lost == 1
    assert rows(path, "SELECT request_id FROM inference") == [("r2",)]
    assert rows(path, "SELECT count(*) FROM inference_stage") == [(1,)]


def test_a_confirmation_that_fails_ends_nothing(store: SqliteTelemetryStore) -> None:
    """The store goes on, and confirms again when the message comes again."""
    confirmed: list[StoredUpTo] = []

    def fail_once(stored: tuple[StoredUpTo, ...]) -> None:
        store.on_stored(confirmed.extend)
        raise RuntimeError("the first time")

    store.on_stored(fail_once)
    for _ in range(2):
        store.record(reading(1, 1.0, marked=mark(1)), 1.0)
        store.flush()
    assert confirmed == [StoredUpTo("pi", "s1", 1)]


def test_a_node_that_restarts_for_ever_has_a_bounded_ledger(store: SqliteTelemetryStore, path: Path) -> None:
    """The sessions that were heard of longest ago are forgotten; those of other nodes are not."""
    store.record(reading(1, 1.0, node="pc", marked=mark(1)), 1.0)
    for number in range(MAX_SESSIONS_OF_A_NODE + 5):
        store.record(reading(number, 1.0, marked=mark(1, session=f"run{number}")), 2.0)
    store.flush()
    sessions = [session for (session,) in rows(path, "SELECT session FROM ledger WHERE node = 'pi'")]
    assert sorted(sessions) == sorted(f"run{number}" for number in range(5, MAX_SESSIONS_OF_A_NODE + 5))
    assert rows(path, "SELECT count(*) FROM ledger WHERE node = 'pc'") == [(1,)]


def test_a_session_that_is_long_silent_is_forgotten(path: Path) -> None:
    """After a month, or the retention where that is longer."""
    day = 86_400.0
    with closing(SqliteTelemetryStore(path, retention_s=day, clock=lambda: 0.0)) as store:
        store.record(reading(1, 1.0, marked=mark(1)), 0.0)
    for days, kept in ((29, 1), (31, 0)):
        with closing(SqliteTelemetryStore(path, retention_s=day, clock=lambda: days * day)) as store:  # noqa: B023  # used before the loop goes on
            store.flush()
        assert rows(path, "SELECT count(*) FROM ledger") == [(kept,)]
