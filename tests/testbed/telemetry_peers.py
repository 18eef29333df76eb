"""The two ends of telemetry as processes to be killed: `publish` and `store`; test_telemetry_survives.py starts them.

    python telemetry_peers.py publish PORT SPOOL MESSAGES_PER_S
    python telemetry_peers.py store PORT STORE

A publisher prints the id of each message, and whether its spool is `behind`, so that a kill may take the message with
it; at the end of its input it publishes no more.
"""

import os
import select
import sys
import threading
import time
from pathlib import Path

from broker.connection import BrokerSettings
from broker.messages import InferenceReport, Leader, TelemetryStored
from broker.presence import new_session_id
from broker.session import Incoming, Session
from broker.topics import INFERENCE, LEADER, STORED
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import StoredUpTo
from edge_agent.telemetry_outbox import TelemetryOutbox

SITE = "surviving"
NODE = "pi"


def publish(broker: BrokerSettings, spool: Path, per_s: float) -> None:
    """Publish reports, each with an id of its own, until the input ends; then wait to be killed."""
    name = new_session_id()
    session = Session(broker, site=SITE, client_id=f"agent-{name}")
    outbox = TelemetryOutbox(session, node=NODE, session_id=name, file=spool, max_bytes=64_000_000)
    session.start()
    outbox.start()
    started, number = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], max(0.0, started + number / per_s - time.monotonic()))[0]:
        number += 1
        request_id = f"{name}-{number}"
        outbox.publish(
            InferenceReport(
                deployment="photos", epoch=1, request_id=request_id, origin=NODE, at=time.time(), latency_ms=1.0
            )
        )
        os.write(1, f"{request_id} {'behind' if outbox.is_behind else 'spooled'}\n".encode())
    threading.Event().wait()


def store(broker: BrokerSettings, file: Path) -> None:
    """Store what comes, confirm it and lead, until killed."""
    name = new_session_id()
    kept = SqliteTelemetryStore(file, retention_s=86_400.0)
    session = Session(broker, site=SITE, client_id=f"coordinator-{name}")
    leader = Leader(coordinator="coordinator", session=name, term=1, state="leading", url="http://127.0.0.1:1")

    def take(incoming: Incoming[InferenceReport]) -> None:
        kept.record(incoming.message, time.time())

    def confirm(stored: tuple[StoredUpTo, ...]) -> None:
        for each in stored:
            message = TelemetryStored(node=each.node, session=each.session, sequence=each.sequence, term=1)
            session.publish(STORED, message, each.node)

    kept.on_stored(confirm)
    session.on(INFERENCE, take)
    session.on_connected(lambda: session.publish(LEADER, leader))
    session.start()
    threading.Event().wait()


if __name__ == "__main__":
    role, port, path, *rest = sys.argv[1:]
    settings = BrokerSettings(host="127.0.0.1", port=int(port), start_timeout_s=60.0)
    if role == "publish":
        publish(settings, Path(path), float(rest[0]))
    else:
        store(settings, Path(path))
