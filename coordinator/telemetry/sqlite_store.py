"""The telemetry store in one SQLite file: a writer thread that commits in batches, and short reads beside it.

Which messages it has already is `coordinator.telemetry.ledger`'s to say, what rows they become
`coordinator.telemetry.sqlite_schema`'s.
"""

import fcntl
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

from broker.messages import Telemetry
from coordinator.errors import StoreError
from coordinator.telemetry.ledger import Verdict
from coordinator.telemetry.ledger_table import KEPT_S, Ledgers
from coordinator.telemetry.sqlite_schema import MIGRATIONS, SCHEMA, SCHEMA_VERSION, insert, prune
from coordinator.telemetry.store import InferenceSummary, PowerSummary, Storable, StoredUpTo, reporter_of
from splitrail.percentile import percentile

MAX_QUEUED = 20_000
MAX_BATCH = 500
COMMIT_INTERVAL_S = 0.2
"""Each commit waits for the disk: a few a second are no burden, and nodes do not wait long for a confirmation."""
IDLE_S = 1.0
PRUNE_INTERVAL_S = 600.0
MAX_SUMMARISED = 20_000

log = logging.getLogger("splitrail.store")


class SqliteTelemetryStore:
    """Telemetry in one SQLite file in WAL mode. What it has confirmed outlives a power cut.

    What had no mark and was not yet committed, 0.2 s at most, is lost when the process is killed; marked telemetry
    comes again. What is older than `retention_s` is deleted. Another file than a store raises StoreError (an OSError).
    """

    def __init__(self, path: Path, *, retention_s: float, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._retention_s = retention_s
        self._clock = clock
        self._queue: queue.Queue[tuple[Storable, float] | threading.Event | None] = queue.Queue(MAX_QUEUED)
        self._confirm: Callable[[tuple[StoredUpTo, ...]], None] | None = None
        self._lost = 0
        self._lost_lock = threading.Lock()
        self._lock = _sole_use(path)
        try:
            _prepare(path)
        except StoreError:
            self._lock.close()
            raise
        self._writer = threading.Thread(target=self._write, name="splitrail-store", daemon=True)
        self._writer.start()

    def record(self, message: Storable, arrived_at: float) -> None:
        """Queue one message for the next commit; without a mark it is counted as lost where the queue is full."""
        try:
            self._queue.put_nowait((message, arrived_at))
        except queue.Full:
            self._lose_unmarked([(message, arrived_at)])

    def on_stored(self, callback: Callable[[tuple[StoredUpTo, ...]], None]) -> None:
        """Call back on the writing thread, after each commit that touched telemetry with a mark."""
        self._confirm = callback

    def flush(self) -> None:
        """Return once all that was recorded before is committed."""
        done = threading.Event()
        self._queue.put(done)
        while not done.wait(0.1):
            if not self._writer.is_alive():
                return

    @property
    def lost(self) -> int:
        """How many messages could not be kept: the queue was full, or the disk failed."""
        return self._lost

    def close(self) -> None:
        """Commit what was recorded and stop the writer."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        self._lock.close()

    def summarise_inferences(self, deployment: str, since: float) -> InferenceSummary:
        """The inferences that arrived at or after `since`, the newest 20,000 of them."""
        with closing(_connect(self._path)) as connection:
            rows = connection.execute(
                "SELECT latency_ms, origin_energy_j, total_energy_j, source, scope, error FROM inference"
                " WHERE deployment = ? AND arrived_at >= ? ORDER BY arrived_at DESC LIMIT ?",
                (deployment, since, MAX_SUMMARISED),
            ).fetchall()
        succeeded = [row for row in rows if row[5] is None]
        latencies_ms = [row[0] for row in succeeded]
        count = len(succeeded)
        return InferenceSummary(
            count=len(rows),
            errors=len(rows) - count,
            latency_p50_ms=percentile(latencies_ms, 50),
            latency_p95_ms=percentile(latencies_ms, 95),
            origin_energy_j=sum(row[1] for row in succeeded) / count if count else None,
            total_energy_j=sum(row[2] for row in succeeded) / count if count else None,
            energy_source=max((row[3] for row in succeeded), default=None),  # "modelled" sorts after "measured"
            energy_scope=succeeded[0][4] if count else None,
        )

    def summarise_power(self, since: float) -> tuple[PowerSummary, ...]:
        """Mean power and newest counter of every meter that was read at or after `since`."""
        # SQLite takes the bare columns of a group from the row that holds max(arrived_at).
        with closing(_connect(self._path)) as connection:
            rows = connection.execute(
                "SELECT node, avg(power_w), energy_j, meter, source, scope, max(arrived_at) FROM energy"
                " WHERE arrived_at >= ? GROUP BY node, meter, source, scope ORDER BY node, scope",
                (since,),
            ).fetchall()
        return tuple(PowerSummary(*row) for row in rows)

    def last_epoch(self, deployment: str) -> int:
        """The highest epoch of the deployment's plans; 0 where none is kept."""
        with closing(_connect(self._path)) as connection:
            (epoch,) = connection.execute("SELECT max(epoch) FROM plan WHERE deployment = ?", (deployment,)).fetchone()
        return int(epoch or 0)

    def _lose(self, count: int) -> None:
        with self._lost_lock:
            self._lost += count

    def _lose_unmarked(self, batch: list[tuple[Storable, float]]) -> None:
        """Count what will not come again."""
        self._lose(sum(not isinstance(message, Telemetry) or message.mark is None for message, _ in batch))

    def _write(self) -> None:
        # One connection stays open: closing a file's last one moves the whole log, with a wait for the disk.
        connection: sqlite3.Connection | None = None
        ledgers: Ledgers | None = None
        next_prune = time.monotonic()
        last = False
        while not last:
            batch, waiting, last = self._next_batch()
            stored: tuple[StoredUpTo, ...] = ()
            try:
                connection = connection or _connect_to_write(self._path)
                ledgers = ledgers or Ledgers(connection)
                with connection:
                    connection.execute("BEGIN")
                    self._insert(connection, ledgers, batch)
                    stored = ledgers.write(connection)
                    if time.monotonic() >= next_prune:
                        self._prune(connection, ledgers)
                        next_prune = time.monotonic() + PRUNE_INTERVAL_S
            except sqlite3.Error as error:
                ledgers, stored = None, ()
                self._lose_unmarked(batch)
                log.error("%s: %d telemetry messages are not stored: %s", self._path, len(batch), error)  # noqa: TRY400  # a sentence, no trace
            self._tell(stored)
            if waiting is not None:
                waiting.set()
        if connection is not None:
            connection.close()

    def _insert(self, connection: sqlite3.Connection, ledgers: Ledgers, batch: list[tuple[Storable, float]]) -> None:
        for message, arrived_at in batch:
            at = arrived_at
            if isinstance(message, Telemetry) and message.mark is not None:
                if ledgers.fold(reporter_of(message), message.mark, arrived_at) is not Verdict.NEW:
                    continue
                at -= message.mark.age_s
            connection.execute("SAVEPOINT message")
            try:
                insert(connection, message, at)
            except OverflowError:
                connection.execute("ROLLBACK TO message")
                self._lose(1)
            connection.execute("RELEASE message")

    def _tell(self, stored: tuple[StoredUpTo, ...]) -> None:
        if not stored or self._confirm is None:
            return
        try:
            self._confirm(stored)
        except Exception:
            # What fails there must not end the thread that stores; a node that is not told sends again.
            log.exception("%s: what is stored could not be confirmed", self._path)

    def _prune(self, connection: sqlite3.Connection, ledgers: Ledgers) -> None:
        now = self._clock()
        prune(connection, now - self._retention_s)
        ledgers.prune(connection, now - max(KEPT_S, self._retention_s))

    def _next_batch(self) -> tuple[list[tuple[Storable, float]], threading.Event | None, bool]:
        """What one commit takes (0.2 s or 500 messages), who waits for it, and whether it is the last."""
        batch: list[tuple[Storable, float]] = []
        timeout_s, deadline = IDLE_S, 0.0
        while len(batch) < MAX_BATCH:
            try:
                item = self._queue.get(timeout=timeout_s)
            except queue.Empty:
                break
            if item is None:
                return batch, None, True
            if isinstance(item, threading.Event):
                return batch, item, False
            if not batch:
                deadline = time.monotonic() + COMMIT_INTERVAL_S
            batch.append(item)
            timeout_s = max(0.0, deadline - time.monotonic())
        return batch, None, False


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0)
    with ExitStack() as undo:
        undo.callback(connection.close)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        undo.pop_all()
    return connection


def _connect_to_write(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    # A node deletes what we confirm: a commit has to be on the disk.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _sole_use(path: Path) -> BinaryIO:
    """A lock for as long as the file is open: two coordinators on one store would also be one client to the broker."""
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


def _prepare(path: Path) -> None:
    try:
        with closing(_connect(path)) as connection:
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
