"""All energy of one node: its meters' readings, and what each stage took by the primary one.

Which meter is primary is `edge_agent.energy.best_meter`'s to say; publishing is the agent's.
"""

import logging
import math
import os
import queue
import time
from collections.abc import Callable, Iterator
from typing import Final

from broker.messages import EnergyReading, PowerModel
from edge_agent.configuration import AgentSettings
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.comparison import Both, Comparison, Ratio
from edge_agent.energy.finding import Finding
from edge_agent.energy.readings import Readings
from edge_agent.energy.sampler import Sampler
from edge_agent.energy.shared_meter import SharedMeter
from edge_agent.energy.stage_energy import Sample
from edge_agent.energy.stage_meter import MachineModel, NodeStageMeter, PrimaryStages
from edge_agent.errors import MeterUnavailableError

log = logging.getLogger("splitrail.agent")

MOST_WAITING: Final = 1_000
LONGEST_LOOK_S: Final = 1.0
COMPARE_S: Final = 0.5
"""How often the model is compared with the primary meter at most; a look at it may cost a process."""


def look_interval_s(interval_s: float) -> float:
    """How often to look, of which `interval_s` between readings is a whole multiple."""
    return interval_s / math.ceil(interval_s / LONGEST_LOOK_S)


class Metering:
    """Reads every meter in `findings` on a thread of its own; an emulated node has the model alone.

    `now` tells the node's wall clock. MeterUnavailableError if the settings name a meter that is not there.
    """

    def __init__(
        self,
        settings: AgentSettings,
        session: str,
        findings: tuple[Finding, ...],
        *,
        power: PowerModel,
        now: Callable[[], float],
    ) -> None:
        emulated = settings.emulation is not None
        choice = best_meter(settings.energy.meter, findings, emulated=emulated)
        log.info("energy: %s (%s, %s): %s", choice.meter.name, choice.meter.source, choice.meter.scope, choice.reason)
        meters = [
            SharedMeter(
                each.meter, without="stages are modelled" if each.meter is choice.meter else "no readings of it"
            )
            for each in findings
            if each.meter is not None
        ]
        [self._model] = [each for each in meters if each.meter.source == "modelled"]
        if emulated:
            meters = [self._model]
        [chosen] = [each for each in meters if each.meter is choice.meter]
        self._primary = None if chosen is self._model else chosen
        is_read_at_once = chosen.is_read_at_once()
        self._sampler = Sampler(
            tuple(each for each in meters if each.meter.is_sampled or (each is self._primary and not is_read_at_once)),
            primary=None if is_read_at_once else self._primary,
            look=self._look,
            look_interval_s=look_interval_s(settings.energy.interval_s),
        )
        self._readings = [
            Readings(
                each,
                node=settings.node,
                session=session,
                interval_s=settings.energy.interval_s,
                clock=now,
                emulated=emulated,
            )
            for each in meters
        ]
        self._waiting: queue.Queue[EnergyReading] = queue.Queue(MOST_WAITING)
        self._comparison = Comparison()
        self._compared_s = -math.inf
        machine = MachineModel(
            power, self._model.meter.name, self._model.meter.scope, os.cpu_count() or 1, is_emulated=emulated
        )
        stages = (
            PrimaryStages(self._primary, self._sampler, self._ratio, is_read_at_once=is_read_at_once)
            if self._primary is not None
            else None
        )
        self.stage_meter: Final = NodeStageMeter(machine, stages)

    def start(self) -> None:
        """Begin to read."""
        self._sampler.start()

    def close(self) -> None:
        """End the thread."""
        self._sampler.close()

    def due(self) -> Iterator[EnergyReading]:
        """The readings since the last call."""
        while True:
            try:
                yield self._waiting.get_nowait()
            except queue.Empty:
                return

    def _look(self) -> None:
        taken: dict[SharedMeter, Sample | None] = {}
        now_s = time.monotonic()
        # The period is asked each time: a plug's is known only once it has spoken.
        if self._primary is not None and now_s - self._compared_s >= max(COMPARE_S, self._primary.meter.period_s):
            self._compared_s = now_s
            taken[self._primary] = self._sampler.take(self._primary)
            self._compare(self._primary, taken[self._primary])
        for readings in self._readings:
            if readings.is_due:
                meter = readings.meter
                sample = taken[meter] if meter in taken else self._sampler.take(meter)
                if sample is not None:
                    self._put(readings.reading(sample))

    def _put(self, reading: EnergyReading) -> None:
        try:
            self._waiting.put_nowait(reading)
        except queue.Full:
            log.warning("a reading of %s is dropped: %d wait already", reading.meter, MOST_WAITING)

    def _compare(self, primary: SharedMeter, measured: Sample | None) -> None:
        if measured is None:
            return
        try:
            modelled = self._model.sample()
        except MeterUnavailableError:
            return  # said by the meter itself
        both = Both(measured.at_ns / 1e9, measured.energy_j, modelled.energy_j, measured.uncounted_s)
        meter = primary.meter
        self._comparison = self._comparison.then(both, resolution_j=meter.resolution_j, period_s=meter.period_s)

    def _ratio(self) -> Ratio | None:
        period_s = self._primary.meter.period_s if self._primary is not None else 0.0
        return self._comparison.ratio(time.monotonic(), period_s=period_s)
