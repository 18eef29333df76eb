"""The two ends of telemetry into InfluxDB as processes to be killed; test_influx_survives.py starts them.

    python influx_peers.py publish PORT SPOOL MESSAGES_PER_S
    python influx_peers.py store PORT STORE URL

A publisher prints the id of each inference, and whether its spool is `behind`, so that a kill may take it with it; at
the end of its input it publishes no more.
"""

import os
import select
import sys
import threading
import time
from pathlib import Path

from broker.connection import BrokerSettings
from broker.messages import EnergyReading, InferenceReport, Leader, StageReport, TelemetryStored, TransferReport
from broker.presence import new_session_id
from broker.session import Incoming, Session
from broker.topics import ENERGY, INFERENCE, LEADER, STORED
from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.store import StoredUpTo
from edge_agent.telemetry_outbox import TelemetryOutbox

SITE = "surviving"
NODE = "pi"
STAGES = 2
ENERGY_EVERY = 4


def inference(request_id: str) -> InferenceReport:
    """An inference over two nodes: one point, two of stages and one of a transfer."""
    return InferenceReport(
        deployment="photos",
        epoch=1,
        request_id=request_id,
        origin=NODE,
        at=time.time(),
        latency_ms=12.5,
        stages=tuple(
            StageReport(node=node, start=index, stop=index + 1, compute_ms=5.25, wait_ms=0.5)
            for index, node in enumerate((NODE, "pc"))
        ),
        transfers=(TransferReport(src=NODE, dst="pc", size_bytes=1_024, transfer_ms=2.0),),
    )


def publish(broker: BrokerSettings, spool: Path, per_s: float) -> None:
    """Publish inferences, each with an id of its own, and readings, until the input ends; then wait to be killed."""
    name = new_session_id()
    session = Session(broker, site=SITE, client_id=f"agent-{name}")
    outbox = TelemetryOutbox(session, node=NODE, session_id=name, file=spool, max_bytes=64_000_000)
    session.start()
    outbox.start()
    started, number = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], max(0.0, started + number / per_s - time.monotonic()))[0]:
        number += 1
        request_id = f"{name}-{number}"
        outbox.publish(inference(request_id))
        if number % ENERGY_EVERY == 0:
            outbox.publish(
                EnergyReading(
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
            )
        os.write(1, f"{request_id} {'behind' if outbox.is_behind else 'spooled'}\n".encode())
    threading.Event().wait()


def store(broker: BrokerSettings, file: Path, url: str) -> None:
    """Take what comes, confirm it and lead, until killed."""
    name = new_session_id()
    kept = InfluxTelemetryStore(file, InfluxSettings(url=url), coordinator="coordinator", retention_s=86_400.0)
    session = Session(broker, site=SITE, client_id=f"coordinator-{name}")
    leader = Leader(coordinator="coordinator", session=name, term=1, state="leading", url="http://127.0.0.1:1")

    def take(incoming: Incoming[InferenceReport] | Incoming[EnergyReading]) -> None:
        kept.record(incoming.message, time.time())

    def confirm(stored: tuple[StoredUpTo, ...]) -> None:
        for each in stored:
            message = TelemetryStored(node=each.node, session=each.session, sequence=each.sequence, term=1)
            session.publish(STORED, message, each.node)

    kept.on_stored(confirm)
    session.on(INFERENCE, take)
    session.on(ENERGY, take)
    session.on_connected(lambda: session.publish(LEADER, leader))
    session.start()
    threading.Event().wait()


if __name__ == "__main__":
    role, port, path, *rest = sys.argv[1:]
    settings = BrokerSettings(host="127.0.0.1", port=int(port), start_timeout_s=60.0)
    if role == "publish":
        publish(settings, Path(path), float(rest[0]))
    else:
        store(settings, Path(path), rest[0])
