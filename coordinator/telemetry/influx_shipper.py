"""The thread that carries points from the spool to an InfluxDB, in batches of 1,000 or once a second.

What to do after each answer is `coordinator.telemetry.influx_shipping`'s to say.
"""

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from coordinator.telemetry.influx_answers import WriteAnswer
from coordinator.telemetry.influx_shipping import Event, Rest, Rested, Send, Settle, Shipping, Taken, step
from coordinator.telemetry.influx_spool import MAX_POINTS, Batch, Spool
from coordinator.telemetry.sqlite_file import connect_to_read

INTERVAL_S: Final = 1.0
POLL_S: Final = 0.1
AGAIN_S: Final = 5.0
CLOSE_TIMEOUT_S: Final = 3.0

log = logging.getLogger("splitrail.store")


class Shipper:
    """Sends what waits in a spool by `write`, which never raises; `where` names the server in the log."""

    def __init__(self, spool: Spool, file: Path, write: Callable[[bytes], WriteAnswer], *, where: str) -> None:
        self._spool = spool
        self._file = file
        self._write = write
        self._where = where
        self._state = Shipping()
        self._fault: str | None = None
        self._has_refused = False
        self._hurry = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="splitrail-influxdb", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def obstacle(self) -> str | None:
        """Why nothing goes to the server now; None while it does."""
        return self._fault or self._state.obstacle

    def drain(self, timeout_s: float) -> None:
        """Return once nothing waits, or something stands in the way, or the time is up."""
        deadline = time.monotonic() + timeout_s
        self._hurry.set()
        try:
            with closing(connect_to_read(self._file)) as connection:
                while self._spool.waiting(connection) and self.obstacle is None and time.monotonic() < deadline:
                    time.sleep(0.005)
        except sqlite3.Error:
            pass  # the thread says it
        finally:
            self._hurry.clear()

    def close(self) -> None:
        """Stop after the request that is under way; what waits is sent by the next run."""
        self._closing.set()
        self._hurry.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with closing(connect_to_read(self._file)) as connection:
                    self._ship_all(connection)
            except sqlite3.Error as error:
                if self._fault is None:
                    log.error("%s: what waits for InfluxDB cannot be read: %s", self._file, error)  # noqa: TRY400  # a sentence, no trace
                self._fault = f"{self._file} cannot be read: {error}"
            except Exception as error:
                # A fault of the HTTP library must not end the thread that empties the spool.
                log.exception("%s: the sending of telemetry broke", self._where)
                self._fault = f"the sending of telemetry broke: {error!r}"
            self._closing.wait(AGAIN_S)

    def _ship_all(self, connection: sqlite3.Connection) -> None:
        waiting_since: float | None = None
        while not self._closing.is_set():
            points = self._spool.waiting(connection)
            self._fault = None
            now = time.monotonic()
            if not points:
                waiting_since = None
            elif waiting_since is None:
                waiting_since = now
            is_due = waiting_since is not None and (self._hurry.is_set() or now - waiting_since >= INTERVAL_S)
            if points >= MAX_POINTS or is_due:
                self._ship(connection, self._spool.next_batch(connection))
                waiting_since = None
            else:
                self._hurry.wait(POLL_S)
                if self._hurry.is_set() and not points:
                    self._closing.wait(0.005)

    def _ship(self, connection: sqlite3.Connection, batch: Batch) -> None:
        event: Event = Taken(batch.lines)
        while True:
            before = self._state
            self._state, instruction = step(event, before)
            self._tell(before, self._state)
            match instruction:
                case Send(lines):
                    event = self._write(b"\n".join(lines))
                case Rest(least_s, most_s):
                    if self._closing.wait(random.uniform(least_s, most_s)):
                        return
                    event = Rested()
                case Settle(refused):
                    if refused:
                        self._spool.bury(connection, refused, time.time())
                        self._tell_refused(refused[0].reason)
                    self._spool.settle(batch)
                    return

    def _tell(self, before: Shipping, after: Shipping) -> None:
        """Each trouble once, and its end."""
        if after.obstacle is None:
            if before.obstacle is not None:
                log.warning("%s: takes telemetry again", self._where)
        elif after.obstacle != before.obstacle and (before.obstacle is None or after.is_denied):
            level = logging.ERROR if after.is_denied else logging.WARNING
            log.log(level, "%s: %s; telemetry waits in %s", self._where, after.obstacle, self._file)

    def _tell_refused(self, reason: str) -> None:
        if not self._has_refused:
            self._has_refused = True
            log.warning(
                "%s: refuses points (%s): %s keeps them, `splitrail telemetry dead-letters` lists them",
                self._where,
                reason,
                self._file,
            )
