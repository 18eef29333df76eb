"""Turns a meter's counter into numbered readings at an interval; publishing them is the agent's."""

import time
from collections.abc import Callable

from broker.messages import EnergyReading
from edge_agent.energy.meter import EnergyMeter


class Readings:
    """The readings of one meter in one session of a node, numbered from 0."""

    def __init__(
        self, meter: EnergyMeter, *, node: str, session: str, interval_s: float, clock: Callable[[], float]
    ) -> None:
        """`clock` tells the node's wall clock, in seconds since the Unix epoch."""
        self._meter = meter
        self._node = node
        self._session = session
        self._interval_s = interval_s
        self._clock = clock
        self._sequence = 0
        self._last_s = time.monotonic()
        self._last_j = 0.0

    def due(self) -> EnergyReading | None:
        """The next reading, or None before its time. MeterUnavailableError if the meter fails; its time then passes."""
        now_s = time.monotonic()
        passed_s = now_s - self._last_s
        if passed_s < self._interval_s:
            return None
        self._last_s = now_s
        energy_j = self._meter.read_energy_j()
        reading = EnergyReading(
            node=self._node,
            session=self._session,
            sequence=self._sequence,
            at=self._clock(),
            energy_j=energy_j,
            power_w=max(0.0, energy_j - self._last_j) / passed_s,
            interval_s=passed_s,
            meter=self._meter.name,
            source=self._meter.source,
            scope=self._meter.scope,
        )
        self._sequence += 1
        self._last_j = energy_j
        return reading
