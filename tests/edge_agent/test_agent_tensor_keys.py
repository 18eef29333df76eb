"""Agents on a real broker: their births carry the keys, and by these alone they find to each other."""

import contextlib
import logging
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from eventually import eventually

from broker.messages import LinkReading, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import LINK, STATUS
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, TensorSettings
from edge_agent.keys import tensor_key


def settings_of(
    node: str, site: str, mosquitto: PrivateMosquitto, directory: Path, security: Literal["tls", "open"] = "tls"
) -> AgentSettings:
    """An agent on loopback with a cache of its own."""
    return AgentSettings(
        site=site,
        node=node,
        tier="edge",
        broker=mosquitto.settings,
        cache=directory / node,
        tensors=TensorSettings(listen="tcp://127.0.0.1:0", security=security),
    )


def test_agents_reach_each_other_by_the_keys_of_their_births(tmp_path: Path, mosquitto: PrivateMosquitto) -> None:
    """Both directions of the link are measured, which takes tensors' connections both ways."""
    readings: list[LinkReading] = []
    births: dict[str, NodeStatus] = {}
    chosen = [settings_of(node, "keys", mosquitto, tmp_path) for node in ("pi", "pc")]
    with contextlib.ExitStack() as running:
        observer = Session(mosquitto.settings, site="keys", client_id="observer")
        observer.on(LINK, lambda incoming: readings.append(incoming.message))
        observer.on(STATUS, lambda incoming: births.update({incoming.message.node: incoming.message}))
        running.enter_context(observer)
        for settings in chosen:
            agent = Agent(settings)
            running.callback(agent.close)
            agent.start()
        assert eventually(lambda: {reading.src for reading in readings} == {"pi", "pc"}, 40)
        for settings in chosen:
            announced = births[settings.node].announcement
            key = tensor_key(settings)
            assert announced is not None
            assert key is not None
            assert announced.tensor_key == key.public


def test_an_agent_says_once_that_a_peer_has_no_key(
    tmp_path: Path, mosquitto: PrivateMosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    """However often that one's birth is repeated."""
    with contextlib.ExitStack() as running, caplog.at_level(logging.WARNING, "splitrail.agent"):
        pc = Agent(settings_of("pc", "keyless", mosquitto, tmp_path))
        running.callback(pc.close)
        pc.start()
        pi = Agent(settings_of("pi", "keyless", mosquitto, tmp_path, "open"))
        running.callback(pi.close)
        pi.start()

        def said() -> list[str]:
            return [
                record.getMessage() for record in caplog.records if "announces no tensor key" in record.getMessage()
            ]

        assert eventually(lambda: len(said()) == 1, 20)
        observer = running.enter_context(Session(mosquitto.settings, site="keyless", client_id="repeater"))
        births: list[NodeStatus] = []
        observer.on(STATUS, lambda incoming: births.append(incoming.message))
        assert eventually(lambda: len(births) >= 2, 20)
        for birth in [birth for birth in births if birth.node == "pi"]:
            observer.publish(STATUS, birth, "pi")
        assert eventually(lambda: len(births) >= 3, 20)
        assert len(said()) == 1


def test_an_agent_knows_a_bounded_number_of_peers(
    tmp_path: Path, mosquitto: PrivateMosquitto, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a broker lets anyone announce nodes without end; one that leaves makes room."""
    monkeypatch.setattr("edge_agent.peers.MOST_PEERS", 2)
    births: list[NodeStatus] = []
    with contextlib.ExitStack() as running, caplog.at_level(logging.WARNING, "splitrail.agent"):
        observer = running.enter_context(Session(mosquitto.settings, site="crowd", client_id="announcer"))
        observer.on(STATUS, lambda incoming: births.append(incoming.message))
        agent = Agent(settings_of("pi", "crowd", mosquitto, tmp_path, "open"))
        running.callback(agent.close)
        agent.start()
        assert eventually(lambda: len(births) == 1, 20)
        crowd = [msgspec.structs.replace(births[0], node=f"pc{number}", session=f"s{number}") for number in range(4)]
        for birth in crowd[:3]:
            observer.publish(STATUS, birth, birth.node)
        assert eventually(lambda: "pc2 is ignored: 2 nodes are known already" in caplog.text, 20)
        gone = NodeStatus(node="pc0", session="s0", state="offline")
        observer.publish(STATUS, gone, "pc0")
        observer.publish(STATUS, crowd[3], "pc3")
        assert eventually(lambda: set(agent._peers.powers()) == {"pc1", "pc3"}, 20)
