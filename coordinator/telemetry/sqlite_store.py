"""The telemetry store in one SQLite file: rows that the intake writes, and short reads beside it.

What rows a message becomes is `coordinator.telemetry.sqlite_rows`' to say.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from coordinator.telemetry.intake import Intake
from coordinator.telemetry.point_time import NEAR_S
from coordinator.telemetry.sqlite_file import connect_to_read
from coordinator.telemetry.sqlite_rows import Rows
from coordinator.telemetry.store import InferenceSummary, PowerSummary, StoreReport
from coordinator.telemetry.summarising import MAX_SUMMARISED, SummarisedInference, summary_of


class SqliteTelemetryStore(Intake):
    """Telemetry in one SQLite file; how surely it is kept is the intake's to say."""

    def __init__(
        self,
        path: Path,
        *,
        retention_s: float,
        coordinator: str = "coordinator",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(path, Rows(coordinator), retention_s=retention_s, clock=clock)
        self._unreadable: str | None = None

    def report(self) -> StoreReport:
        """How the store fares."""
        return StoreReport(
            kind="sqlite",
            where=str(self._path),
            waiting=self.waiting,
            dead_letters=0,
            lost=self.lost,
            obstacle=self.obstacle or self._unreadable,
        )

    def summarise_inferences(self, deployment: str, since: float) -> InferenceSummary:
        """The inferences that arrived at or after `since`, the newest 20,000 of them."""
        rows = self._read(
            "SELECT latency_ms, origin_energy_j, total_energy_j, source, scope, error IS NOT NULL FROM inference"
            " WHERE deployment = ? AND arrived_at >= ? ORDER BY arrived_at DESC LIMIT ?",
            (deployment, since, MAX_SUMMARISED),
        )
        return summary_of([SummarisedInference(*row) for row in rows])

    def summarise_power(self, since: float) -> tuple[PowerSummary, ...]:
        """Mean power and newest counter of every meter that was read at or after `since`."""
        # SQLite takes the bare columns of a group from the row that holds max(arrived_at).
        rows = self._read(
            "SELECT node, avg(power_w), energy_j, meter, source, scope, max(arrived_at) FROM energy"
            " WHERE time_ns >= ? AND arrived_at >= ? GROUP BY node, meter, source, scope"
            " ORDER BY node, scope, meter",
            (int((since - NEAR_S) * 1e9), since),
        )
        return tuple(PowerSummary(*row) for row in rows)

    def _read(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        """The rows of an answer; none where the file cannot be read, as the report says then."""
        try:
            with closing(connect_to_read(self._path)) as connection:
                rows = connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            self._unreadable = f"{self._path} cannot be read: {error}"
            return []
        self._unreadable = None
        return rows
