"""All energy of a node: what is read, published and told of its stages."""

import contextlib
import time
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from eventually import eventually
from fake_meter import ABSENT, FakeMeter
from hypothesis import given

from broker.messages import EnergyReading, PowerModel, StageEnergy
from edge_agent.configuration import AgentSettings, EmulationSettings, EnergySettings
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.metering import LONGEST_LOOK_S, Metering, look_interval_s
from edge_agent.energy.stage_energy import MODEL_RELATIVE_STD

POWER = PowerModel(idle_w=2.0, busy_w=6.0)
EMULATION = EmulationSettings(compute_factor=2.0, description="slow")


class SteadyMeter(FakeMeter):
    """A counter that rises with time, by `watts`."""

    watts = 5.0

    def read_energy_j(self) -> float:
        """Joules since time began."""
        self.energy_j = self.watts * time.monotonic()
        return super().read_energy_j()


def model() -> SteadyMeter:
    """A model that reckons with twice what the steady meter says."""
    steady = SteadyMeter(name="modelled", source="modelled", scope="board")
    steady.watts = 10.0
    return steady


def metering(*meters: FakeMeter, emulation: EmulationSettings | None = None, wanted: str = "auto") -> Metering:
    """A node with these meters and the model."""
    findings: list[Finding] = [found(meter, "covered") for meter in (*meters, model())]
    energy = EnergySettings(meter=wanted, interval_s=0.1)  # type: ignore[arg-type]  # a name that the test chooses
    settings = AgentSettings(site="home", node="pi", tier="edge", energy=energy, emulation=emulation)
    return Metering(settings, "s", tuple(findings), power=POWER, now=time.time)


def run(node: Metering, seconds: float = 0.0) -> StageEnergy:
    """A run of about so long."""
    begun, start_ns = node.stage_meter.begin(), time.monotonic_ns()
    time.sleep(seconds)
    return begun.end(start_ns, time.monotonic_ns())


def eventually_by(node: Metering, is_so: Callable[[StageEnergy], bool], seconds: float) -> StageEnergy:
    """The first run of that length that is told in the way that is waited for."""
    told: list[StageEnergy] = []

    def holds() -> bool:
        told.append(run(node, seconds))
        return is_so(told[-1])

    assert eventually(holds)
    return told[-1]


def test_every_meter_is_published_under_its_own_name_and_the_model_too() -> None:
    """Each with a counter of its own, from 0 on."""
    board = SteadyMeter(name="hwmon", scope="board", is_sampled=True, resolution_j=0.01)
    node = metering(SteadyMeter(), board)
    node.start()
    readings: list[EnergyReading] = []
    with contextlib.closing(node):
        assert eventually(lambda: (readings.extend(node.due()), len(readings) >= 9)[1])
    by_meter = {name: [each for each in readings if each.meter == name] for name in ("rapl", "hwmon", "modelled")}
    assert sum(map(len, by_meter.values())) == len(readings)
    for each in by_meter.values():
        assert [reading.sequence for reading in each] == list(range(len(each)))
    rapl, hwmon, modelled = (by_meter[name][-1] for name in ("rapl", "hwmon", "modelled"))
    assert (rapl.source, rapl.scope, rapl.emulated) == ("measured", "package", False)
    assert (hwmon.source, hwmon.scope, hwmon.resolution_j) == ("measured", "board", 0.01)
    assert modelled.source == "modelled"
    assert rapl.power_w == pytest.approx(5.0, rel=0.01)


def test_a_quick_counter_is_integrated_over_the_stage() -> None:
    """Without a thread, by a reading at each end."""
    energy = run(metering(SteadyMeter()), 0.02)
    assert (energy.method, energy.source, energy.scope, energy.meter) == ("integrated", "measured", "package", "rapl")
    assert energy.energy_j >= 0.09


def test_a_sensor_is_integrated_by_the_samples_that_a_stage_is_given() -> None:
    """One of about ten of its periods is long enough."""
    node = metering(SteadyMeter(name="hwmon", scope="board", is_sampled=True, period_s=0.01))
    node.start()
    with contextlib.closing(node):
        energy = eventually_by(node, lambda energy: energy.method == "integrated", 0.2)
    assert (energy.source, energy.scope, energy.meter) == ("measured", "board", "hwmon")
    assert energy.energy_j >= 0.9


def test_a_stage_that_is_too_short_for_its_meter_is_the_model_scaled() -> None:
    """By half, for the meter says half of what the model does; before that is known, it is the model."""
    node = metering(SteadyMeter(period_s=0.05))
    assert run(node).method == "model"
    node.start()
    with contextlib.closing(node):
        energy = eventually_by(node, lambda energy: energy.method == "scaled", 0.0)
    assert (energy.source, energy.scope, energy.meter) == ("modelled", "package", "rapl")
    unscaled = run(metering())
    assert energy.energy_j < unscaled.energy_j * 50
    ratio = node._ratio()
    assert ratio is not None
    assert ratio.mean == pytest.approx(0.5, rel=0.05)


def test_a_primary_that_fails_leaves_the_model(caplog: pytest.LogCaptureFixture) -> None:
    """Which says that it is one; the log says so once."""
    meter = SteadyMeter()
    node = metering(meter)
    assert run(node, 0.01).method == "integrated"
    meter.failure = ABSENT
    energy = [run(node, 0.01) for _ in range(3)][-1]
    assert (energy.method, energy.source, energy.meter, energy.scope) == ("model", "modelled", "modelled", "board")
    [said] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said.startswith("stages are modelled until rapl can be read")
    assert energy.energy_j_std == pytest.approx(MODEL_RELATIVE_STD * energy.energy_j)


def test_an_emulated_node_is_modelled_as_busy_for_all_of_its_time() -> None:
    """Its host's meters measure another machine: they are neither read nor published."""
    meter = SteadyMeter()
    node = metering(meter, emulation=EMULATION)
    node.start()
    readings: list[EnergyReading] = []
    with contextlib.closing(node):
        energy = run(node, 0.05)
        assert eventually(lambda: (readings.extend(node.due()), len(readings) >= 2)[1])
    assert (energy.method, energy.source) == ("model", "modelled")
    assert energy.energy_j >= 0.05 * 6.0
    assert {(reading.meter, reading.emulated) for reading in readings} == {("modelled", True)}
    assert meter.reads == 0


def test_the_model_is_chosen_by_name() -> None:
    """The meters are still read and published; the stages are modelled."""
    assert run(metering(SteadyMeter(), wanted="modelled"), 0.01).method == "model"


@given(st.floats(0.1, 3_600.0))
def test_readings_come_at_their_interval_and_looks_between(interval_s: float) -> None:
    """So that the model is compared with the meter often, however seldom readings are published."""
    look_s = look_interval_s(interval_s)
    assert 0.05 < look_s <= LONGEST_LOOK_S
    assert interval_s / look_s == pytest.approx(round(interval_s / look_s))


def test_a_meter_that_is_slow_to_tell_is_not_asked_at_every_look() -> None:
    """Neither for readings nor to compare the model."""
    meter = SteadyMeter(name="pi5-pmic", scope="soc", is_sampled=True, period_s=30.0)
    node = metering(meter)
    for _ in range(20):
        node._look()
    assert meter.reads == 1


def test_a_meter_that_turns_out_quicker_is_compared_the_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug's period is taken for 300 s until it has spoken; what follows does not wait for so long."""
    monkeypatch.setattr("edge_agent.energy.metering.COMPARE_S", 0.0)
    meter = FakeMeter(name="plug", scope="wall", period_s=300.0)
    node = metering(meter, wanted="plug")
    node._look()
    before = meter.reads
    node._look()
    assert meter.reads == before
    meter.period_s = 0.0
    node._look()
    assert meter.reads > before


def test_readings_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A main thread that hangs costs no memory."""
    monkeypatch.setattr("edge_agent.energy.metering.MOST_WAITING", 2)
    node = metering()
    for _ in range(4):
        for readings in node._readings:
            readings._last_ns = 0
        node._look()
    assert len(list(node.due())) == 2
