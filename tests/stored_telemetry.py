"""Telemetry of a made-up site in a SQLite store: every measurement, in small numbers, in the first minute of a day."""

import math
from pathlib import Path

from made_site import birth_message, inference_message, load_message, miss_message, plan_message, profile_message
from msgspec.structs import replace

from broker.messages import (
    ComputeEnergy,
    EnergyReading,
    LinkReading,
    MachineReading,
    SpoolMark,
    StageEnergy,
    TransferReport,
)
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import Storable

AT_S = 1_700_006_400.0
"""2023-11-15T00:00:00Z."""
MEASURED = StageEnergy(
    energy_j=0.5, energy_j_std=0.1, method="integrated", source="measured", scope="package", meter="rapl"
)


def a_sites_messages(*, inferences: int = 20) -> list[Storable]:
    """An inference each 0.1 s and a reading of a meter each second, and one of everything else."""
    made: list[Storable] = [
        birth_message("pi"),
        load_message("pi", 0.25),
        profile_message("pi"),
        plan_message(2, ("pi", 0, 1), ("laptop", 1, 1), ("pc", 1, 4)),
        miss_message("pc"),
        LinkReading(
            src="pi", dst="pc", at=AT_S + 0.25, rtt_ms=2.0, rtt_ms_std=0.5, mbps=40.0, mbps_std=4.0, method="probe"
        ),
        MachineReading(
            node="pi",
            session="s1",
            at=AT_S + 0.5,
            cpu=0.25,
            memory_used_mb=100.0,
            memory_total_mb=400.0,
            agent_memory_mb=50.0,
            temperature_c=61.0,
            throttled=("under-voltage",),
        ),
    ]
    report = inference_message(("pi", 0, 1, 40.0), ("pc", 1, 4, 15.0))
    stages = (replace(report.stages[0], energy=MEASURED), *report.stages[1:])
    for number in range(inferences):
        made.append(
            replace(
                report,
                request_id=f"r{number}",
                at=AT_S + number / 10,
                latency_ms=80.0 + number,
                stages=stages,
                transfers=(TransferReport(src="pi", dst="pc", size_bytes=100_000, transfer_ms=5.0),),
                compute_energy=ComputeEnergy(energy_j=0.4, energy_j_std=0.05, source="mixed", scope="package"),
                error='a "text", of two \\ parts' if number == 3 else None,
                mark=SpoolMark(session="s1", sequence=2 * number + 1, oldest=1, age_s=0.0),
            )
        )
        made.append(
            EnergyReading(
                node="pi",
                session="s1",
                sequence=number,
                at=AT_S + number,
                energy_j=3.0 * number + math.pi,
                power_w=3.0 + number / 10,
                interval_s=1.0,
                meter="rapl",
                source="measured",
                scope="package",
                resolution_j=0.001,
                mark=SpoolMark(session="s1", sequence=2 * number + 2, oldest=1, age_s=0.0),
            )
        )
    return made


def a_store(path: Path, *, inferences: int = 20) -> Path:
    """A closed store with all of it."""
    store = SqliteTelemetryStore(path, retention_s=1e9, clock=lambda: AT_S)
    for message in a_sites_messages(inferences=inferences):
        store.record(message, AT_S)
    store.close()
    return path
