"""Measures the energy of the executor's runs, each by the best means that its length admits.

How that is reckoned is `edge_agent.energy.stage_energy`'s.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from broker.messages import EnergyScope, PowerModel, StageEnergy
from edge_agent.energy.comparison import Ratio
from edge_agent.energy.sampler import Sampler
from edge_agent.energy.shared_meter import SharedMeter
from edge_agent.energy.stage_energy import (
    ComputeWindow,
    Estimate,
    Sample,
    energy_between,
    measured_stage,
    modelled_stage,
    scaled_stage,
)
from edge_agent.errors import MeterUnavailableError


@dataclass(frozen=True, slots=True)
class MachineModel:
    """The model of a machine: a real one is busy for a run's processor time, an emulated one for all of the run."""

    power: PowerModel
    name: str
    scope: EnergyScope
    cores: int
    is_emulated: bool


class PrimaryStages:
    """The primary meter over stages: its counter at both ends where that is read at once, else the sampler's samples.

    `ratio` gives how the meter compares with the model now; None where that is not known.
    """

    def __init__(
        self, meter: SharedMeter, sampler: Sampler, ratio: Callable[[], Ratio | None], *, is_read_at_once: bool
    ) -> None:
        self.meter = meter
        self.ratio = ratio
        self._sampler = sampler
        self._is_read_at_once = is_read_at_once

    def begin(self) -> Sample | None:
        """A run begins."""
        if self._is_read_at_once:
            return self._now()
        self._sampler.hurry()
        return None

    def end(self, first: Sample | None, window: ComputeWindow) -> Estimate | None:
        """What the meter says of a run that has just ended; None where it is too coarse for it."""
        if self._is_read_at_once:
            samples = tuple(sample for sample in (first, self._now()) if sample is not None)
        else:
            self._sampler.relax()
            samples = self._sampler.since(window.start_ns)
        primary = self.meter.primary
        return energy_between(
            samples, window.start_ns, window.stop_ns, resolution_j=primary.resolution_j, period_s=primary.period_s
        )

    def _now(self) -> Sample | None:
        try:
            return self.meter.sample()
        except MeterUnavailableError:
            return None  # said by the meter itself


class NodeStageMeter:
    """What the executor asks: `primary` over each run, else the model; without a primary, the model alone."""

    def __init__(self, model: MachineModel, primary: PrimaryStages | None) -> None:
        self._model = model
        self._primary = primary

    def begin(self) -> "Run":
        """A run is about to compute."""
        first = self._primary.begin() if self._primary is not None else None
        return Run(self._model, self._primary, first, time.process_time_ns())


class Run(msgspec.Struct, frozen=True):
    """A run under way; all processor time of this process counts as its own, the runtime's threads among it."""

    model: MachineModel
    primary: PrimaryStages | None
    first: Sample | None
    start_cpu_ns: int

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """The energy of the run, which computed between these moments of time.monotonic_ns() and is over now."""
        model, cpu_ns = self.model, time.process_time_ns() - self.start_cpu_ns
        busy_s = (stop_ns - start_ns) / 1e9 if model.is_emulated else cpu_ns / model.cores / 1e9
        window = ComputeWindow(start_ns, stop_ns, busy_s)
        if self.primary is None:
            return modelled_stage(window, model.power, model.name, model.scope)
        estimate = self.primary.end(self.first, window)
        if estimate is not None:
            return measured_stage(estimate, self.primary.meter.primary)
        ratio = self.primary.ratio()
        if ratio is None or not self.primary.meter.is_available:
            return modelled_stage(window, model.power, model.name, model.scope)
        return scaled_stage(window, model.power, ratio, self.primary.meter.primary)
