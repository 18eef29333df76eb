"""The file in which telemetry waits until it is stored: SQLite with a write-ahead log, bounded, for one process.

What is sent when is `edge_agent.spooling`'s to decide; one thread uses a spool.
"""

import fcntl
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_agent.configuration import AgentSettings
from edge_agent.errors import SpoolError, SpoolFailedError
from edge_agent.spooling import Held

APPLICATION_ID = 0x53505253  # in the file's header, so that a damaged spool is told from what is somebody else's
SCHEMA_VERSION = 1
ROW_BYTES = 64  # what SQLite adds to a message of some hundred bytes: its key, the times, its share of a page
LOG_PAGES = 1_000
TIDY_COMMITS = 50  # about 400 KB of log, so that a spool fits on a small disk; every ten seconds on an idle node
_SEQUENCE_BITS = 40
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


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as the spool keeps it: its kind, its JSON, and when it was recorded by both of the node's clocks."""

    kind: str
    payload: bytes
    recorded_at: float
    """Seconds since the Unix epoch."""
    recorded_s: float
    """Of the monotonic clock, which says nothing to another run."""


def spool_file(settings: AgentSettings) -> Path:
    """Where an agent keeps its spool."""
    return settings.spool.file or settings.cache / "spool" / f"{settings.site}-{settings.node}.sqlite"


class Spool:
    """Telemetry in one SQLite file, by run of the agent (session) and number, from 1 in each.

    What was appended outlives the end of the process, however that comes. A power cut may take what was appended in the
    last seconds (`synchronous = NORMAL` waits for the disk at checkpoints only), always from the end: what is left has
    no holes. No number is then given twice, since the next run is another session, and what was published before the
    cut is not doubled, since the coordinator knows it by session and number.
    SpoolError where another process uses the file or it is not a spool; SpoolFailedError where the disk fails. A spool
    that is damaged is renamed (`.damaged`) and begun anew: `was_damaged`.
    """

    def __init__(self, path: Path, *, session: str, max_bytes: int) -> None:
        self._path = path
        self._session = session
        self._max_bytes = max_bytes
        self.was_damaged = False
        self._commits = 0
        with ExitStack() as undo:
            undo.enter_context(_sole_use(path))
            self._connection = self._open()
            undo.callback(lambda: self._connection.close())  # noqa: PLW0108  # the connection may be another by then
            try:
                self._numbers = self._runs()
                self._held_bytes = self._size(0, 2**63 - 1)
            except sqlite3.Error as error:
                raise SpoolFailedError(path, str(error)) from None
            self._opened = undo.pop_all()

    @property
    def held_bytes(self) -> int:
        """What waits, in bytes."""
        return self._held_bytes

    def held(self) -> tuple[Held, ...]:
        """What it holds of each run, the oldest first; SpoolFailedError where it cannot be read."""
        found = []
        with self._failing():
            for session, number in sorted(self._numbers.items(), key=lambda item: item[1]):
                start = _id(number, 0)
                first, last = self._connection.execute(
                    "SELECT min(id), max(id) FROM message WHERE id BETWEEN ? AND ?", (start, _id(number + 1, -1))
                ).fetchone()
                if first is not None:
                    found.append(Held(session, first - start, last - start))
        return tuple(found)

    def append(self, first: int, messages: Sequence[Kept]) -> tuple[Held, ...]:
        """Keep messages of this run under the numbers from `first`, all or none; SpoolFailedError if none.

        What had to go for them, the oldest there was, is returned.
        """
        size = sum(len(message.payload) + ROW_BYTES for message in messages)
        with self._failing(), self._connection:
            numbers = self._numbers if self._session in self._numbers else self._enter_run()
            dropped, freed = self._make_room(size, numbers)
            start = _id(numbers[self._session], first)
            self._connection.executemany(
                "INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)",
                [
                    (start + offset, each.kind, each.recorded_at, each.recorded_s, each.payload)
                    for offset, each in enumerate(messages)
                ],
            )
        self._numbers = numbers
        self._held_bytes += size - freed
        self._commits += 1
        return dropped

    def read(self, session: str, first: int, last: int) -> tuple[tuple[int, Kept], ...]:
        """The messages of a run from one number to another, with their numbers; SpoolFailedError if it cannot."""
        start = _id(self._numbers.get(session, 0), 0)
        with self._failing():
            rows = self._connection.execute(
                "SELECT id, kind, payload, recorded_at, recorded_s FROM message WHERE id BETWEEN ? AND ? ORDER BY id",
                (start + first, start + last),
            ).fetchall()
        return tuple((row[0] - start, Kept(*row[1:])) for row in rows)

    def delete(self, session: str, through: int) -> None:
        """Forget a run up to a number; SpoolFailedError if it cannot."""
        number = self._numbers.get(session)
        if number is None:
            return
        with self._failing(), self._connection:
            freed = self._delete(_id(number, 0), _id(number, through))
        self._held_bytes -= freed
        self._commits += 1

    def tidy(self) -> None:
        """Move what has gathered in the log into the file, which waits for the disk: for when nobody else waits.

        SpoolFailedError if it cannot.
        """
        if self._commits >= TIDY_COMMITS:
            with self._failing():
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._commits = 0

    def begin_anew(self) -> None:
        """Forget everything by making the file anew, which needs no room; SpoolFailedError where even that fails."""
        self._connection.close()
        for suffix in _SUFFIXES:
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._numbers, self._held_bytes = {}, 0
        self._connection = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    def _open(self) -> sqlite3.Connection:
        try:
            if _is_damaged(self._path):
                self._set_aside()
            return _connect(self._path)
        except SpoolError:
            raise
        except sqlite3.Error as error:
            raise SpoolFailedError(self._path, str(error)) from None
        except OSError as error:
            raise SpoolFailedError(self._path, error.strerror or str(error)) from None

    def _set_aside(self) -> None:
        """Rename a damaged file, and what belongs to it, out of the way; of an earlier one nothing is left."""
        for suffix in _SUFFIXES:
            part = self._path.with_name(self._path.name + suffix)
            with suppress(FileNotFoundError):
                part.replace(part.with_name(f"{self._path.name}.damaged{suffix}"))
        self.was_damaged = True
        log.warning("%s: the spool is damaged: kept as %s.damaged, begun anew", self._path, self._path.name)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            is_damaged = getattr(error, "sqlite_errorcode", 0) in _DAMAGED
            raise SpoolFailedError(self._path, str(error), is_damaged=is_damaged) from None

    def _runs(self) -> dict[str, int]:
        return {session: number for number, session in self._connection.execute("SELECT number, session FROM run")}

    def _enter_run(self) -> dict[str, int]:
        """Number this run after all others, of which those that hold nothing are forgotten."""
        self._connection.execute(
            "DELETE FROM run WHERE NOT EXISTS"
            f" (SELECT 1 FROM message WHERE id BETWEEN number << {_SEQUENCE_BITS}"
            f" AND ((number + 1) << {_SEQUENCE_BITS}) - 1)"
        )
        self._connection.execute("INSERT INTO run SELECT coalesce(max(number), 0) + 1, ? FROM run", (self._session,))
        return self._runs()

    def _make_room(self, size: int, numbers: dict[str, int]) -> tuple[tuple[Held, ...], int]:
        """Delete the oldest messages until so many bytes fit; which these were, and their bytes."""
        excess = self._held_bytes + size - self._max_bytes
        if excess <= 0:
            return (), 0
        sessions = {number: session for session, number in numbers.items()}
        gone: dict[int, list[int]] = {}
        freed = last = 0
        for identity, length in self._connection.execute("SELECT id, length(payload) FROM message ORDER BY id"):
            gone.setdefault(identity >> _SEQUENCE_BITS, []).append(identity)
            freed, last = freed + length + ROW_BYTES, identity
            if freed >= excess:
                break
        self._connection.execute("DELETE FROM message WHERE id <= ?", (last,))
        dropped = (
            Held(sessions[number], identities[0] - _id(number, 0), identities[-1] - _id(number, 0))
            for number, identities in gone.items()
        )
        return tuple(dropped), freed

    def _delete(self, low: int, high: int) -> int:
        """Delete the messages with these identities; their bytes."""
        freed = self._size(low, high)
        self._connection.execute("DELETE FROM message WHERE id BETWEEN ? AND ?", (low, high))
        return freed

    def _size(self, low: int, high: int) -> int:
        (size,) = self._connection.execute(
            f"SELECT coalesce(sum(length(payload) + {ROW_BYTES}), 0) FROM message WHERE id BETWEEN ? AND ?", (low, high)
        ).fetchone()
        return int(size)


def _id(number: int, sequence: int) -> int:
    """Where a message stands in the file: by run, then by number, which is the order to send in."""
    return (number << _SEQUENCE_BITS) + sequence


@contextmanager
def _sole_use(path: Path) -> Iterator[None]:
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
