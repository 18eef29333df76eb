"""A meter from a sensor of watts: it counts between readings, whatever the sensor does."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from meter_trees import Clock

from edge_agent.energy.power_meter import MovingSensor, PowerMeter
from edge_agent.errors import MeterUnavailableError


class Sensor:
    """A sensor that shows what the test sets; None while it is away."""

    def __init__(self, power_w: float | None) -> None:
        self.power_w = power_w

    def read_power_w(self) -> float:
        """Watts now."""
        if self.power_w is None:
            raise MeterUnavailableError("the sensor is away", fix="bring it back", is_there=True)
        return self.power_w


def meter_of(sensor: Sensor, clock: Clock) -> PowerMeter:
    """A meter that fills in gaps of up to 10 s."""
    return PowerMeter(
        "hwmon", "board", sensor.read_power_w, period_s=0.5, longest_gap_s=10.0, power_step_w=0.02, clock_s=clock
    )


def test_it_says_what_it_is() -> None:
    """A step of 20 mW over half a second is 10 mJ, and it must be read at its own period."""
    meter = meter_of(Sensor(1.0), Clock())
    assert (meter.name, meter.source, meter.scope) == ("hwmon", "measured", "board")
    assert (meter.period_s, meter.resolution_j, meter.is_sampled) == (0.5, pytest.approx(0.01), True)


def test_a_sensor_that_is_away_at_first_makes_no_meter() -> None:
    """Who opens it learns why."""
    with pytest.raises(MeterUnavailableError, match="the sensor is away: bring it back"):
        meter_of(Sensor(None), Clock())


@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.none() | st.floats(-1, 25_000, allow_nan=False) | st.just(float("nan"))),
        max_size=30,
    )
)
def test_whatever_the_sensor_does(steps: list[tuple[float, float | None]]) -> None:
    """Joules never fall, and the mean power over the time that is counted is one that was seen."""
    clock, sensor = Clock(), Sensor(5.0)
    meter = meter_of(sensor, clock)
    energies_j, seen_w, last_good_s = [0.0], [5.0], clock.now_s
    for passed_s, power_w in steps:
        clock.now_s += passed_s
        sensor.power_w = power_w
        try:
            energies_j.append(meter.read_energy_j())
        except MeterUnavailableError:
            continue
        assert power_w is not None
        seen_w.append(power_w)
        last_good_s = clock.now_s
    assert all(before <= after for before, after in pairwise(energies_j))
    counted_s = last_good_s - 1_000.0 - meter.uncounted_s
    assert min(seen_w) * counted_s - 1e-6 <= energies_j[-1] <= max(seen_w) * counted_s + 1e-6


def test_a_sensor_is_looked_for_anew_only_when_it_fails() -> None:
    """Files are found once; only a failure asks where they are now."""
    first, second = Sensor(1.0), Sensor(2.0)
    places = [first, second]
    moving = MovingSensor(lambda: places.pop(0).read_power_w)
    assert [moving.read_power_w() for _ in range(3)] == [1.0, 1.0, 1.0]
    first.power_w = None
    assert [moving.read_power_w() for _ in range(2)] == [2.0, 2.0]
    assert not places
