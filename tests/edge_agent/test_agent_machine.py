"""An agent tells its site how its machine is."""

import time
from pathlib import Path

import pytest

from broker.messages import MachineReading
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import MACHINE
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, EmulationSettings, TensorSettings

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize("emulation", [None, EmulationSettings(compute_factor=4.0, description="a slower one")])
def test_the_state_of_the_machine_goes_through_the_spool(
    tmp_path: Path, mosquitto: PrivateMosquitto, site: str, emulation: EmulationSettings | None
) -> None:
    """Marked like all telemetry; of an emulated node it is the host's, and says so."""
    settings = AgentSettings(
        site=site,
        node="pi",
        tier="edge",
        broker=mosquitto.settings,
        cache=tmp_path / "cache",
        tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open"),
        emulation=emulation,
    )
    readings: list[MachineReading] = []
    agent = Agent(settings)
    coordinator = Session(mosquitto.settings, site=site, client_id=f"coordinator-{site}")
    coordinator.on(MACHINE, lambda incoming: readings.append(incoming.message))
    with coordinator:
        try:
            agent.start()
            deadline = time.monotonic() + 20.0
            while not readings and time.monotonic() < deadline:
                time.sleep(agent.tick())
        finally:
            agent.close()
    reading = readings[0]
    assert reading.mark is not None
    assert reading.emulated == (emulation is not None)
    assert 0.0 < reading.agent_memory_mb < reading.memory_total_mb
    assert abs(reading.at - time.time()) < 60.0
