import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.messages import EnergyReading, NodeLoad, PowerModel
from edge_agent.clock import WallClock
from edge_agent.configuration import AgentSettings, EmulationSettings, EnergySettings
from edge_agent.emulated_load import EmulatedLoad
from edge_agent.energy.modelled import Traffic
from edge_agent.executor import Executor
from edge_agent.instruments import Instruments


@pytest.fixture
def executor() -> Iterator[Executor]:
    """An executor that is closed afterwards."""
    running = Executor()
    yield running
    running.close()


def first_readings(executor: Executor, emulation: EmulationSettings | None) -> tuple[NodeLoad, EnergyReading]:
    """The first load and the first energy reading of a node."""
    settings = AgentSettings(
        site="home", node="pi", tier="edge", energy=EnergySettings(meter="modelled"), emulation=emulation
    )
    instruments = Instruments(
        settings,
        "s",
        power=PowerModel(idle_w=2.0, busy_w=6.0),
        executor=executor,
        threads=lambda: 1,
        emulated_load=EmulatedLoad(emulation.load_file if emulation else None),
        clock=WallClock(),
        traffic=lambda: Traffic(0, 0),
        listen=lambda *_: None,
    )
    loads: list[NodeLoad] = []
    energies: list[EnergyReading] = []
    instruments.start()
    deadline_s = time.monotonic() + 20.0
    while not (loads and energies):
        assert time.monotonic() < deadline_s
        for reading in instruments.due():
            if isinstance(reading, NodeLoad):
                loads.append(reading)
            else:
                energies.append(reading)
        time.sleep(0.05)
    instruments.close()
    return loads[0], energies[0]


def test_a_real_node_measures_its_load(executor: Executor) -> None:
    """What others take of this very machine's processor, whatever it is."""
    load, energy = first_readings(executor, None)
    assert not load.emulated
    assert 0.0 <= load.load < 1.0
    assert (load.node, load.session, energy.session) == ("pi", "s", "s")


def test_an_emulated_node_has_the_load_that_its_testbed_sets(executor: Executor, tmp_path: Path) -> None:
    """The machine that plays it may be busy with other nodes; that is no load of this one."""
    load_file = tmp_path / "load"
    load_file.write_text("0.4")
    emulation = EmulationSettings(compute_factor=2.0, description="slow", load_file=load_file)
    load, energy = first_readings(executor, emulation)
    assert (load.load, load.load_std, load.emulated) == (0.4, 0.0, True)
    assert (energy.source, energy.emulated) == ("modelled", True)
