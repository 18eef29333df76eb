"""One view for each measurement of the telemetry schema: its columns are `time_ns`, the tags, the fields, as declared.

So an export or a question of one's own is one SELECT; the values are those of `coordinator.telemetry.points`.
"""

from typing import Final

_EMULATED = "CASE WHEN emulated THEN 'yes' END"
# SQLite reads 9e999 as infinity, which no figure of ours may be.
_SELECTS: Final = {
    "energy": f"""
SELECT time_ns, node, nullif(meter, '') AS meter, source, scope, {_EMULATED} AS emulated,
    energy_j, nullif(power_w * interval_s, 9e999) AS used_j, power_w, interval_s,
    nullif(resolution_j, 0.0) AS resolution_j
FROM energy""",
    "node": f"""
SELECT time_ns, node, {_EMULATED} AS emulated, cpu, memory_used_mb, memory_total_mb, agent_memory_mb, temperature_c,
    throttled, nullif(throttled_by, '') AS throttled_by, NULL AS load, NULL AS load_std, at - arrived_at AS skew_s
FROM machine
UNION ALL
SELECT time_ns, node, {_EMULATED}, NULL, NULL, NULL, NULL, NULL, NULL, NULL, load, load_std, NULL FROM load""",
    "link": "SELECT time_ns, src, dst, method, way, rtt_ms, rtt_ms_std, mbps, mbps_std FROM link",
    "inference": f"""
SELECT time_ns, deployment, origin, model, nullif(route, '') AS route,
    CASE WHEN error IS NOT NULL THEN 'failed' WHEN fallback IS NOT NULL THEN 'rescued' ELSE 'answered' END AS outcome,
    source AS energy_source, scope AS energy_scope, compute_energy_source, compute_energy_scope,
    {_EMULATED} AS emulated, latency_ms, epoch, origin_energy_j, total_energy_j, compute_energy_j, compute_energy_j_std,
    stages, sent_bytes, request_id, nullif(error, '') AS error, nullif(fallback, '') AS fallback
FROM inference""",
    "stage": f"""
SELECT time_ns, deployment, node, printf('%03d', position) AS position, energy_method, energy_source, energy_scope,
    nullif(energy_meter, '') AS energy_meter, {_EMULATED} AS emulated,
    compute_ms, codec_ms, wait_ms, batch, start, stop, epoch, energy_j, energy_j_std
FROM inference JOIN inference_stage ON inference = id""",
    "transfer": f"""
SELECT time_ns, deployment, src, dst, printf('%03d', position) AS position, {_EMULATED} AS emulated,
    transfer_ms, size_bytes, epoch
FROM inference JOIN inference_transfer ON inference = id""",
    "plan": """
SELECT time_ns, deployment, strategy, model_name AS model, epoch, term,
    nullif(split, '') AS split, nullif(reason, '') AS reason,
    modelled_latency_ms, modelled_latency_ms_std, modelled_origin_energy_j, modelled_total_energy_j
FROM plan""",
    "plan_stage": """
SELECT time_ns, deployment, node, printf('%03d', position) AS position,
    epoch, start, stop, codec, modelled_compute_ms, modelled_transfer_ms
FROM plan JOIN plan_stage USING (deployment, epoch, created_at)""",
    "profile": f"""
SELECT time_ns, node, substr(model, 1, 12) AS model, {_EMULATED} AS emulated,
    unsplit_ms, unsplit_ms_std, memory_mb, ops, threads, nullif(runtime, '') AS runtime
FROM profile""",
    "event": """
SELECT time_ns, kind, node, deployment, reporter, text, tier, version, emulated, session,
    NULL AS src, NULL AS delivered, NULL AS waited_ms, NULL AS allowed_ms, epoch, skew_s
FROM event
UNION ALL
SELECT time_ns, 'miss', suspect, deployment, node,
    CASE WHEN delivered THEN 'silent with the tensors of ' ELSE 'took no tensors of ' END || src || ': ' || outcome,
    NULL, NULL, NULL, NULL, src, delivered, waited_ms, allowed_ms, epoch, NULL
FROM miss""",
}
WITHOUT_VIEWS: Final = "".join(f"DROP VIEW IF EXISTS v_{name};\n" for name in _SELECTS)
VIEWS: Final = "".join(f"CREATE VIEW v_{name} AS {select.strip()};\n" for name, select in _SELECTS.items())
