"""The telemetry store in an InfluxDB: points go through a spool in the coordinator's own file and are shipped.

What is stored, when and how surely, is the intake's, the spool's and the shipper's; this module only joins them.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.influx_queries import Queries, Summaries
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_shipper import Shipper
from coordinator.telemetry.influx_spool import Spool
from coordinator.telemetry.intake import Intake
from coordinator.telemetry.ledger_table import Ledgers
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.series_bound import SeriesBound
from coordinator.telemetry.sqlite_file import connect_to_read, prepare, sole_use
from coordinator.telemetry.sqlite_rows import prune_rows
from coordinator.telemetry.store import InferenceSummary, PowerSummary, Storable, StoreReport
from coordinator.telemetry.summarising import NOTHING

FLUSH_TIMEOUT_S: Final = 30.0
LAST_TIMEOUT_S: Final = 2.0
"""How long a store that closes goes on sending; the rest is sent by the next run."""


class _Points:
    """Keeps messages as lines that wait in the spool."""

    def __init__(self, spool: Spool, coordinator: str) -> None:
        self._spool = spool
        self._coordinator = coordinator
        self._bound = SeriesBound()

    def insert(self, connection: sqlite3.Connection, message: Storable, recorded_at: float) -> None:  # noqa: ARG002  # the spool writes a commit's lines at once
        samples = samples_of(message, recorded_at, coordinator=self._coordinator)
        if not self._bound.admits(samples):
            raise OverflowError
        self._spool.add([line_of(sample) for sample in samples])

    def prune(self, connection: sqlite3.Connection, before: float) -> None:
        """InfluxDB keeps its own time, and what waits for it is bounded by its size; the file's own rows grow old."""
        prune_rows(connection, before)


class InfluxTelemetryStore(Intake):
    """Telemetry in an InfluxDB. What it has confirmed is in the spool, on the disk, until the server has it.

    A server that is away stands in the way of nothing: summaries are empty then, and `report` says why. StoreError if
    the file cannot be used, InfluxError if the settings cannot; both are OSErrors.
    """

    def __init__(
        self,
        path: Path,
        settings: InfluxSettings,
        *,
        coordinator: str,
        retention_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        with ExitStack() as opened:
            self._server = InfluxServer(settings)
            opened.callback(self._server.close)
            self._where = f"{self._server.endpoint} database {self._server.database}"
            with closing(sole_use(path)):
                prepare(path)
                self._spool = Spool(path, max_bytes=round(settings.spool_mb * 1e6))
            super().__init__(path, _Points(self._spool, coordinator), retention_s=retention_s, clock=clock)
            opened.pop_all()
        self._shipper = Shipper(self._spool, path, self._server.write, where=self._where)
        self._shipper.start()
        self._queries = Queries(self._server.query, where=self._where)
        self._queries.start()

    def flush(self) -> None:
        """Return once all that was recorded before is in InfluxDB, or cannot be; after 30 s in any case."""
        super().flush()
        self._shipper.drain(FLUSH_TIMEOUT_S)

    def summarise_inferences(self, deployment: str, since: float) -> InferenceSummary:
        """The inferences that began at or after `since`, the newest 20,000 of them; empty where nothing answers."""
        return self._summaries(since).inferences.get(deployment, NOTHING)

    def summarise_power(self, since: float) -> tuple[PowerSummary, ...]:
        """Mean power and newest counter of every meter that was read at or after `since`; empty as above."""
        return self._summaries(since).power

    def report(self) -> StoreReport:
        """How the server, the spool and the file fare."""
        waiting = dead_letters = dropped = 0
        server = self._shipper.obstacle or self._queries.obstacle
        obstacle = self.obstacle or (f"{self._where}: {server}" if server else None)
        try:
            with closing(connect_to_read(self._path)) as connection:
                waiting = self._spool.waiting(connection)
                dead_letters = self._spool.dead_letters(connection)
                dropped = self._spool.dropped(connection)
        except sqlite3.Error as error:
            obstacle = f"{self._path} cannot be read: {error}"
        return StoreReport(
            kind="influxdb",
            where=self._where,
            waiting=waiting,
            dead_letters=dead_letters,
            lost=self.lost + dropped,
            obstacle=obstacle,
        )

    def close(self) -> None:
        """Commit what was recorded, send what can be sent in 2 s, and let go of file and server."""
        super().flush()
        self._shipper.drain(LAST_TIMEOUT_S)
        self._queries.close()
        self._shipper.close()
        super().close()
        self._server.close()

    def _summaries(self, since: float) -> Summaries:
        return self._queries.summaries(since, self._spool.settled_up_to)

    def _insert(self, connection: sqlite3.Connection, ledgers: Ledgers, batch: list[tuple[Storable, float]]) -> None:
        self._spool.begin(connection)
        super()._insert(connection, ledgers, batch)
        self._spool.finish(connection)
