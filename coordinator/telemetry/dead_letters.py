"""Points that InfluxDB has refused for good, as the coordinator's file keeps them: shown, given back or removed.

That they are kept, and how many, is the spool's part.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from coordinator.errors import StoreError
from coordinator.telemetry.export_sqlite import open_read_only
from coordinator.telemetry.influx_spool import Spool
from coordinator.telemetry.sqlite_file import connect_to_write, sole_use


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A point in line protocol that was refused at a time (s since 1970), and the server's reason."""

    at: float
    reason: str
    line: str


def dead_letters(path: Path) -> tuple[DeadLetter, ...]:
    """Those in the store at `path`, the oldest first; a coordinator may use it meanwhile. StoreError if it is none."""
    with closing(open_read_only(path)) as connection, _one_sentence(path):
        if not _has(connection, "dead_letter"):
            return ()
        rows = connection.execute("SELECT at, reason, line FROM dead_letter ORDER BY id").fetchall()
    return tuple(DeadLetter(at, reason, line.decode(errors="replace")) for at, reason, line in rows)


def waiting_points(path: Path) -> int:
    """How many points wait in the store at `path` for InfluxDB."""
    with closing(open_read_only(path)) as connection, _one_sentence(path):
        if not _has(connection, "outgoing"):
            return 0
        (points,) = connection.execute("SELECT coalesce(sum(points), 0) FROM outgoing").fetchone()
        return int(points)


def discard_dead_letters(path: Path) -> int:
    """Remove them all, and return how many they were. StoreError while a coordinator uses the store."""
    with _alone(path), _writing(path) as connection:
        if not _has(connection, "dead_letter"):
            return 0
        return connection.execute("DELETE FROM dead_letter").rowcount


def retry_dead_letters(path: Path, *, max_bytes: int) -> int:
    """Put them all back into the spool, which the next coordinator sends; return how many they were.

    Beyond `max_bytes` the spool's oldest points are dropped and counted, as always. StoreError as above.
    """
    with _alone(path):
        spool = Spool(path, max_bytes=max_bytes)
        with _writing(path) as connection:
            lines = [line for (line,) in connection.execute("SELECT line FROM dead_letter ORDER BY id").fetchall()]
            spool.add(lines)
            spool.finish(connection)
            connection.execute("DELETE FROM dead_letter")
        return len(lines)


def _alone(path: Path) -> closing[BinaryIO]:
    """Keep coordinators away from a store that is there."""
    open_read_only(path).close()
    return closing(sole_use(path))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction, which is on the disk afterwards."""
    with _one_sentence(path), closing(connect_to_write(path)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


@contextlib.contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: its dead letters cannot be used: {error}; check the disk and who owns it") from None


def _has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
    return found.fetchone() is not None
