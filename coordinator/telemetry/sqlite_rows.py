"""How each message becomes rows of the SQLite telemetry store, and which rows are too old."""

import sqlite3
from dataclasses import dataclass

from broker.messages import (
    EnergyReading,
    InferenceReport,
    LinkReading,
    MachineReading,
    NodeLoad,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    ProfileFailure,
    StageMiss,
    StageReport,
)
from coordinator.telemetry.event_points import event_of, time_of_miss
from coordinator.telemetry.point_time import point_time_ns
from coordinator.telemetry.points import predicted, route_of, split_in_words, time_of, time_of_inference
from coordinator.telemetry.samples import tag_text
from coordinator.telemetry.store import ClockSkew, Storable


def _into(table: str, columns: str) -> str:
    marks = ", ".join("?" * len(columns.split()))
    return f"INSERT OR IGNORE INTO {table} ({', '.join(columns.split())}) VALUES ({marks})"


_ENERGY = _into(
    "energy",
    "node session sequence at arrived_at time_ns energy_j power_w interval_s meter source scope resolution_j emulated",
)
_MACHINE = _into(
    "machine",
    "node session at arrived_at time_ns cpu memory_used_mb memory_total_mb agent_memory_mb temperature_c"
    " throttled throttled_by emulated",
)
_LOAD = _into("load", "node session at arrived_at time_ns load load_std emulated")
_LINK = _into("link", "src dst at arrived_at time_ns rtt_ms rtt_ms_std mbps mbps_std method way")
_MISS = _into("miss", "node deployment epoch at arrived_at time_ns src suspect delivered waited_ms allowed_ms outcome")
_INFERENCE = _into(
    "inference",
    "deployment request_id epoch origin at arrived_at time_ns latency_ms origin_energy_j total_energy_j source scope"
    " error fallback model route stages sent_bytes emulated"
    " compute_energy_j compute_energy_j_std compute_energy_source compute_energy_scope",
)
_STAGE = _into(
    "inference_stage",
    "inference position node start stop compute_ms codec_ms wait_ms batch"
    " energy_j energy_j_std energy_method energy_source energy_scope energy_meter",
)
_TRANSFER = _into("inference_transfer", "inference position src dst size_bytes transfer_ms")
_PLAN = _into(
    "plan",
    "deployment epoch created_at arrived_at time_ns model model_name origin strategy reason term split"
    " modelled_latency_ms modelled_latency_ms_std modelled_origin_energy_j modelled_total_energy_j",
)
_PLAN_STAGE = _into(
    "plan_stage", "deployment epoch created_at position node start stop codec modelled_compute_ms modelled_transfer_ms"
)
_PROFILE = _into(
    "profile",
    "node model at arrived_at time_ns unsplit_ms unsplit_ms_std memory_mb ops threads runtime emulated",
)
_PRUNED = ("energy", "machine", "link", "load", "inference", "miss", "plan", "profile", "event")


@dataclass(frozen=True, slots=True)
class Rows:
    """Keeps messages as rows; one that is there already is left as it is."""

    coordinator: str
    """Who noticed what no node reports."""

    def insert(self, connection: sqlite3.Connection, message: Storable, recorded_at: float) -> None:
        """Add one message; OverflowError where a number exceeds 64 bits.

        Nothing is written then: all that has no other bound is in the first row of a message.
        """
        match message:
            case EnergyReading():
                _insert_energy(connection, message, recorded_at)
            case MachineReading():
                _insert_machine(connection, message, recorded_at)
            case NodeLoad() as load:
                time_ns = time_of(load, recorded_at)
                row = (load.node, load.session, load.at, recorded_at, time_ns, load.load, load.load_std, load.emulated)
                connection.execute(_LOAD, row)
            case LinkReading():
                _insert_link(connection, message, recorded_at)
            case StageMiss():
                _insert_miss(connection, message, recorded_at)
            case InferenceReport():
                _insert_inference(connection, message, recorded_at)
            case Plan():
                _insert_plan(connection, message, recorded_at)
            case NodeProfile():
                _insert_profile(connection, message, recorded_at)
            case _:
                self._insert_event(connection, message, recorded_at)

    def prune(self, connection: sqlite3.Connection, before: float) -> None:
        """Delete what is from before that time (s since 1970)."""
        prune_rows(connection, before)

    def _insert_event(
        self,
        connection: sqlite3.Connection,
        message: NodeStatus | PlanReady | ProfileFailure | ClockSkew,
        recorded_at: float,
    ) -> None:
        event = event_of(message, recorded_at, coordinator=self.coordinator)
        if event is None:
            return
        known = (*event.tags, *event.fields)
        statement = _into("event", " ".join(("time_ns", *(name for name, _ in known))))
        connection.execute(statement, (event.time_ns, *(value for _, value in known)))


def prune_rows(connection: sqlite3.Connection, before: float) -> None:
    """Delete what is from before that time (s since 1970), also of when the file was the store itself."""
    for table in _PRUNED:
        connection.execute(f"DELETE FROM {table} WHERE time_ns < ?", (max(0, int(before * 1e9)),))


def _insert_energy(connection: sqlite3.Connection, reading: EnergyReading, recorded_at: float) -> None:
    connection.execute(
        _ENERGY,
        (
            reading.node,
            reading.session,
            reading.sequence,
            reading.at,
            recorded_at,
            time_of(reading, recorded_at),
            reading.energy_j,
            reading.power_w,
            reading.interval_s,
            tag_text(reading.meter),
            reading.source,
            reading.scope,
            reading.resolution_j,
            reading.emulated,
        ),
    )


def _insert_machine(connection: sqlite3.Connection, reading: MachineReading, recorded_at: float) -> None:
    throttled = reading.throttled
    connection.execute(
        _MACHINE,
        (
            reading.node,
            reading.session,
            reading.at,
            recorded_at,
            time_of(reading, recorded_at),
            reading.cpu,
            reading.memory_used_mb,
            reading.memory_total_mb,
            reading.agent_memory_mb,
            reading.temperature_c,
            len(throttled) if throttled is not None else None,
            ",".join(throttled) if throttled is not None else None,
            reading.emulated,
        ),
    )


def _insert_link(connection: sqlite3.Connection, link: LinkReading, recorded_at: float) -> None:
    connection.execute(
        _LINK,
        (
            link.src,
            link.dst,
            link.at,
            recorded_at,
            time_of(link, recorded_at),
            link.rtt_ms,
            link.rtt_ms_std,
            link.mbps,
            link.mbps_std,
            link.method,
            link.way,
        ),
    )


def _insert_miss(connection: sqlite3.Connection, miss: StageMiss, recorded_at: float) -> None:
    connection.execute(
        _MISS,
        (
            miss.node,
            miss.deployment,
            miss.epoch,
            miss.at,
            recorded_at,
            time_of_miss(miss, recorded_at),
            miss.src,
            miss.suspect,
            miss.delivered,
            miss.waited_ms,
            miss.allowed_ms,
            miss.outcome,
        ),
    )


def _insert_inference(connection: sqlite3.Connection, report: InferenceReport, recorded_at: float) -> None:
    compute = report.compute_energy
    cursor = connection.execute(
        _INFERENCE,
        (
            report.deployment,
            report.request_id,
            report.epoch,
            report.origin,
            report.at,
            recorded_at,
            time_of_inference(report, recorded_at),
            report.latency_ms,
            report.origin_energy_j,
            report.total_energy_j,
            report.energy_source,
            report.energy_scope,
            report.error,
            report.fallback,
            report.model,
            route_of(report),
            sum(stage.start < stage.stop for stage in report.stages),
            sum(hop.size_bytes for hop in report.transfers),
            report.emulated,
            compute.energy_j if compute is not None else None,
            compute.energy_j_std if compute is not None else None,
            compute.source if compute is not None else None,
            compute.scope if compute is not None else None,
        ),
    )
    if cursor.rowcount == 0:
        return
    inference = cursor.lastrowid
    connection.executemany(
        _STAGE, [(inference, position, *_stage_row(stage)) for position, stage in enumerate(report.stages)]
    )
    connection.executemany(
        _TRANSFER,
        [
            (inference, position, hop.src, hop.dst, hop.size_bytes, hop.transfer_ms)
            for position, hop in enumerate(report.transfers)
        ],
    )


def _stage_row(stage: StageReport) -> tuple[object, ...]:
    row = (stage.node, stage.start, stage.stop, stage.compute_ms, stage.codec_ms, stage.wait_ms, stage.batch)
    energy = stage.energy
    if energy is None:
        return (*row, None, None, None, None, None, None)
    said = (energy.energy_j, energy.energy_j_std, energy.method, energy.source, energy.scope, tag_text(energy.meter))
    return (*row, *said)


def _insert_plan(connection: sqlite3.Connection, plan: Plan, recorded_at: float) -> None:
    key = (plan.deployment, plan.epoch, plan.created_at)
    cursor = connection.execute(
        _PLAN,
        (
            *key,
            recorded_at,
            point_time_ns(plan.created_at, recorded_at),
            plan.model.sha256,
            plan.model.name,
            plan.origin,
            plan.strategy,
            plan.reason,
            plan.term,
            split_in_words(plan.stages),
            plan.prediction.latency_ms,
            plan.prediction.latency_std_ms,
            plan.prediction.origin_energy_j,
            plan.prediction.total_energy_j,
        ),
    )
    if cursor.rowcount == 0:
        return
    rows: list[tuple[object, ...]] = []
    for position, stage in enumerate(plan.stages):
        expected = predicted(plan, position)
        times = (expected.compute_ms, expected.transfer_ms) if expected is not None else (None, None)
        rows.append((*key, position, stage.node, stage.start, stage.stop, stage.codec, *times))
    connection.executemany(_PLAN_STAGE, rows)


def _insert_profile(connection: sqlite3.Connection, profile: NodeProfile, recorded_at: float) -> None:
    connection.execute(
        _PROFILE,
        (
            profile.node,
            profile.model,
            profile.at,
            recorded_at,
            point_time_ns(profile.at, recorded_at),
            profile.unsplit_ms,
            profile.unsplit_ms_std,
            profile.memory_mb,
            len(profile.op_ms),
            profile.threads,
            profile.runtime,
            profile.emulated is not None,
        ),
    )
