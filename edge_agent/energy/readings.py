"""Turns a meter's counter into numbered readings at an interval; publishing them is the agent's."""

import time
from collections.abc import Callable

from broker.messages import EnergyReading
from edge_agent.energy.shared_meter import SharedMeter
from edge_agent.energy.stage_energy import Sample


class Readings:
    """The readings of one meter in one session of a node, numbered from 0."""

    def __init__(
        self,
        meter: SharedMeter,
        *,
        node: str,
        session: str,
        interval_s: float,
        clock: Callable[[], float],
        emulated: bool,
    ) -> None:
        """`clock` tells the node's wall clock, in seconds since the Unix epoch."""
        self.meter = meter
        self._node = node
        self._session = session
        self._interval_s = interval_s
        self._clock = clock
        self._emulated = emulated
        self._sequence = 0
        self._last_ns = time.monotonic_ns()
        self._last_j = 0.0
        self._last_uncounted_s = meter.meter.uncounted_s

    @property
    def is_due(self) -> bool:
        """Whether the interval has passed, and the meter may have news since the reading before."""
        # Looks come at about the interval: one that is a little early counts.
        least_s = 0.9 * max(self._interval_s, self.meter.meter.period_s)
        return time.monotonic_ns() - self._last_ns >= least_s * 1e9

    def reading(self, sample: Sample) -> EnergyReading:
        """The next reading, of a sample of the meter that was just taken."""
        meter = self.meter.meter
        passed_s = (sample.at_ns - self._last_ns) / 1e9
        counted_s = max(0.0, passed_s - (sample.uncounted_s - self._last_uncounted_s))
        reading = EnergyReading(
            node=self._node,
            session=self._session,
            sequence=self._sequence,
            at=self._clock() - (time.monotonic_ns() - sample.at_ns) / 1e9,
            energy_j=sample.energy_j,
            power_w=max(0.0, sample.energy_j - self._last_j) / counted_s if counted_s > 0.0 else 0.0,
            interval_s=counted_s,
            meter=meter.name,
            source=meter.source,
            scope=meter.scope,
            resolution_j=meter.resolution_j,
            emulated=self._emulated,
        )
        self._sequence += 1
        self._last_ns, self._last_j, self._last_uncounted_s = sample.at_ns, sample.energy_j, sample.uncounted_s
        return reading
