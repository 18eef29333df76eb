"""A made-up site's telemetry, of figures that are easily summed in one's head, as the messages that agents send.

`pi-4.local` and `laptop` have meters, `emu` is emulated; `photos` runs on the first two, `faces` on `emu` too.
"""

import datetime
from collections.abc import Iterator

from made_site import REFERENCE, announcement, miss_message, plan_message, profile_message
from msgspec.structs import replace

from broker.messages import (
    ComputeEnergy,
    EnergyMethod,
    EnergyReading,
    EnergyScope,
    EnergySource,
    InferenceReport,
    LinkReading,
    MachineReading,
    NodeLoad,
    NodeStatus,
    Plan,
    PlanReady,
    Prediction,
    SpoolMark,
    StageEnergy,
    StagePrediction,
    StageReport,
    TransferReport,
)
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.samples import Sample
from coordinator.telemetry.store import ClockSkew, Storable

NOON = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC).timestamp()
HOUR_S = 3_600
PI, LAPTOP, EMULATED = "pi-4.local", "laptop", "emu"
Metered = tuple[str, str, EnergySource, EnergyScope, float]
METERS: tuple[Metered, ...] = (
    (PI, "hwmon", "measured", "board", 4.0),
    (PI, "modelled", "modelled", "board", 5.0),
    (LAPTOP, "rapl", "measured", "package", 10.0),
    (LAPTOP, "modelled", "modelled", "board", 20.0),
    (EMULATED, "modelled", "modelled", "board", 3.0),
)
"""Node, meter, source, scope and its constant power in W."""
INFERENCES = 100
"""Of each deployment in the last hour that were answered: their latencies are 1, 2, ... ms of `photos`, and twice
that of `faces`."""


def samples() -> Iterator[Sample]:
    """Everything as the coordinator stores it, once each."""
    for at, message in messages():
        yield from samples_of(message, at, coordinator="pc")


def messages() -> Iterator[tuple[float, Storable]]:
    """When each was recorded, and what it says."""
    yield from _energy()
    yield from _machines()
    yield from _links()
    yield from _plans()
    yield from _inferences()
    yield from _events()


def _energy() -> Iterator[tuple[float, EnergyReading]]:
    """The last hour, each 10 s; half an hour of yesterday evening, in one reading each 10 minutes, is not today's."""
    for node, meter, source, scope, power_w in METERS:
        times = [(NOON - 10.0 * step, 10.0) for step in range(HOUR_S // 10)]
        times += [(NOON - 13.0 * HOUR_S - 600.0 * step, 600.0) for step in range(3)]
        for at, interval_s in sorted(times):
            yield (
                at,
                EnergyReading(
                    node=node,
                    session="s1",
                    sequence=0,
                    at=at,
                    energy_j=power_w * (at - NOON + 86_400.0),
                    power_w=power_w,
                    interval_s=interval_s,
                    meter=meter,
                    source=source,
                    scope=scope,
                    resolution_j=0.001,
                    emulated=node == EMULATED,
                ),
            )


def _machines() -> Iterator[tuple[float, MachineReading | NodeLoad]]:
    for node in (PI, LAPTOP, EMULATED):
        for step in range(HOUR_S // 10):
            at = NOON - 10.0 * step
            yield (
                at,
                MachineReading(
                    node=node,
                    session="s1",
                    at=at + 0.25,
                    cpu=0.5,
                    memory_used_mb=900.0,
                    memory_total_mb=4_000.0,
                    agent_memory_mb=90.0,
                    temperature_c=61.0,
                    throttled=("under-voltage",) if step % 100 == 7 else (),
                    emulated=node == EMULATED,
                ),
            )
            yield (
                at,
                NodeLoad(node=node, session="s1", at=at + 0.5, load=0.25, load_std=0.05, emulated=node == EMULATED),
            )


def _links() -> Iterator[tuple[float, LinkReading]]:
    for src, dst, mbps in ((PI, LAPTOP, 40.0), (LAPTOP, PI, 30.0), (PI, EMULATED, 8.0)):
        for step in range(60):
            at = NOON - 60.0 * step
            probed = LinkReading(
                src=src, dst=dst, at=at, rtt_ms=3.0, rtt_ms_std=0.5, mbps=mbps, mbps_std=2.0, method="probe"
            )
            yield at, probed
            yield at, replace(probed, mbps=mbps / 2.0, method="transfer")


def _plans() -> Iterator[tuple[float, Plan]]:
    """One long before the last hour, one within it."""
    for deployment, far in (("photos", LAPTOP), ("faces", EMULATED)):
        for epoch, ago_s, cut, latency_ms in ((1, 2.0 * HOUR_S, 3, 70.0), (2, 0.5 * HOUR_S, 1, 50.0)):
            stages = ((PI, 0, cut), (far, cut, 4))
            predicted = tuple(
                StagePrediction(transfer_ms=5.0, transfer_std_ms=1.0, compute_ms=20.0, compute_std_ms=1.0)
                for _ in stages
            )
            prediction = Prediction(
                latency_ms=latency_ms,
                latency_std_ms=2.0,
                origin_energy_j=0.1,
                total_energy_j=0.3,
                objective=1.0,
                stages=predicted,
            )
            yield (
                NOON - ago_s,
                replace(
                    plan_message(epoch, *stages),
                    deployment=deployment,
                    model=replace(REFERENCE, name=f"{deployment}-net"),
                    prediction=prediction,
                    created_at=NOON - ago_s,
                    reason="a link became faster",
                ),
            )


def _inferences() -> Iterator[tuple[float, InferenceReport]]:
    for deployment, far, factor in (("photos", LAPTOP, 1.0), ("faces", EMULATED, 2.0)):
        for number in range(1, INFERENCES + 1):
            yield _answered(deployment, far, number, factor * number)
        for number, changes in enumerate(({"error": "no plan"}, {"fallback": "laptop is silent"}), INFERENCES + 1):
            at, report = _answered(deployment, far, number, 900.0)
            yield at, replace(report, **changes)


def _answered(deployment: str, far: str, number: int, latency_ms: float) -> tuple[float, InferenceReport]:
    """The first half runs under the first plan; meters tell its stages apart, and of the far one in three ways."""
    began = NOON - HOUR_S + 10.0 + 35.0 * number
    is_emulated = far == EMULATED
    cut = 3 if began < NOON - 0.5 * HOUR_S else 1
    near = StageEnergy(
        energy_j=0.2, energy_j_std=0.02, method="integrated", source="measured", scope="board", meter="hwmon"
    )
    method: EnergyMethod = "model" if is_emulated else "scaled"
    distant = StageEnergy(
        energy_j=0.6,
        energy_j_std=0.1,
        method=method,
        source="modelled",
        scope="board" if is_emulated else "package",
        meter="modelled" if is_emulated else "rapl",
    )
    return (
        began + latency_ms / 1e3,
        InferenceReport(
            deployment=deployment,
            epoch=1 if cut == 3 else 2,
            request_id=f"r{number}",
            origin=PI,
            at=began,
            latency_ms=latency_ms,
            stages=(
                StageReport(node=PI, start=0, stop=cut, compute_ms=latency_ms / 2.0, wait_ms=0.5, energy=near),
                StageReport(node=far, start=cut, stop=4, compute_ms=latency_ms / 4.0, wait_ms=0.5, energy=distant),
            ),
            transfers=(
                TransferReport(src=PI, dst=far, size_bytes=100_000, transfer_ms=50.0),
                TransferReport(src=far, dst=PI, size_bytes=4_000, transfer_ms=2.0),
            ),
            origin_energy_j=0.4,
            total_energy_j=0.9,
            model=f"{deployment}-net",
            compute_energy=ComputeEnergy(
                energy_j=0.8, energy_j_std=0.1, source="mixed", scope="board" if is_emulated else "mixed"
            ),
            emulated=is_emulated,
            mark=SpoolMark(session="s1", sequence=number, oldest=1, age_s=0.0),
        ),
    )


def _events() -> Iterator[tuple[float, Storable]]:
    """Births days ago, what goes wrong within the last hour, and profiles."""
    for node in (PI, LAPTOP, EMULATED):
        came = NOON - 3.0 * 86_400.0
        words = "a Pi on this machine" if node == EMULATED else None
        birth = NodeStatus(
            node=node,
            session="s1",
            state="online",
            announcement=replace(announcement("pi"), emulated=words),
            at=came,
        )
        yield came, birth
        yield came + 60.0, replace(profile_message("pi"), node=node, emulated=words, unsplit_ms_std=1.0, at=came + 60.0)
        yield NOON - 1_000.0, ClockSkew(node, 2.5)
        yield NOON - 900.0, NodeStatus(node=node, session="s0", state="offline")
    for deployment in ("photos", "faces"):
        yield NOON - 800.0, replace(miss_message(PI), deployment=deployment, at=NOON - 800.0)
        yield NOON - 700.0, PlanReady(deployment=deployment, epoch=2, node=LAPTOP, ready=False, reason="no memory")
