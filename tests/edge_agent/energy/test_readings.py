"""A meter's counter as numbered readings."""

import hypothesis.strategies as st
import pytest
from fake_meter import FakeMeter
from hypothesis import given

from broker.messages import EnergyReading
from edge_agent.energy.readings import Readings
from edge_agent.energy.shared_meter import SharedMeter
from edge_agent.energy.stage_energy import Sample

S = 1_000_000_000


def readings_of(meter: FakeMeter) -> Readings:
    """The readings of a meter, as of an agent that has just begun."""
    shared = SharedMeter(meter, without="nothing")
    return Readings(shared, node="pi", session="s", interval_s=1.0, clock=lambda: 1_700_000_000.0, emulated=False)


def after(readings: Readings, *steps: tuple[float, float, float]) -> list[EnergyReading]:
    """A reading after each step: the seconds that pass, the joules that come, and the seconds that are not counted."""
    at_ns, energy_j, uncounted_s = readings._last_ns, 0.0, readings._last_uncounted_s
    told = []
    for passed_s, rise_j, missed_s in steps:
        at_ns, energy_j, uncounted_s = at_ns + round(passed_s * S), energy_j + rise_j, uncounted_s + missed_s
        told.append(readings.reading(Sample(at_ns, energy_j, uncounted_s)))
    return told


def test_mean_power_is_of_the_time_that_was_counted() -> None:
    """Five minutes without the sensor are not filled in: neither in power, nor where power is multiplied by time."""
    first, gap, later = after(readings_of(FakeMeter()), (1.0, 5.0, 0.0), (301.0, 5.0, 300.0), (1.0, 5.0, 0.0))
    assert [reading.power_w for reading in (first, gap, later)] == pytest.approx([5.0, 5.0, 5.0])
    assert [reading.interval_s for reading in (first, gap, later)] == pytest.approx([1.0, 1.0, 1.0])
    assert [reading.sequence for reading in (first, gap, later)] == [0, 1, 2]


def test_a_gap_of_which_nothing_is_known_has_no_power() -> None:
    """The counter stood still, and no second of it was counted."""
    [reading] = after(readings_of(FakeMeter()), (60.0, 0.0, 60.0))
    assert (reading.power_w, reading.interval_s) == (0.0, 0.0)


def test_what_a_meter_missed_before_there_were_readings_is_not_their_time() -> None:
    """A plug is silent from its own beginning on, which is earlier."""
    [reading] = after(readings_of(FakeMeter(uncounted_s=3.0)), (2.0, 5.0, 1.0))
    assert (reading.power_w, reading.interval_s) == pytest.approx((5.0, 1.0))


@given(st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 1e4), st.floats(0.0, 1.0)), min_size=1, max_size=20))
def test_power_times_time_is_what_the_counter_rose_by(steps: list[tuple[float, float, float]]) -> None:
    """Whatever was missed meanwhile: sums over readings are the counter's own."""
    counted = [(passed_s, rise_j, 0.9 * passed_s * share) for passed_s, rise_j, share in steps]
    told = after(readings_of(FakeMeter()), *counted)
    assert sum(reading.power_w * reading.interval_s for reading in told) == pytest.approx(told[-1].energy_j, rel=1e-6)
