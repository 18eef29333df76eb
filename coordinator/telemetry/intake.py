"""The writing thread of a telemetry store: it takes messages without waiting and commits them in batches.

Which messages are there already is `ledger`'s and `said`'s to say; what they become in the file is a Keeper's.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from broker.messages import Telemetry
from coordinator.errors import StoreError
from coordinator.telemetry.ledger import Verdict
from coordinator.telemetry.ledger_table import KEPT_S, Ledgers
from coordinator.telemetry.point_time import recorded_at
from coordinator.telemetry.said import forget, is_news, last_epoch
from coordinator.telemetry.sqlite_file import connect_to_read, connect_to_write, prepare, sole_use
from coordinator.telemetry.store import Storable, StoredUpTo, reporter_of

MAX_QUEUED = 20_000
MAX_BATCH = 500
COMMIT_INTERVAL_S = 0.2
"""Each commit waits for the disk: a few a second are no burden, and nodes do not wait long for a confirmation."""
GATHER_S = 0.02
"""Messages are let gather: to be woken for each would be a sixth of the time (benchmarks/telemetry_intake.py)."""
IDLE_S = 1.0
PRUNE_INTERVAL_S = 600.0

log = logging.getLogger("splitrail.store")


class Keeper(Protocol):
    """What a message becomes in the file, within the transaction that also enters it into its node's ledger."""

    def insert(self, connection: sqlite3.Connection, message: Storable, recorded_at: float) -> None:
        """Keep one message, recorded at that time (s since 1970, by the coordinator's clock).

        OverflowError, before anything of it is written, where a number exceeds 64 bits or there are too many series:
        then it is counted as lost.
        """

    def prune(self, connection: sqlite3.Connection, before: float) -> None:
        """Delete what was recorded before that time (s since 1970)."""


class Intake:
    """Writes what it is given into one SQLite file in WAL mode. What it has confirmed outlives a power cut.

    What had no mark and was not yet committed, 0.2 s at most, is lost when the process is killed; marked telemetry
    comes again. What is older than `retention_s` is pruned. Another file than a store raises StoreError (an OSError).
    """

    def __init__(
        self, path: Path, keeper: Keeper, *, retention_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._keeper = keeper
        self._retention_s = retention_s
        self._clock = clock
        self._queue: queue.Queue[tuple[Storable, float] | threading.Event | None] = queue.Queue(MAX_QUEUED)
        self._confirm: Callable[[tuple[StoredUpTo, ...]], None] | None = None
        self._obstacle: str | None = None
        self._lost = 0
        self._lost_lock = threading.Lock()
        self._lock = sole_use(path)
        try:
            prepare(path)
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

    def last_epoch(self, deployment: str) -> int:
        """The highest epoch of the deployment's plans; 0 where none was ever kept. StoreError if it cannot be read."""
        try:
            with closing(connect_to_read(self._path)) as connection:
                return last_epoch(connection, deployment)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot be read: {error}; name another file under `store`") from None

    @property
    def waiting(self) -> int:
        """How many messages wait to be committed."""
        return self._queue.qsize()

    @property
    def obstacle(self) -> str | None:
        """Why the last commit failed; None if it did not."""
        return self._obstacle

    def close(self) -> None:
        """Commit what was recorded and stop the writer."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        self._lock.close()

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
                connection = connection or connect_to_write(self._path)
                ledgers = ledgers or Ledgers(connection)
                with connection:
                    connection.execute("BEGIN IMMEDIATE")  # one that reads first may find that another has written
                    self._insert(connection, ledgers, batch)
                    stored = ledgers.write(connection)
                    if time.monotonic() >= next_prune:
                        self._prune(connection, ledgers)
                        next_prune = time.monotonic() + PRUNE_INTERVAL_S
                self._obstacle = None
            except Exception as error:
                # Whatever a full disk or a damaged file leads to: this thread goes on, and the report says so.
                ledgers, stored = None, ()
                self._obstacle = f"{self._path} cannot be written: {error}"
                self._lose_unmarked(batch)
                log.error("%s: %d telemetry messages are not stored: %s", self._path, len(batch), error)  # noqa: TRY400  # a sentence, no trace
            self._tell(stored)
            if waiting is not None:
                waiting.set()
        if connection is not None:
            connection.close()

    def _insert(self, connection: sqlite3.Connection, ledgers: Ledgers, batch: list[tuple[Storable, float]]) -> None:
        # No savepoint for each message: it would be a quarter of the intake's time (benchmarks/telemetry_intake.py).
        for message, arrived_at in batch:
            if isinstance(message, Telemetry):
                mark = message.mark
                if mark is not None and ledgers.fold(reporter_of(message), mark, arrived_at) is not Verdict.NEW:
                    continue
            elif not is_news(connection, message, arrived_at):
                continue
            try:
                self._keeper.insert(connection, message, recorded_at(message, arrived_at))
            except OverflowError:
                self._lose(1)

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
        self._keeper.prune(connection, now - self._retention_s)
        ledgers.prune(connection, now - max(KEPT_S, self._retention_s))
        forget(connection, now - max(KEPT_S, self._retention_s))

    def _next_batch(self) -> tuple[list[tuple[Storable, float]], threading.Event | None, bool]:
        """What one commit takes (0.2 s or 500 messages), who waits for it, and whether it is the last."""
        batch: list[tuple[Storable, float]] = []
        deadline = 0.0
        while len(batch) < MAX_BATCH:
            try:
                item = self._queue.get_nowait() if batch else self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                left_s = deadline - time.monotonic()
                if left_s <= 0.0:
                    break
                time.sleep(min(left_s, GATHER_S))
                continue
            if item is None:
                return batch, None, True
            if isinstance(item, threading.Event):
                return batch, item, False
            if not batch:
                deadline = time.monotonic() + COMMIT_INTERVAL_S
            batch.append(item)
        return batch, None, False
