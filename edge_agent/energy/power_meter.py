"""A meter from a sensor of watts, which is sampled whenever the meter is read. The sensors are the backends'."""

import time
from collections.abc import Callable

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.energy.power_integral import PowerIntegral
from edge_agent.errors import MeterUnavailableError


class PowerMeter:
    """The joules of a power sensor, by the trapezoid rule between the times at which this is read.

    A gap of more than `longest_gap_s` between two readings, for instance while the sensor was away, adds nothing.
    """

    source: EnergySource = "measured"
    is_sampled = True

    def __init__(
        self,
        name: MeterName,
        scope: EnergyScope,
        read_power_w: Callable[[], float],
        *,
        period_s: float,
        longest_gap_s: float,
        power_step_w: float = 0.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count from now; MeterUnavailableError if the sensor cannot be read.

        `period_s` is how often the sensor has a new value, `power_step_w` its smallest step, 0 if nothing tells it.
        """
        self.name: MeterName = name
        self.scope: EnergyScope = scope
        self.period_s = period_s
        self.resolution_j = power_step_w * period_s
        self._read_power_w = read_power_w
        self._clock_s = clock_s
        self._integral = PowerIntegral(longest_gap_s)
        self.read_energy_j()

    @property
    def uncounted_s(self) -> float:
        """Seconds in gaps that were too long to fill in."""
        return self._integral.uncounted_s

    def read_energy_j(self) -> float:
        """Joules since the meter was made; samples the sensor."""
        power_w = self._read_power_w()
        try:
            return self._integral.add(self._clock_s(), power_w)
        except ValueError as error:
            raise MeterUnavailableError(f"the sensor of {self.name} says {error}", is_there=True) from None


class MovingSensor:
    """A sensor of watts whose files may move, for instance when its driver is loaded anew."""

    def __init__(self, locate: Callable[[], Callable[[], float]]) -> None:
        """`locate` finds the sensor and returns what reads its watts; MeterUnavailableError if it is not there."""
        self._locate = locate
        self._read = locate()

    def read_power_w(self) -> float:
        """Watts now; where that fails, the sensor is looked for anew, and MeterUnavailableError if that fails too."""
        try:
            return self._read()
        except MeterUnavailableError:
            self._read = self._locate()
            return self._read()
