"""The SQLite store: the contract of every store, and what only a file has."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from made_site import birth_message, link_message, offline, plan_message, profile_message
from telemetry_store_contract import (
    TelemetryStoreContract,
    inference,
    load,
    machine,
    mark,
    miss,
    reading,
    refusal,
)

from broker.messages import ProfileFailure
from coordinator.errors import StoreError
from coordinator.telemetry.ledger_table import MAX_SESSIONS_OF_A_NODE
from coordinator.telemetry.sqlite_schema import FIRST, SECOND
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import ClockSkew, StoredUpTo

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
    "event",
    "machine",
    "profile",
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
        machine(),
        profile_message("pi"),
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


def test_two_readings_of_a_link_from_one_sample_are_two(store: SqliteTelemetryStore, path: Path) -> None:
    """They bear one time, that of the sample, and each has its own place in the ledger; the same again is the same."""
    first, second = (
        msgspec.structs.replace(link_message("pi", "pc", rtt_ms=rtt_ms, at=10.0), mark=mark(sequence))
        for sequence, rtt_ms in ((1, 2.0), (2, 3.0))
    )
    for reading_of_link in (first, second, first, second):
        store.record(reading_of_link, 10.0)
    store.flush()
    assert rows(path, "SELECT rtt_ms FROM v_link ORDER BY time_ns") == [(2.0,), (3.0,)]
    assert rows(path, "SELECT stored FROM ledger") == [(2,)]


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
    with pytest.raises(StoreError, match="has telemetry schema 99, this splitrail knows 4"):
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
    assert rows(path, "SELECT count(*) FROM event") == [(2,)]
    assert rows(path, "SELECT epoch, term FROM plan ORDER BY epoch") == [(1, 0), (7, 0)]
    assert rows(path, "PRAGMA user_version") == [(4,)]


OLD = """
INSERT INTO energy VALUES ('pi', 's1', 1, 1000, 999.5, 20, 4, 2, 'model', 'modelled', 'board');
INSERT INTO link VALUES ('pi', 'pc', 5000, 1000, 1, 0.1, 90, 5, 'probe');
INSERT INTO link VALUES ('pc', 'pi', 1000, 1000, 1, 0.1, 90, 5, 'probe');
INSERT INTO link VALUES ('pc', 'pi', 1000.0000002, 1000, 2, 0.1, 90, 5, 'probe');
INSERT INTO load VALUES ('pi', 's1', 1000, 1000, 0.5, 0.1, 1);
INSERT INTO miss VALUES ('pi', 'photos', 3, 1000, 1000, 'pi', 'pc', 1, 120, 80, 'failed');
INSERT INTO inference VALUES (7, 'photos', 'r1', 3, 'pi', 900, 1000, 100000, 1, 2, 'modelled', 'board', NULL, 'slow');
INSERT INTO inference_stage VALUES (7, 0, 'pi', 0, 1, 40, 0), (7, 1, 'laptop', 1, 1, 0, 0), (7, 2, 'pc', 1, 4, 15, 1);
INSERT INTO inference_transfer VALUES (7, 0, 'pi', 'laptop', 100, 5), (7, 1, 'laptop', 'pc', 100, 6);
INSERT INTO inference VALUES (8, 'photos', 'r2', 3, 'pi', 0, 1000, 0, 0, 0, 'modelled', 'board', 'no plan', NULL);
INSERT INTO plan VALUES ('photos', 3, 1000, 1000, 'sha', 'pi', 'exact', 'better', 100, 1, 2, 5);
INSERT INTO plan_stage VALUES
    ('photos', 3, 1000, 0, 'pi', 0, 1), ('photos', 3, 1000, 1, 'laptop', 1, 1), ('photos', 3, 1000, 2, 'pc', 1, 4);
INSERT INTO node_event VALUES
    ('pi', 's1', 'online', 1000, 'edge', '0.3', NULL), ('pi', 's1', 'online', 1010, 'edge', '0.3', NULL),
    ('pi', 's1', 'offline', 1020, NULL, NULL, NULL);
"""
"""Rows of a store of the second version."""


def test_what_an_older_store_holds_is_in_the_views(path: Path) -> None:
    """With the times and the words that it would have had; births that came again at a connection are one."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"BEGIN; {FIRST} {SECOND} {OLD} PRAGMA user_version = 2; COMMIT;")
    with closing(SqliteTelemetryStore(path, retention_s=1e9, clock=lambda: 1_000.0)) as store:
        old_birth = msgspec.structs.replace(birth_message("pi"), at=0.0)
        for status in (offline("pi"), old_birth):
            store.record(status, 1_030.0)
        store.flush()
        assert store.last_epoch("photos") == 3
    s = 10**9
    assert rows(path, "SELECT time_ns, used_j, emulated FROM v_energy") == [(999_500_000_000, 8.0, None)]
    assert rows(path, "SELECT src, time_ns, rtt_ms, way FROM v_link ORDER BY src DESC, time_ns") == [
        ("pi", 1_000 * s, 1.0, "direct"),
        ("pc", 1_000 * s, 1.0, "direct"),
        ("pc", 1_000 * s + 1, 2.0, "direct"),
    ], "a clock that was far off is not believed, and two readings of one microsecond stay two"
    assert rows(path, "SELECT load, emulated FROM v_node") == [(0.5, "yes")]
    assert rows(path, "SELECT time_ns, outcome, route, stages, sent_bytes FROM v_inference ORDER BY request_id") == [
        (900 * s, "rescued", "pi>pc", 2, 200),
        (1_000 * s, "failed", None, 0, 0),
    ]
    assert rows(path, "SELECT node, position FROM v_stage ORDER BY position") == [
        ("pi", "000"),
        ("laptop", "001"),
        ("pc", "002"),
    ]
    assert rows(path, "SELECT split, term, model FROM v_plan") == [("pi 0-0, laptop relays, pc 1-3", 5, None)]
    assert rows(path, "SELECT kind, time_ns, node, text FROM v_event ORDER BY time_ns, kind DESC") == [
        ("miss", 1_000 * s, "pc", "silent with the tensors of pi: failed"),
        ("birth", 1_000 * s, "pi", "came: edge, splitrail 0.3"),
        ("death", 1_020 * s, "pi", "went"),
        ("birth", 1_030 * s, "pi", "came: edge, splitrail 0.3"),
    ], "the death was known; that it came again since is news"


def test_what_is_said_again_is_kept_once(store: SqliteTelemetryStore, path: Path) -> None:
    """The broker repeats births, profiles and plans at every connection, and a node its refusals at every attempt."""
    plan = plan_message(1, ("pi", 0, 4))
    birth = msgspec.structs.replace(birth_message("pi"), at=5.0)
    failure = ProfileFailure(node="pc", model="b" * 64, reason="no memory")
    repeated = (birth, profile_message("pi"), plan, refusal(), failure)
    for at in (5.0, 50.0):
        for message in repeated:
            store.record(message, at)
        store.record(msgspec.structs.replace(plan, term=int(at)), at)
        store.record(msgspec.structs.replace(birth, connected_s=at - 5.0), at)
    store.flush()
    assert rows(path, "SELECT kind, time_ns FROM v_event ORDER BY kind") == [
        ("birth", 5 * 10**9),
        ("refusal", 5 * 10**9),
        ("unprofiled", 5 * 10**9),
    ]
    assert rows(path, "SELECT count(*) FROM v_profile") == [(1,)]
    assert rows(path, "SELECT count(*) FROM v_plan") == [(1,)]


def test_what_changes_is_kept_again(store: SqliteTelemetryStore, path: Path) -> None:
    """A node that goes and comes back in the same run, a new attempt that fails otherwise, another epoch refused."""
    for message in (
        msgspec.structs.replace(birth_message("pi"), at=5.0),
        offline("pi"),
        msgspec.structs.replace(birth_message("pi"), at=9.0),
        refusal(),
        msgspec.structs.replace(refusal(), epoch=2),
        ProfileFailure(node="pc", model="b" * 64, reason="no memory"),
        ProfileFailure(node="pc", model="b" * 64, reason="no disk"),
        ClockSkew("pi", 2.0),
        ClockSkew("pi", 2.0),
    ):
        store.record(message, 10.0)
    store.flush()
    assert rows(path, "SELECT kind, count(*) FROM v_event GROUP BY kind") == [
        ("birth", 2),
        ("clock", 2),
        ("death", 1),
        ("refusal", 2),
        ("unprofiled", 2),
    ]


def test_what_was_said_long_ago_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a month without a word, and beyond a number of subjects, those heard of longest ago first."""
    monkeypatch.setattr("coordinator.telemetry.said.MAX_SUBJECTS", 2)
    day = 86_400.0
    with closing(SqliteTelemetryStore(path, retention_s=day, clock=lambda: 0.0)) as store:
        for number, node in enumerate(("pi", "laptop", "pc")):
            store.record(birth_message(node), float(number))
    for days, kept in ((29, ["status laptop s1", "status pc s1"]), (31, [])):
        with closing(SqliteTelemetryStore(path, retention_s=day, clock=lambda: days * day)) as store:  # noqa: B023  # used before the loop goes on
            store.flush()
        assert [subject for (subject,) in rows(path, "SELECT subject FROM said ORDER BY subject")] == kept


def test_the_last_epoch_outlives_its_plan(path: Path) -> None:
    """Its row is deleted after the retention; agents follow no plan of a lower epoch for ever."""
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 0.0)) as store:
        store.record(plan_message(7, ("pi", 0, 4)), 1.0)
    with closing(SqliteTelemetryStore(path, retention_s=100.0, clock=lambda: 500.0)) as store:
        store.flush()
        assert rows(path, "SELECT count(*) FROM plan") == [(0,)]
        assert store.last_epoch("photos") == 7


def test_a_failing_disk_is_an_obstacle_until_it_works(store: SqliteTelemetryStore, path: Path) -> None:
    """The report says why nothing is kept, and that it is again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE energy RENAME TO elsewhere")
        store.record(reading(1, 1.0), 1.0)
        store.flush()
        report = store.report()
        assert (report.kind, report.where, report.lost) == ("sqlite", str(path), 1)
        assert report.obstacle is not None
        assert "telemetry.sqlite cannot be written: no such table" in report.obstacle
        connection.execute("ALTER TABLE elsewhere RENAME TO energy")
    store.record(reading(2, 1.0), 1.0)
    store.flush()
    assert store.report().obstacle is None


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
