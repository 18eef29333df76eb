"""The spool of points on their way: in order, durable with the transaction, bounded, every drop counted."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.errors import StoreError
from coordinator.telemetry.influx_shipping import Refused
from coordinator.telemetry.influx_spool import MAX_DEAD_LETTERS, MAX_POINTS, MAX_ROW_BYTES, Spool
from coordinator.telemetry.sqlite_file import connect_to_write, prepare


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "telemetry.sqlite"
    prepare(path)
    return path


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect_to_write(path)) as opened:
        yield opened


@pytest.fixture
def spool(path: Path) -> Spool:
    return Spool(path, max_bytes=1_000_000)


def keep(spool: Spool, connection: sqlite3.Connection, *lines: bytes) -> None:
    """One transaction of the intake."""
    with connection:
        connection.execute("BEGIN")
        spool.begin(connection)
        spool.add(lines)
        spool.finish(connection)


def lines_of(count: int, size: int = 20) -> list[bytes]:
    return [f"m x={number} ".encode().ljust(size, b"0") for number in range(count)]


def test_points_come_out_in_the_order_that_they_came(spool: Spool, connection: sqlite3.Connection) -> None:
    """Small commits are joined into one batch; what is settled does not come again."""
    keep(spool, connection, b"a", b"b")
    keep(spool, connection, b"c")
    batch = spool.next_batch(connection)
    assert (batch.lines, spool.waiting(connection)) == ((b"a", b"b", b"c"), 3)
    spool.settle(batch)
    assert (spool.next_batch(connection).lines, spool.waiting(connection)) == ((), 0)
    keep(spool, connection, b"d")
    assert (spool.next_batch(connection).lines, spool.waiting(connection)) == ((b"d",), 1)


def test_a_batch_has_a_thousand_points_at_most(spool: Spool, connection: sqlite3.Connection) -> None:
    """However many one commit brought."""
    lines = lines_of(2 * MAX_POINTS + 1)
    keep(spool, connection, *lines)
    keep(spool, connection, b"last")
    came: list[bytes] = []
    sizes = []
    while (batch := spool.next_batch(connection)).lines:
        sizes.append(len(batch.lines))
        came += batch.lines
        spool.settle(batch)
    assert came == [*lines, b"last"]
    assert sizes == [MAX_POINTS, MAX_POINTS, 2]


def test_what_is_settled_is_deleted_by_the_next_transaction(
    spool: Spool, connection: sqlite3.Connection, path: Path
) -> None:
    """The file does not grow; until then, a new run would only send it again."""
    keep(spool, connection, b"a")
    spool.settle(spool.next_batch(connection))
    assert Spool(path, max_bytes=1_000_000).next_batch(connection).lines == (b"a",)
    keep(spool, connection)
    assert connection.execute("SELECT count(*) FROM outgoing").fetchone() == (0,)


def test_a_transaction_that_fails_leaves_nothing(spool: Spool, connection: sqlite3.Connection) -> None:
    """What it added comes again with its messages, and once."""
    with pytest.raises(RuntimeError), connection:
        connection.execute("BEGIN")
        spool.begin(connection)
        spool.add([b"a"])
        raise RuntimeError
    keep(spool, connection, b"a")
    assert (spool.next_batch(connection).lines, spool.waiting(connection)) == ((b"a",), 1)


def test_another_run_goes_on_with_what_waits(spool: Spool, connection: sqlite3.Connection, path: Path) -> None:
    """A batch that was under way is sent again."""
    keep(spool, connection, b"a", b"b")
    spool.next_batch(connection)
    again = Spool(path, max_bytes=1_000_000)
    assert (again.next_batch(connection).lines, again.waiting(connection)) == ((b"a", b"b"), 2)


def test_beyond_its_bound_the_oldest_is_dropped_and_counted(path: Path, connection: sqlite3.Connection) -> None:
    """Kept and dropped are all that came, also in the next run's count."""
    spool = Spool(path, max_bytes=10_000)
    for start in range(0, 100, 5):
        keep(spool, connection, *(f"{number:04d}".encode().ljust(200, b"0") for number in range(start, start + 5)))
    waiting, dropped = spool.waiting(connection), spool.dropped(connection)
    assert waiting + dropped == 100
    assert 40 <= waiting <= 50
    assert spool.next_batch(connection).lines[0].startswith(f"{dropped:04d}".encode())
    assert Spool(path, max_bytes=10_000).dropped(connection) == dropped


def test_what_is_on_its_way_is_not_dropped(path: Path, connection: sqlite3.Connection) -> None:
    """It may have arrived: it would be counted as lost and be there."""
    spool = Spool(path, max_bytes=10_000)
    keep(spool, connection, *lines_of(40, 200))
    under_way = spool.next_batch(connection)
    for _ in range(3):
        keep(spool, connection, *lines_of(40, 200))
    assert spool.dropped(connection) == 80
    spool.settle(under_way)
    assert spool.waiting(connection) == 40
    assert len(spool.next_batch(connection).lines) == 40


def test_a_row_is_bounded_in_bytes(spool: Spool, connection: sqlite3.Connection) -> None:
    """So that the oldest can be dropped in small parts."""
    keep(spool, connection, *lines_of(10, 100_000))
    (largest,) = connection.execute("SELECT max(length(lines)) FROM outgoing").fetchone()
    assert largest <= MAX_ROW_BYTES


def test_refused_points_are_kept_once_and_the_newest_of_them(spool: Spool, connection: sqlite3.Connection) -> None:
    """A batch that is sent again after a kill is refused again; a stream of bad points does not fill the disk."""
    for _ in range(2):
        spool.bury(connection, (Refused(b"bad", "too old"),), 1.0)
    assert connection.execute("SELECT at, reason, line FROM dead_letter").fetchall() == [(1.0, "too old", b"bad")]
    for start in (0, 600):
        refused = tuple(Refused(str(number).encode(), "too old") for number in range(start, start + 600))
        spool.bury(connection, refused, 2.0)
    assert spool.dead_letters(connection) == MAX_DEAD_LETTERS
    assert connection.execute("SELECT line FROM dead_letter ORDER BY id DESC LIMIT 1").fetchone() == (b"1199",)


def test_a_file_that_cannot_hold_it_is_said(tmp_path: Path) -> None:
    """As of every store."""
    with pytest.raises(StoreError, match="cannot keep what waits for InfluxDB"):
        Spool(tmp_path, max_bytes=1)
