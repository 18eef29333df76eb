"""The file of a spool: SQLite with a write-ahead log, for one process; damaged, it is set aside and made anew.

What is in it is `edge_agent.spool`'s.
"""

import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import SpoolError, SpoolFailedError

APPLICATION_ID = 0x53505253  # in the file's header, so that a damaged spool is told from what is somebody else's
SCHEMA_VERSION = 1
LOG_PAGES = 1_000
_SUFFIXES = ("", "-wal", "-shm")
_HEADER = b"SQLite format 3\0"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

SCHEMA = f"""
BEGIN;
CREATE TABLE run (number INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, recorded_at REAL NOT NULL, recorded_s REAL NOT NULL,
    payload BLOB NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

_MISTYPED = """
SELECT 1 FROM run WHERE typeof(number) <> 'integer' OR typeof(session) <> 'text'
UNION ALL SELECT 1 FROM message WHERE typeof(id) <> 'integer' OR typeof(kind) <> 'text' OR typeof(payload) <> 'blob'
    OR typeof(recorded_at) <> 'real' OR typeof(recorded_s) <> 'real' LIMIT 1
"""

log = logging.getLogger("splitrail.agent")


@contextmanager
def sole_use(path: Path) -> Iterator[None]:
    """A lock for as long as the spool is open."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock: BinaryIO = path.with_name(f"{path.name}.lock").open("ab")
    except OSError as error:
        raise SpoolFailedError(path, error.strerror or str(error)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpoolError(path, "another agent uses this spool; stop it, or name another `spool.file`") from None
        yield


def opened(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The database at `path`, made where there is none, and whether a damaged one was renamed (`.damaged`) for it.

    SpoolError where the file is something else; SpoolFailedError where the disk fails.
    """
    try:
        was_damaged = _is_damaged(path)
        if was_damaged:
            _set_aside(path)
        return _connect(path), was_damaged
    except SpoolError:
        raise
    except sqlite3.Error as error:
        raise SpoolFailedError(path, str(error)) from None
    except OSError as error:
        raise SpoolFailedError(path, error.strerror or str(error)) from None


def remove(path: Path) -> None:
    """Delete a database that is closed; SpoolFailedError where the disk fails."""
    try:
        for suffix in _SUFFIXES:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise SpoolFailedError(path, error.strerror or str(error)) from None


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """What SQLite raises within becomes a SpoolFailedError."""
    try:
        yield
    except sqlite3.Error as error:
        is_damaged = getattr(error, "sqlite_errorcode", 0) in _DAMAGED
        raise SpoolFailedError(path, str(error), is_damaged=is_damaged) from None


def _is_damaged(path: Path) -> bool:
    """Whether the file was a spool and cannot be read; SpoolError if it never was one."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        header = file.read(100)
    if header.strip(b"\0") and not header.startswith(_HEADER):
        raise SpoolError(path, "is no spool of telemetry; name another file as `spool.file`")
    # A card that fails leaves blocks of zeros.
    is_ours = not header.strip(b"\0") or header[68:72] == APPLICATION_ID.to_bytes(4, "big")
    try:
        with closing(sqlite3.connect(path, timeout=1.0)) as connection:
            (identity,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and identity != APPLICATION_ID:
                raise SpoolError(path, "is a database of something else; name another file as `spool.file`")
            if version > SCHEMA_VERSION:
                raise SpoolError(
                    path, f"was written by a newer splitrail (version {version}); upgrade, or name another `spool.file`"
                )
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                return True
            # SQLite takes a changed header of a row for another type, and a quick check does not look.
            return bool(tables and connection.execute(_MISTYPED).fetchone() is not None)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in _DAMAGED and is_ours:
            return True
        raise
    except UnicodeDecodeError:
        # SQLite quotes what it found in a damaged schema, which Python then cannot read.
        if is_ours:
            return True
        raise SpoolError(path, "is a damaged database; name another file as `spool.file`") from None


def _set_aside(path: Path) -> None:
    """Rename a damaged file, and what belongs to it, out of the way; of an earlier one nothing is left."""
    for suffix in _SUFFIXES:
        part = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError):
            part.replace(part.with_name(f"{path.name}.damaged{suffix}"))
    log.warning("%s: the spool is damaged: kept as %s.damaged, begun anew", path, path.name)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            connection.executescript(SCHEMA)
        undo.pop_all()
    return connection
