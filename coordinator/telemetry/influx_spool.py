"""Points on their way to an InfluxDB: rows of the store's file, written with the ledger, deleted once they are stored.

What is sent when is `coordinator.telemetry.influx_shipper`'s; transactions are the intake's.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.errors import StoreError
from coordinator.telemetry.influx_shipping import Lines, Refused
from coordinator.telemetry.sqlite_file import connect_to_read

MAX_POINTS: Final = 1_000
"""Of a batch, and of a row: 1.6.7 takes 118,000 points a second so, and 171,000 by 5,000 (docs/telemetry.md)."""
MAX_ROW_BYTES: Final = 256_000
MAX_DEAD_LETTERS: Final = 1_000

# `points_up_to` and `bytes_up_to` count from the first row on, so that what waits is told by two rows.
_TABLES = """
CREATE TABLE IF NOT EXISTS outgoing (
    id INTEGER PRIMARY KEY AUTOINCREMENT, points INTEGER NOT NULL, points_up_to INTEGER NOT NULL,
    bytes_up_to INTEGER NOT NULL, lines BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS outgoing_dropped (points INTEGER NOT NULL);
INSERT INTO outgoing_dropped SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM outgoing_dropped);
CREATE TABLE IF NOT EXISTS dead_letter (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, reason TEXT NOT NULL, line BLOB NOT NULL UNIQUE
);
"""
_INSERT = """
INSERT INTO outgoing (points, points_up_to, bytes_up_to, lines) VALUES (
    ?1, ?1 + coalesce((SELECT points_up_to FROM outgoing ORDER BY id DESC LIMIT 1), 0),
    length(?2) + coalesce((SELECT bytes_up_to FROM outgoing ORDER BY id DESC LIMIT 1), 0), ?2
)
"""
_WAITING = """
SELECT (SELECT points_up_to FROM outgoing ORDER BY id DESC LIMIT 1)
    - (SELECT points_up_to - points FROM outgoing WHERE id > ? ORDER BY id LIMIT 1)
"""

log = logging.getLogger("splitrail.store")


@dataclass(frozen=True, slots=True)
class Batch:
    """Points in the order that they came, and the last row that they are of."""

    up_to: int
    lines: Lines


class Spool:
    """The tables of points that wait and of those that were refused. StoreError if the file cannot have them.

    `begin`, `add` and `finish` belong to the intake's thread and its transactions, `next_batch`, `bury` and `settle` to
    the shipper's; the rest to any. Beyond `max_bytes` the oldest points are dropped, and counted.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._added: list[bytes] = []
        self._sent_up_to = 0
        self._settled_up_to = 0
        self._has_dropped = False
        try:
            with closing(connect_to_read(path)) as connection:
                connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot keep what waits for InfluxDB: {error}; name another `store`") from None

    def begin(self, connection: sqlite3.Connection) -> None:
        """Delete what is settled, as the first act of a transaction: it takes the file's lock before it reads."""
        connection.execute("DELETE FROM outgoing WHERE id <= ?", (self._settled_up_to,))
        self._added.clear()

    def add(self, lines: Iterable[bytes]) -> None:
        """Let points wait, once the transaction is finished."""
        self._added.extend(lines)

    def finish(self, connection: sqlite3.Connection) -> None:
        """Write what was added, and drop what is too much."""
        for lines in _rows(self._added):
            connection.execute(_INSERT, (len(lines), b"\n".join(lines)))
        if self._added:
            self._drop_beyond_bound(connection)
        self._added.clear()

    @property
    def settled_up_to(self) -> int:
        """The last row that the server has; it rises whenever there may be something new to ask for."""
        return self._settled_up_to

    def next_batch(self, connection: sqlite3.Connection) -> Batch:
        """The oldest points that are not settled, 1,000 at most."""
        lines: list[bytes] = []
        up_to = self._settled_up_to
        with closing(
            connection.execute("SELECT id, points, lines FROM outgoing WHERE id > ? ORDER BY id", (up_to,))
        ) as rows:
            for number, points, joined in rows:
                if lines and len(lines) + points > MAX_POINTS:
                    break
                lines += joined.split(b"\n")
                up_to = number
        self._sent_up_to = up_to
        return Batch(up_to, tuple(lines))

    def bury(self, connection: sqlite3.Connection, refused: tuple[Refused, ...], now: float) -> None:
        """Keep refused points aside, the newest 1,000, each once however often it was refused."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR IGNORE INTO dead_letter (at, reason, line) VALUES (?, ?, ?)",
                [(now, each.reason, each.line) for each in refused],
            )
            connection.execute(
                "DELETE FROM dead_letter WHERE id NOT IN (SELECT id FROM dead_letter ORDER BY id DESC LIMIT ?)",
                (MAX_DEAD_LETTERS,),
            )

    def settle(self, batch: Batch) -> None:
        """Forget a batch: the intake deletes it, so that two threads never wait for each other to write."""
        self._settled_up_to = batch.up_to

    def waiting(self, connection: sqlite3.Connection) -> int:
        """How many points are not settled."""
        (points,) = connection.execute(_WAITING, (self._settled_up_to,)).fetchone()
        return int(points or 0)

    def dropped(self, connection: sqlite3.Connection) -> int:
        """How many points were dropped since the file was made, because too many waited."""
        (points,) = connection.execute("SELECT sum(points) FROM outgoing_dropped").fetchone()
        return int(points or 0)

    def dead_letters(self, connection: sqlite3.Connection) -> int:
        """How many refused points are kept."""
        (count,) = connection.execute("SELECT count(*) FROM dead_letter").fetchone()
        return int(count)

    def _drop_beyond_bound(self, connection: sqlite3.Connection) -> None:
        (end,) = connection.execute("SELECT bytes_up_to FROM outgoing ORDER BY id DESC LIMIT 1").fetchone()
        # What is on its way may have arrived: it is neither dropped nor counted.
        oldest = max(self._sent_up_to, self._settled_up_to)
        kept = connection.execute(
            "SELECT id FROM outgoing WHERE id > ? AND bytes_up_to - length(lines) >= ? ORDER BY id LIMIT 1",
            (oldest, end - self._max_bytes),
        ).fetchone()
        if kept is None:
            return
        bounds = (oldest, kept[0])
        (points,) = connection.execute("SELECT sum(points) FROM outgoing WHERE id > ? AND id < ?", bounds).fetchone()
        if not points:
            return
        connection.execute("UPDATE outgoing_dropped SET points = points + ?", (points,))
        connection.execute("DELETE FROM outgoing WHERE id > ? AND id < ?", bounds)
        if not self._has_dropped:
            self._has_dropped = True
            log.error(
                "%s: more than influxdb.spool_mb waits for InfluxDB: the oldest is dropped, `splitrail status` counts",
                self._path,
            )


def _rows(lines: list[bytes]) -> Iterator[list[bytes]]:
    """The lines in runs of a bounded number and size."""
    run: list[bytes] = []
    size = 0
    for line in lines:
        if run and (len(run) == MAX_POINTS or size + len(line) > MAX_ROW_BYTES):
            yield run
            run, size = [], 0
        run.append(line)
        size += len(line) + 1
    if run:
        yield run
