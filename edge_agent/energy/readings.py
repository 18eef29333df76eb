"""Turns a meter's counter into numbered readings at an interval; publishing them is the agent's."""

import time

from broker.messages import EnergyReading
from edge_agent.energy.meter import EnergyMeter


class Readings:
    """The readings of one meter in one session of a node, numbered from 0."""

    def __init__(self, meter: EnergyMeter, *, node: str, session: str, interval_s: float) -> None:
        self._meter = meter
        self._node = node
        self._session = session
        self._interval_s = interval_s
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
            at=time.time(),
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
