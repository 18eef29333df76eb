"""The tables of the SQLite telemetry store and how each message becomes rows; the writing thread is elsewhere."""

import sqlite3

from broker.messages import EnergyReading, InferenceReport, LinkReading, NodeLoad, NodeStatus, Plan, StageMiss
from coordinator.telemetry.store import Storable

SCHEMA_VERSION = 2

FIRST = """
CREATE TABLE energy (
    node TEXT NOT NULL, session TEXT NOT NULL, sequence INTEGER NOT NULL, arrived_at REAL NOT NULL, at REAL NOT NULL,
    energy_j REAL NOT NULL, power_w REAL NOT NULL, interval_s REAL NOT NULL,
    meter TEXT NOT NULL, source TEXT NOT NULL, scope TEXT NOT NULL,
    PRIMARY KEY (node, session, meter, sequence)
) WITHOUT ROWID;
CREATE INDEX energy_arrived_at ON energy (arrived_at);
CREATE TABLE link (
    src TEXT NOT NULL, dst TEXT NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL,
    rtt_ms REAL NOT NULL, rtt_ms_std REAL NOT NULL, mbps REAL NOT NULL, mbps_std REAL NOT NULL, method TEXT NOT NULL,
    PRIMARY KEY (src, dst, at)
) WITHOUT ROWID;
CREATE INDEX link_arrived_at ON link (arrived_at);
CREATE TABLE inference (
    id INTEGER PRIMARY KEY, deployment TEXT NOT NULL, request_id TEXT NOT NULL, epoch INTEGER NOT NULL,
    origin TEXT NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL, latency_ms REAL NOT NULL,
    origin_energy_j REAL NOT NULL, total_energy_j REAL NOT NULL, source TEXT NOT NULL, scope TEXT NOT NULL, error TEXT,
    UNIQUE (deployment, request_id)
);
CREATE INDEX inference_arrived_at ON inference (deployment, arrived_at);
CREATE TABLE inference_stage (
    inference INTEGER NOT NULL REFERENCES inference ON DELETE CASCADE, position INTEGER NOT NULL, node TEXT NOT NULL,
    start INTEGER NOT NULL, stop INTEGER NOT NULL, compute_ms REAL NOT NULL, wait_ms REAL NOT NULL,
    PRIMARY KEY (inference, position)
) WITHOUT ROWID;
CREATE TABLE inference_transfer (
    inference INTEGER NOT NULL REFERENCES inference ON DELETE CASCADE, position INTEGER NOT NULL,
    src TEXT NOT NULL, dst TEXT NOT NULL, size_bytes INTEGER NOT NULL, transfer_ms REAL NOT NULL,
    PRIMARY KEY (inference, position)
) WITHOUT ROWID;
CREATE TABLE plan (
    deployment TEXT NOT NULL, epoch INTEGER NOT NULL, created_at REAL NOT NULL, arrived_at REAL NOT NULL,
    model TEXT NOT NULL, origin TEXT NOT NULL, strategy TEXT NOT NULL, reason TEXT NOT NULL,
    modelled_latency_ms REAL NOT NULL, modelled_origin_energy_j REAL NOT NULL, modelled_total_energy_j REAL NOT NULL,
    PRIMARY KEY (deployment, epoch, created_at)
) WITHOUT ROWID;
CREATE INDEX plan_arrived_at ON plan (arrived_at);
CREATE TABLE plan_stage (
    deployment TEXT NOT NULL, epoch INTEGER NOT NULL, created_at REAL NOT NULL, position INTEGER NOT NULL,
    node TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    PRIMARY KEY (deployment, epoch, created_at, position),
    FOREIGN KEY (deployment, epoch, created_at) REFERENCES plan ON DELETE CASCADE
) WITHOUT ROWID;
CREATE TABLE node_event (
    node TEXT NOT NULL, session TEXT NOT NULL, state TEXT NOT NULL, arrived_at REAL NOT NULL,
    tier TEXT, version TEXT, emulated TEXT
);
CREATE INDEX node_event_arrived_at ON node_event (arrived_at);
"""
_SECOND = """
CREATE TABLE load (
    node TEXT NOT NULL, session TEXT NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL,
    load REAL NOT NULL, load_std REAL NOT NULL, emulated INTEGER NOT NULL,
    PRIMARY KEY (node, session, at)
) WITHOUT ROWID;
CREATE INDEX load_arrived_at ON load (arrived_at);
CREATE TABLE miss (
    node TEXT NOT NULL, deployment TEXT NOT NULL, epoch INTEGER NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL,
    src TEXT NOT NULL, suspect TEXT NOT NULL, delivered INTEGER NOT NULL,
    waited_ms REAL NOT NULL, allowed_ms REAL NOT NULL, outcome TEXT NOT NULL,
    PRIMARY KEY (node, deployment, at, epoch, src, suspect)
) WITHOUT ROWID;
CREATE INDEX miss_arrived_at ON miss (arrived_at);
CREATE TABLE ledger (
    node TEXT NOT NULL, session TEXT NOT NULL, contiguous INTEGER NOT NULL, ahead TEXT NOT NULL,
    stored INTEGER NOT NULL, skipped INTEGER NOT NULL, heard_at REAL NOT NULL,
    PRIMARY KEY (node, session)
) WITHOUT ROWID;
ALTER TABLE inference ADD COLUMN fallback TEXT;
ALTER TABLE plan ADD COLUMN term INTEGER NOT NULL DEFAULT 0;
"""
SCHEMA = FIRST + _SECOND
MIGRATIONS = {1: _SECOND}
"""What makes of the tables of one version those of the next."""
_PRUNED = ("energy", "link", "load", "inference", "miss", "plan", "node_event")


def insert(connection: sqlite3.Connection, message: Storable, arrived_at: float) -> None:
    """Add one message; one that is there already is left as it is. OverflowError where a number exceeds 64 bits."""
    match message:
        case EnergyReading() as reading:
            connection.execute(
                "INSERT OR IGNORE INTO energy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    reading.node,
                    reading.session,
                    reading.sequence,
                    arrived_at,
                    reading.at,
                    reading.energy_j,
                    reading.power_w,
                    reading.interval_s,
                    reading.meter,
                    reading.source,
                    reading.scope,
                ),
            )
        case LinkReading() as link:
            connection.execute(
                "INSERT OR IGNORE INTO link VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    link.src,
                    link.dst,
                    link.at,
                    arrived_at,
                    link.rtt_ms,
                    link.rtt_ms_std,
                    link.mbps,
                    link.mbps_std,
                    link.method,
                ),
            )
        case NodeLoad() as load:
            connection.execute(
                "INSERT OR IGNORE INTO load VALUES (?, ?, ?, ?, ?, ?, ?)",
                (load.node, load.session, load.at, arrived_at, load.load, load.load_std, load.emulated),
            )
        case StageMiss() as miss:
            connection.execute(
                "INSERT OR IGNORE INTO miss VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    miss.node,
                    miss.deployment,
                    miss.epoch,
                    miss.at,
                    arrived_at,
                    miss.src,
                    miss.suspect,
                    miss.delivered,
                    miss.waited_ms,
                    miss.allowed_ms,
                    miss.outcome,
                ),
            )
        case InferenceReport() as report:
            _insert_inference(connection, report, arrived_at)
        case Plan() as plan:
            _insert_plan(connection, plan, arrived_at)
        case NodeStatus() as status:
            announced = status.announcement
            connection.execute(
                "INSERT INTO node_event VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    status.node,
                    status.session,
                    status.state,
                    arrived_at,
                    announced and announced.tier,
                    announced and announced.version,
                    announced and announced.emulated,
                ),
            )


def _insert_inference(connection: sqlite3.Connection, report: InferenceReport, arrived_at: float) -> None:
    cursor = connection.execute(
        "INSERT OR IGNORE INTO inference (deployment, request_id, epoch, origin, at, arrived_at, latency_ms,"
        " origin_energy_j, total_energy_j, source, scope, error, fallback)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            report.deployment,
            report.request_id,
            report.epoch,
            report.origin,
            report.at,
            arrived_at,
            report.latency_ms,
            report.origin_energy_j,
            report.total_energy_j,
            report.energy_source,
            report.energy_scope,
            report.error,
            report.fallback,
        ),
    )
    if cursor.rowcount == 0:
        return
    inference = cursor.lastrowid
    connection.executemany(
        "INSERT INTO inference_stage VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (inference, position, stage.node, stage.start, stage.stop, stage.compute_ms, stage.wait_ms)
            for position, stage in enumerate(report.stages)
        ],
    )
    connection.executemany(
        "INSERT INTO inference_transfer VALUES (?, ?, ?, ?, ?, ?)",
        [
            (inference, position, hop.src, hop.dst, hop.size_bytes, hop.transfer_ms)
            for position, hop in enumerate(report.transfers)
        ],
    )


def _insert_plan(connection: sqlite3.Connection, plan: Plan, arrived_at: float) -> None:
    key = (plan.deployment, plan.epoch, plan.created_at)
    cursor = connection.execute(
        "INSERT OR IGNORE INTO plan VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            arrived_at,
            plan.model.sha256,
            plan.origin,
            plan.strategy,
            plan.reason,
            plan.prediction.latency_ms,
            plan.prediction.origin_energy_j,
            plan.prediction.total_energy_j,
            plan.term,
        ),
    )
    if cursor.rowcount:
        connection.executemany(
            "INSERT INTO plan_stage VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*key, position, stage.node, stage.start, stage.stop) for position, stage in enumerate(plan.stages)],
        )


def prune(connection: sqlite3.Connection, before: float) -> None:
    """Delete what arrived before that time (s since 1970)."""
    for table in _PRUNED:
        connection.execute(f"DELETE FROM {table} WHERE arrived_at < ?", (before,))
