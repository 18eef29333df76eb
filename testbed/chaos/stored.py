"""What the coordinators of a site have stored, read from their SQLite files beside them."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from testbed.chaos.witness import Run

# Whose telemetry a row is, in each table that holds any.
_REPORTERS = {"energy": "node", "machine": "node", "load": "node", "link": "src", "inference": "origin", "miss": "node"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What one or several stores hold together."""

    settled: Mapping[Run, int] = field(default_factory=dict)
    """Up to which number the telemetry of each run is stored, or known never to come."""
    readings: Mapping[Run, frozenset[int]] = field(default_factory=dict)
    """The numbers of the energy readings of each run, which its meter counts from 0 by itself."""
    inferences: Mapping[str, int] = field(default_factory=dict)
    """How often each inference, by its report's id, is in the store that has it most often."""
    miscounted: tuple[str, ...] = ()
    """Where a store's ledger and its rows do not agree, in words."""


def read_store(path: Path, dropped: int) -> Stored:
    """What the store in this file holds now; it may have up to `dropped` rows beyond its ledger, which no spool saw."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as connection:
        connection.execute("BEGIN")  # one moment for all tables
        ledger = connection.execute("SELECT node, session, contiguous, stored FROM ledger").fetchall()
        rows: Counter[str] = Counter()
        for table, reporter in _REPORTERS.items():
            rows.update(dict(connection.execute(f"SELECT {reporter}, count(*) FROM {table} GROUP BY 1")))
        readings: dict[Run, set[int]] = {}
        for node, session, sequence in connection.execute("SELECT node, session, sequence FROM energy"):
            readings.setdefault((node, session), set()).add(sequence)
        inferences = dict(connection.execute("SELECT request_id, count(*) FROM inference GROUP BY 1"))
    entered: Counter[str] = Counter()
    for node, _, _, stored in ledger:
        entered[node] += stored
    return Stored(
        {(node, session): contiguous for node, session, contiguous, _ in ledger},
        {run: frozenset(numbers) for run, numbers in readings.items()},
        inferences,
        tuple(
            f"{path.name} has {rows[node]} rows of {node}, its ledger says {entered[node]}"
            for node in sorted(rows.keys() | entered.keys())
            if not 0 <= rows[node] - entered[node] <= dropped
        ),
    )


def together(stores: Iterable[Stored]) -> Stored:
    """What several coordinators have between them."""
    settled: dict[Run, int] = {}
    readings: dict[Run, frozenset[int]] = {}
    inferences: dict[str, int] = {}
    miscounted: list[str] = []
    for store in stores:
        for run, number in store.settled.items():
            settled[run] = max(settled.get(run, 0), number)
        for run, numbers in store.readings.items():
            readings[run] = readings.get(run, frozenset()) | numbers
        for inference, count in store.inferences.items():
            inferences[inference] = max(inferences.get(inference, 0), count)
        miscounted += store.miscounted
    return Stored(settled, readings, inferences, tuple(miscounted))
