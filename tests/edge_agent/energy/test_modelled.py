"""The energy model: what it reckons, and that it never takes energy back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import PowerModel
from edge_agent.energy.modelled import ModelledMeter, Traffic, machine_busy_s, machine_traffic

PI = PowerModel(idle_w=2.7, busy_w=6.4, tx_j_per_mb=0.14, rx_j_per_mb=0.1)


class World:
    """The counters that a meter reads, set by the test."""

    clock_s = 100.0
    busy_s = 50.0
    traffic = Traffic(1_000, 1_000)

    def meter(self, power: PowerModel = PI) -> ModelledMeter:
        """A meter of this world."""
        return ModelledMeter(power, lambda: self.busy_s, lambda: self.traffic, clock_s=lambda: self.clock_s)


def test_an_idle_node_draws_its_idle_power() -> None:
    """Ten idle seconds at 2.7 W are 27 J, whatever the counters stood at before."""
    world = World()
    meter = world.meter()
    assert meter.read_energy_j() == 0.0
    world.clock_s += 10
    assert meter.read_energy_j() == pytest.approx(27.0)
    assert (meter.source, meter.scope) == ("modelled", "board")


def test_busy_seconds_and_megabytes_add_up() -> None:
    """Busy seconds cost the difference to idle, and each MB over the radio its joules."""
    world = World()
    meter = world.meter()
    world.clock_s += 10
    world.busy_s += 4
    world.traffic = Traffic(3_001_000, 2_001_000)
    assert meter.read_energy_j() == pytest.approx(27 + 4 * 3.7 + 3 * 0.14 + 2 * 0.1)


def test_a_node_cannot_be_busier_than_time_allows() -> None:
    """Busy seconds beyond the time that has passed do not count."""
    world = World()
    meter = world.meter()
    world.clock_s += 1
    world.busy_s += 60
    assert meter.read_energy_j() == pytest.approx(6.4)


@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 2, *[st.integers(-(10**9), 10**9)] * 2), max_size=20))
def test_energy_never_falls(steps: list[tuple[float, float, int, int]]) -> None:
    """Whatever the counters do, even start over, the joules only grow."""
    world = World()
    meter = world.meter()
    last_j = 0.0
    for clock_s, busy_s, sent, received in steps:
        world.clock_s += clock_s
        world.busy_s += busy_s
        world.traffic = Traffic(world.traffic.sent_bytes + sent, world.traffic.received_bytes + received)
        energy_j = meter.read_energy_j()
        assert energy_j >= last_j
        last_j = energy_j


def test_the_resolution_follows_the_busy_counter() -> None:
    """A counter in steps of 10 ms shows energy in steps of 37 mJ on a Pi 4."""
    meter = ModelledMeter(PI, lambda: 0.0, lambda: Traffic(0, 0), busy_resolution_s=0.01)
    assert meter.resolution_j == pytest.approx(0.037)


def test_this_machine_counts_its_busy_seconds_and_bytes() -> None:
    """The machine's own counters never fall, and are in the range that they should be."""
    busy_s, traffic = machine_busy_s(), machine_traffic()
    sum(range(3_000_000))
    assert machine_busy_s() >= busy_s > 0
    assert machine_traffic().sent_bytes >= traffic.sent_bytes >= 0
