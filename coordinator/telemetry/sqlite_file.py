"""The SQLite file named by `store`: one writer at a time, opened for reading or writing, brought to today's tables.

What the tables are is `coordinator.telemetry.sqlite_schema`'s.
"""

import fcntl
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

from coordinator.errors import StoreError
from coordinator.telemetry.sqlite_schema import MIGRATIONS, SCHEMA, SCHEMA_VERSION

BUSY_TIMEOUT_S = 10.0


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection to an open store; close it soon, for the log of what is written grows while somebody reads."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        undo.pop_all()
    return connection


def connect_to_write(path: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return: a node deletes what we confirm."""
    connection = connect_to_read(path)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def sole_use(path: Path) -> BinaryIO:
    """A lock for as long as the file is open: two coordinators on one store would also be one client to the broker.

    StoreError where another has it, or the directory cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f"{path.name}.lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise
    except BlockingIOError:
        raise StoreError(f"{path}: another coordinator uses this store; stop it, or name another `store`") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be used as the telemetry store: {error}; name another `store`") from None
    return lock


def prepare(path: Path) -> None:
    """Make the tables, or bring those of an older version up to date. StoreError if the file is something else."""
    try:
        with closing(connect_to_read(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version == 0 and tables == 0:
                _execute(connection, SCHEMA, SCHEMA_VERSION)
                return
            while version in MIGRATIONS:
                _execute(connection, MIGRATIONS[version], version + 1)
                version += 1
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"{path}: cannot be used as the telemetry store: {error}; name another file under `store`"
        ) from None
    except UnicodeDecodeError:
        # SQLite quotes what it found in a damaged schema, which Python then cannot read.
        raise StoreError(f"{path}: is a damaged database; name another file under `store`") from None
    if version == 0:
        raise StoreError(f"{path}: is a database of something else; name another file under `store`")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: has telemetry schema {version}, this splitrail knows {SCHEMA_VERSION}; "
            "upgrade splitrail or name another file under `store`"
        )


def _execute(connection: sqlite3.Connection, script: str, version: int) -> None:
    """Change the tables and the version that they are of, both or neither."""
    connection.executescript(f"BEGIN; {script} PRAGMA user_version = {version}; COMMIT;")
