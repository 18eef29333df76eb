"""An agent whose machine is measured by a smart plug on the same broker."""

import time
from contextlib import closing
from pathlib import Path

import pytest

from broker.messages import EnergyReading
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import ENERGY
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, EnergySettings, PlugSettings, TensorSettings

PAYLOAD = b'{"Time":"2024-05-19T20:52:56","ENERGY":{"Total":14.153,"Power":6,"Voltage":234,"Current":0.052}}'


def test_a_plug_is_read_beside_the_model(tmp_path: Path, mosquitto: PrivateMosquitto, site: str) -> None:
    """As measured at the wall, with the power that it says."""
    topic = f"tele/{site}/SENSOR"
    settings = AgentSettings(
        site=site,
        node="pi",
        tier="edge",
        broker=mosquitto.settings,
        cache=tmp_path,
        tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open"),
        energy=EnergySettings(meter="plug", interval_s=0.1, plug=PlugSettings(kind="tasmota", topic=topic)),
    )
    readings: dict[str, list[EnergyReading]] = {"plug": [], "modelled": []}
    coordinator = Session(mosquitto.settings, site=site, client_id=f"coordinator-{site}")
    coordinator.on(ENERGY, lambda incoming: readings[incoming.message.meter].append(incoming.message))
    with coordinator, closing(Agent(settings)) as agent:
        agent.start()
        deadline_s = time.monotonic() + 40.0
        while min(map(len, readings.values())) < 3:
            assert time.monotonic() < deadline_s
            coordinator.publish_foreign(topic, PAYLOAD, retain=False)
            time.sleep(agent.tick())
    plug, modelled = readings["plug"][-1], readings["modelled"][-1]
    assert (plug.source, plug.scope, plug.emulated) == ("measured", "wall", False)
    assert plug.power_w == pytest.approx(6.0, rel=0.05)
    assert modelled.source == "modelled"
