"""The tables of the SQLite telemetry store, version by version; the newest ends with the views.

What rows a message becomes is `coordinator.telemetry.sqlite_rows`'s.
"""

from coordinator.telemetry.sqlite_views import VIEWS, WITHOUT_VIEWS

SCHEMA_VERSION = 4

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
SECOND = """
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
# What was stored before has the times that `coordinator.telemetry.point_time` would give it, but for the sequence.
_TIME_NS = "CAST(round(1e6 * CASE WHEN abs({at} - {reckoned}) <= 60 THEN {at} ELSE {reckoned} END) AS INTEGER) * 1000"
_BEGAN = "max(0, arrived_at - latency_ms / 1e3)"


def _with_times(table: str, at: str, reckoned: str = "arrived_at") -> str:
    return f"""
ALTER TABLE {table} ADD COLUMN time_ns INTEGER NOT NULL DEFAULT 0;
UPDATE {table} SET time_ns = {_TIME_NS.format(at=at, reckoned=reckoned)};
CREATE INDEX {table}_time_ns ON {table} (time_ns);
"""


# Two readings may be told from one sample: of one `at` and microsecond, and yet two in the ledger and as points.
_LINK_TIME_NS = _TIME_NS.format(at="at", reckoned="arrived_at")
_LINK_BY_TIME = f"""
DROP INDEX link_arrived_at;
ALTER TABLE link RENAME TO former_link;
CREATE TABLE link (
    src TEXT NOT NULL, dst TEXT NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL, time_ns INTEGER NOT NULL,
    rtt_ms REAL NOT NULL, rtt_ms_std REAL NOT NULL, mbps REAL NOT NULL, mbps_std REAL NOT NULL, method TEXT NOT NULL,
    PRIMARY KEY (src, dst, at, time_ns)
) WITHOUT ROWID;
INSERT INTO link (src, dst, at, arrived_at, time_ns, rtt_ms, rtt_ms_std, mbps, mbps_std, method)
    SELECT src, dst, at, arrived_at,
        {_LINK_TIME_NS} + row_number() OVER (PARTITION BY src, dst, {_LINK_TIME_NS} ORDER BY at) - 1,
        rtt_ms, rtt_ms_std, mbps, mbps_std, method
    FROM former_link;
DROP TABLE former_link;
CREATE INDEX link_time_ns ON link (time_ns);
"""
_THIRD = f"""
DROP INDEX energy_arrived_at;
DROP INDEX load_arrived_at;
DROP INDEX miss_arrived_at;
DROP INDEX plan_arrived_at;
{_with_times("energy", "at")}
ALTER TABLE energy ADD COLUMN resolution_j REAL NOT NULL DEFAULT 0;
ALTER TABLE energy ADD COLUMN emulated INTEGER NOT NULL DEFAULT 0;
{_LINK_BY_TIME}
{_with_times("load", "at")}
{_with_times("miss", "at")}
{_with_times("inference", "at", _BEGAN)}
ALTER TABLE inference ADD COLUMN model TEXT;
ALTER TABLE inference ADD COLUMN route TEXT NOT NULL DEFAULT '';
ALTER TABLE inference ADD COLUMN stages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inference ADD COLUMN sent_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inference ADD COLUMN compute_energy_j REAL;
ALTER TABLE inference ADD COLUMN compute_energy_j_std REAL;
ALTER TABLE inference ADD COLUMN compute_energy_source TEXT;
ALTER TABLE inference ADD COLUMN compute_energy_scope TEXT;
ALTER TABLE inference ADD COLUMN emulated INTEGER NOT NULL DEFAULT 0;
UPDATE inference SET
    stages = (SELECT count(*) FROM inference_stage WHERE inference = id AND start < stop),
    sent_bytes = (SELECT CAST(total(size_bytes) AS INTEGER) FROM inference_transfer WHERE inference = id),
    route = coalesce((SELECT CASE WHEN count(*) > 8 THEN 'many' ELSE group_concat(node, '>') END FROM
        (SELECT node FROM inference_stage WHERE inference = id AND start < stop ORDER BY position)), '');
ALTER TABLE inference_stage ADD COLUMN energy_method TEXT;
ALTER TABLE inference_stage ADD COLUMN energy_source TEXT;
ALTER TABLE inference_stage ADD COLUMN energy_scope TEXT;
ALTER TABLE inference_stage ADD COLUMN energy_meter TEXT;
ALTER TABLE inference_stage ADD COLUMN energy_j REAL;
ALTER TABLE inference_stage ADD COLUMN energy_j_std REAL;
{_with_times("plan", "created_at")}
ALTER TABLE plan ADD COLUMN model_name TEXT;
ALTER TABLE plan ADD COLUMN split TEXT NOT NULL DEFAULT '';
ALTER TABLE plan ADD COLUMN modelled_latency_ms_std REAL NOT NULL DEFAULT 0;
UPDATE plan SET split = coalesce((SELECT group_concat(
        node || CASE WHEN start < stop THEN ' ' || start || '-' || (stop - 1) ELSE ' relays' END, ', ') FROM
        (SELECT node, start, stop FROM plan_stage WHERE (deployment, epoch, created_at) =
            (plan.deployment, plan.epoch, plan.created_at) ORDER BY position)), '');
ALTER TABLE plan_stage ADD COLUMN modelled_compute_ms REAL;
ALTER TABLE plan_stage ADD COLUMN modelled_transfer_ms REAL;
CREATE TABLE epoch (deployment TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO epoch SELECT deployment, max(epoch) FROM plan GROUP BY deployment;
CREATE TABLE machine (
    node TEXT NOT NULL, session TEXT NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL, time_ns INTEGER NOT NULL,
    cpu REAL NOT NULL, memory_used_mb REAL NOT NULL, memory_total_mb REAL NOT NULL, agent_memory_mb REAL NOT NULL,
    temperature_c REAL, throttled INTEGER, throttled_by TEXT, emulated INTEGER NOT NULL,
    PRIMARY KEY (node, session, at)
) WITHOUT ROWID;
CREATE INDEX machine_time_ns ON machine (time_ns);
CREATE TABLE profile (
    node TEXT NOT NULL, model TEXT NOT NULL, at REAL NOT NULL, arrived_at REAL NOT NULL, time_ns INTEGER NOT NULL,
    unsplit_ms REAL NOT NULL, unsplit_ms_std REAL NOT NULL, memory_mb REAL NOT NULL,
    ops INTEGER NOT NULL, threads INTEGER NOT NULL, runtime TEXT NOT NULL, emulated INTEGER NOT NULL,
    PRIMARY KEY (node, model, time_ns)
) WITHOUT ROWID;
CREATE INDEX profile_time_ns ON profile (time_ns);
CREATE TABLE event (
    kind TEXT NOT NULL, node TEXT NOT NULL, deployment TEXT, reporter TEXT, time_ns INTEGER NOT NULL,
    text TEXT, tier TEXT, version TEXT, emulated TEXT, session TEXT, epoch INTEGER, skew_s REAL
);
CREATE INDEX event_time_ns ON event (time_ns);
INSERT INTO event (kind, node, reporter, time_ns, text, tier, version, emulated, session)
    SELECT CASE state WHEN 'online' THEN 'birth' ELSE 'death' END, node, CASE state WHEN 'online' THEN node END,
        CAST(round(1e6 * min(arrived_at)) AS INTEGER) * 1000,
        CASE WHEN state = 'offline' THEN 'went' WHEN tier IS NULL THEN 'came'
            ELSE 'came: ' || tier || ', splitrail ' || version END,
        tier, version, nullif(emulated, ''), session
    FROM node_event GROUP BY node, session, state;
CREATE TABLE said (subject TEXT PRIMARY KEY, content TEXT NOT NULL, heard_at REAL NOT NULL) WITHOUT ROWID;
INSERT INTO said SELECT 'status ' || node || ' ' || session, state || ' 0.0', max(arrived_at)
    FROM node_event GROUP BY node, session;
DROP TABLE node_event;
"""
_FOURTH = f"""
ALTER TABLE link ADD COLUMN way TEXT NOT NULL DEFAULT 'direct';
ALTER TABLE inference_stage ADD COLUMN codec_ms REAL NOT NULL DEFAULT 0;
ALTER TABLE inference_stage ADD COLUMN batch INTEGER NOT NULL DEFAULT 1;
ALTER TABLE plan_stage ADD COLUMN codec TEXT NOT NULL DEFAULT 'raw';
{WITHOUT_VIEWS}
{VIEWS}
"""
SCHEMA = FIRST + SECOND + _THIRD + _FOURTH
MIGRATIONS = {1: SECOND, 2: _THIRD, 3: _FOURTH}
"""What makes of the tables of one version those of the next."""
