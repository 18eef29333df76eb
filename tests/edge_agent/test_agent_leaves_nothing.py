"""An agent that has ended has ended whole."""

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from eventually import eventually
from plans import MODEL, plan_of

from broker import presence
from broker.errors import ConnectionFailedError, NodeNameTakenError
from broker.messages import PlanReady
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Session
from broker.sign_in import BrokerSettings
from broker.topics import PLAN, READY
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, TensorSettings
from models.cache import ModelCache, file_sha256
from models.graph import read_graph

pytestmark = pytest.mark.usefixtures("nothing_left")


def settings_of(directory: Path, broker: BrokerSettings, site: str) -> AgentSettings:
    return AgentSettings(
        site=site,
        node="pi",
        tier="edge",
        broker=broker,
        cache=directory,
        tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open"),
    )


def serve_a_plan(directory: Path, mosquitto: PrivateMosquitto, site: str, small_model: Callable[[str], Path]) -> None:
    model = directory.parent / f"{directory.name}.tflite"
    model.write_bytes(small_model("branchy").read_bytes())
    ModelCache(directory).add(model)
    ops = len(read_graph(model).ops)
    reference = msgspec.structs.replace(MODEL, sha256=file_sha256(model), ops=ops)
    plan = msgspec.structs.replace(plan_of(("pi", 0, ops)), model=reference)
    reports: list[PlanReady] = []
    agent = Agent(settings_of(directory, mosquitto.settings, site))
    try:
        agent.start()
        with Session(mosquitto.settings, site=site, client_id=f"{site}-coordinator") as coordinator:
            coordinator.on(READY, lambda incoming: reports.append(incoming.message))
            coordinator.publish(PLAN, plan, plan.deployment)
            assert eventually(lambda: reports, 30)
        agent.tick()
    finally:
        agent.close()
    assert reports[0].ready, reports[0].reason


def test_one_that_held_a_plan(
    tmp_path: Path, mosquitto: PrivateMosquitto, site: str, small_model: Callable[[str], Path]
) -> None:
    """No thread, socket, process or file is left of it, and no unfinished file in its cache."""
    serve_a_plan(tmp_path / "cache", mosquitto, site, small_model)
    leftover = [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".tmp", ".part", ".written")]
    assert leftover == []


def test_one_whose_broker_is_not_there(tmp_path: Path, site: str) -> None:
    """A start that fails is closed as one that did not."""
    agent = Agent(settings_of(tmp_path, BrokerSettings(port=free_port(), start_timeout_s=0.5), site))
    try:
        with pytest.raises(ConnectionFailedError):
            agent.start()
    finally:
        agent.close()


def test_one_whose_name_is_taken(
    tmp_path: Path, mosquitto: PrivateMosquitto, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is one that found its name taken, however long the elder took to say so."""
    monkeypatch.setattr(presence, "ANSWER_S", math.inf)
    elder = Agent(settings_of(tmp_path / "elder", mosquitto.settings, site))
    newcomer = Agent(settings_of(tmp_path / "newcomer", mosquitto.settings, site))
    try:
        elder.start()
        with pytest.raises(NodeNameTakenError):
            newcomer.start()
        elder.tick()
    finally:
        newcomer.close()
        elder.close()
