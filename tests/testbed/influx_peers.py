"""The two ends of telemetry into InfluxDB as processes to be killed; test_influx_survives.py starts them.

    python influx_peers.py publish PORT SPOOL MESSAGES_PER_S
    python influx_peers.py store PORT STORE URL

A publisher prints the id of each inference, and whether its spool is `behind`, so that a kill may take it with it; at
the end of its input it publishes no more.
"""

import sys
import time
from pathlib import Path

from telemetry_peers import NODE, publish, request_id, store

from broker.messages import EnergyReading, InferenceReport, StageReport, Telemetry, TransferReport
from broker.sign_in import BrokerSettings
from broker.topics import ENERGY, INFERENCE
from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_store import InfluxTelemetryStore

STAGES = 2
ENERGY_EVERY = 4


def inference(name: str, number: int) -> InferenceReport:
    """An inference over two nodes: one point, two of stages and one of a transfer."""
    return InferenceReport(
        deployment="photos",
        epoch=1,
        request_id=request_id(name, number),
        origin=NODE,
        at=time.time(),
        latency_ms=12.5,
        stages=tuple(
            StageReport(node=node, start=index, stop=index + 1, compute_ms=5.25, wait_ms=0.5)
            for index, node in enumerate((NODE, "pc"))
        ),
        transfers=(TransferReport(src=NODE, dst="pc", size_bytes=1_024, transfer_ms=2.0),),
    )


def telemetry(name: str, number: int) -> tuple[Telemetry, ...]:
    """An inference, and now and then a reading of a meter."""
    report = inference(name, number)
    if number % ENERGY_EVERY:
        return (report,)
    reading = EnergyReading(
        node=NODE,
        session=name,
        sequence=number,
        at=time.time(),
        energy_j=float(number),
        power_w=3.0,
        interval_s=1.0,
        meter="model",
        source="modelled",
        scope="board",
    )
    return (report, reading)


if __name__ == "__main__":
    role, port, path, *rest = sys.argv[1:]
    settings = BrokerSettings(host="127.0.0.1", port=int(port), start_timeout_s=60.0)
    if role == "publish":
        publish(settings, Path(path), float(rest[0]), telemetry)
    else:
        influxdb = InfluxSettings(url=rest[0])
        kept = InfluxTelemetryStore(Path(path), influxdb, coordinator="coordinator", retention_s=86_400.0)
        store(settings, kept, INFERENCE, ENERGY)
