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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.messages import InferenceReport, Leader, Telemetry, TelemetryStored
from broker.presence import new_session_id
from broker.session import Incoming, Session
from broker.sign_in import BrokerSettings
from broker.topics import INFERENCE, LEADER, STORED, Topic
from coordinator.telemetry.sqlite_store import SqliteTelemetryStore
from coordinator.telemetry.store import StoredUpTo, TelemetryStore
from edge_agent.telemetry_outbox import TelemetryOutbox

SITE = "surviving"
NODE = "pi"


TelemetryOf = Callable[[str, int], tuple[Telemetry, ...]]
"""What the run of this name publishes under this number."""


def request_id(name: str, number: int) -> str:
    """The id of an inference, which no other run of a publisher uses."""
    return f"{name}-{number}"


def reports(name: str, number: int) -> tuple[Telemetry, ...]:
    """A small report."""
    inference = request_id(name, number)
    return (
        InferenceReport(
            deployment="photos", epoch=1, request_id=inference, origin=NODE, at=time.time(), latency_ms=1.0
        ),
    )


def publish(broker: BrokerSettings, spool: Path, per_s: float, telemetry_of: TelemetryOf = reports) -> None:
    """Publish telemetry, each inference with an id of its own, until the input ends; then wait to be killed."""
    name = new_session_id()
    session = Session(broker, site=SITE, client_id=f"agent-{name}")
    outbox = TelemetryOutbox(session, node=NODE, session_id=name, file=spool, max_bytes=64_000_000)
    session.start()
    outbox.start()
    started, number = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], max(0.0, started + number / per_s - time.monotonic()))[0]:
        number += 1
        for telemetry in telemetry_of(name, number):
            outbox.publish(telemetry)
        os.write(1, f"{request_id(name, number)} {'behind' if outbox.is_behind else 'spooled'}\n".encode())
    threading.Event().wait()


def store(broker: BrokerSettings, kept: TelemetryStore, *topics: Topic[Any]) -> None:
    """Store what comes on these topics, confirm it and lead, until killed."""
    name = new_session_id()
    session = Session(broker, site=SITE, client_id=f"coordinator-{name}")
    leader = Leader(coordinator="coordinator", session=name, term=1, state="leading", url="http://127.0.0.1:1")

    def take(incoming: Incoming[Any]) -> None:
        kept.record(incoming.message, time.time())

    def confirm(stored: tuple[StoredUpTo, ...]) -> None:
        for each in stored:
            message = TelemetryStored(node=each.node, session=each.session, sequence=each.sequence, term=1)
            session.publish(STORED, message, each.node)

    kept.on_stored(confirm)
    for topic in topics:
        session.on(topic, take)
    session.on_connected(lambda: session.publish(LEADER, leader))
    session.start()
    threading.Event().wait()


if __name__ == "__main__":
    role, port, path, *rest = sys.argv[1:]
    settings = BrokerSettings(host="127.0.0.1", port=int(port), start_timeout_s=60.0)
    if role == "publish":
        publish(settings, Path(path), float(rest[0]))
    else:
        store(settings, SqliteTelemetryStore(Path(path), retention_s=86_400.0), INFERENCE)
