"""How much room telemetry takes: in the coordinator's SQLite file, and in an InfluxDB 1 after its compaction.

    python benchmarks/telemetry_size.py

Messages of 20 made-up nodes with noise in every figure, as many as make some 50,000 points of each kind.
"""

import argparse
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from broker.messages import (
    ComputeEnergy,
    EnergyReading,
    InferenceReport,
    LinkReading,
    MachineReading,
    NodeLoad,
    StageEnergy,
    StageReport,
    TransferReport,
)
from coordinator.telemetry.influx_answers import Stored
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.sqlite_rows import Rows
from coordinator.telemetry.sqlite_schema import SCHEMA
from coordinator.telemetry.store import Storable
from testbed.private_influxd import PrivateInfluxd

NODES = tuple(f"node-{number:02d}" for number in range(20))
POINTS = 50_000
SESSION = "0123456789abcdef"
BATCH = 5_000
COMPACTED_S = 60.0
# An InfluxDB compacts what was not written to for 10 minutes, or 4 hours: here for a moment.
HASTE = {
    "INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "2s",
    "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION": "2s",
}
noise = random.Random(1)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message, and how many seconds its sender lets pass between two."""

    name: str
    interval_s: float
    make: Callable[[str, float, int], Storable]


def energy(node: str, at: float, number: int) -> EnergyReading:
    power_w = round(noise.gauss(4.0, 0.3), 3)
    return EnergyReading(
        node=node,
        session=SESSION,
        sequence=number,
        at=at,
        energy_j=4.0 * number + power_w,
        power_w=power_w,
        interval_s=noise.gauss(1.0, 1e-3),
        meter="rapl",
        source="measured",
        scope="package",
        resolution_j=6.1e-5,
    )


def machine(node: str, at: float, _number: int) -> MachineReading:
    return MachineReading(
        node=node,
        session=SESSION,
        at=at,
        cpu=noise.random(),
        memory_used_mb=1_000.0 + noise.random(),
        memory_total_mb=4_000.0,
        agent_memory_mb=90.0 + noise.random(),
        temperature_c=round(55.0 + noise.random(), 1),
        throttled=(),
    )


def load(node: str, at: float, _number: int) -> NodeLoad:
    return NodeLoad(node=node, session=SESSION, at=at, load=noise.random() / 2.0, load_std=noise.random() / 10.0)


def link(node: str, at: float, number: int) -> LinkReading:
    return LinkReading(
        src=node,
        dst=NODES[number % len(NODES)],
        at=at,
        rtt_ms=noise.uniform(2.0, 4.0),
        rtt_ms_std=noise.random(),
        mbps=noise.uniform(80.0, 100.0),
        mbps_std=noise.random(),
        method="probe",
    )


def inference(node: str, at: float, _number: int) -> InferenceReport:
    return InferenceReport(
        deployment="photos",
        epoch=3,
        request_id=f"{noise.getrandbits(64):016x}",
        origin=node,
        at=at,
        latency_ms=noise.gauss(80.0, 5.0),
        model="mobilenetv2",
        stages=tuple(stage(each, start) for each, start in ((node, 0), ("fog", 20), ("cloud", 40))),
        transfers=tuple(
            TransferReport(src=src, dst=dst, size_bytes=100_000, transfer_ms=noise.uniform(5.0, 10.0))
            for src, dst in ((node, "fog"), ("fog", "cloud"))
        ),
        origin_energy_j=noise.random(),
        total_energy_j=noise.random(),
        compute_energy=ComputeEnergy(
            energy_j=noise.random(), energy_j_std=noise.random(), source="measured", scope="package"
        ),
    )


def stage(node: str, start: int) -> StageReport:
    spent = StageEnergy(
        energy_j=noise.random(),
        energy_j_std=noise.random(),
        method="integrated",
        source="measured",
        scope="package",
        meter="rapl",
    )
    compute_ms = noise.gauss(20.0, 1.0)
    return StageReport(node=node, start=start, stop=start + 20, compute_ms=compute_ms, wait_ms=0.1, energy=spent)


KINDS = (
    Kind("reading of a meter", 1.0, energy),
    Kind("state of a machine", 10.0, machine),
    Kind("load of a node", 10.0, load),
    Kind("estimate of a link", 0.5, link),
    Kind("inference, 3 stages, 2 hops", 2.0, inference),
)


def measure(kind: Kind, directory: Path) -> str:
    """The line of one kind."""
    points = messages = 0
    pending: list[bytes] = []
    file = directory / "telemetry.sqlite"
    with (
        PrivateInfluxd(directory / "influxd") as influxd,
        closing(InfluxServer(replace(influxd.settings, database="size"))) as server,
        closing(sqlite3.connect(file)) as connection,
    ):
        server.query('CREATE DATABASE "size"', timeout_s=30.0)
        connection.executescript(SCHEMA)
        rows = Rows("hub")
        began = time.time() - POINTS / len(NODES) * kind.interval_s
        while points + len(pending) < POINTS:
            node, turn = NODES[messages % len(NODES)], messages // len(NODES)
            at = began + turn * kind.interval_s + noise.random() / 100.0
            message = kind.make(node, at, turn)
            rows.insert(connection, message, at)
            pending += [line_of(sample) for sample in samples_of(message, at, coordinator="hub")]
            messages += 1
            if len(pending) >= BATCH:
                points += write(server, pending)
        points += write(server, pending)
        connection.commit()
        influxdb_bytes = compacted_bytes(directory / "influxd")
    return (
        f"{kind.name:<28} {points / messages:>6.0f} {influxdb_bytes / messages:>14.0f}"
        f" {file.stat().st_size / messages:>12.0f}"
    )


def write(server: InfluxServer, pending: list[bytes]) -> int:
    """Write what is pending; how many points that was."""
    answer = server.write(b"\n".join(pending)) if pending else Stored()
    if not isinstance(answer, Stored):
        raise SystemExit(f"InfluxDB does not take the points: {answer}")
    count = len(pending)
    pending.clear()
    return count


def compacted_bytes(directory: Path) -> int:
    """The bytes of the compacted files, once they change no more."""
    before, since = -1, time.monotonic()
    while time.monotonic() - since < COMPACTED_S:
        time.sleep(5.0)
        now = sum(path.stat().st_size for path in directory.rglob("*.tsm"))
        if now == before > 0:
            return now
        before = now
    raise SystemExit("InfluxDB does not end compacting")


def main() -> None:
    """Measure each kind."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.environ.update(HASTE)
    print("bytes for each message        points   InfluxDB 1.6       SQLite")
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="splitrail-size-") as directory:
            print(measure(kind, Path(directory)), flush=True)


if __name__ == "__main__":
    main()
