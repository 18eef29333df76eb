"""The energy of a node over one stage's window: from a meter's samples, else from the model, scaled where it can be.

Pure; `edge_agent.energy.stage_meter` takes the samples and measures the window.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.messages import EnergyScope, PowerModel, StageEnergy
from edge_agent.energy.comparison import Ratio

MOST_RELATIVE_STD: Final = 0.1
"""A meter is too coarse for a window of which it knows less than this."""
MODEL_RELATIVE_STD: Final = 0.25
"""Published models of one board differ so: 3.0 W for an idle Pi 5, and 4.40 W by PowerJoular's fit, are 27 % apart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A meter's counter at a moment of time.monotonic_ns(); `uncounted_s` are the seconds that it has missed so far."""

    at_ns: int
    energy_j: float
    uncounted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Joules and their standard uncertainty."""

    energy_j: float
    energy_j_std: float


class ComputeWindow(msgspec.Struct, frozen=True):
    """When a stage computed, by time.monotonic_ns(), and for how long all cores of its machine would have been busy."""

    start_ns: int
    stop_ns: int
    busy_s: float

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return (self.stop_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Primary:
    """The meter that a node's stages are reckoned by; `resolution_j` and `period_s` as an EnergyMeter has them."""

    name: str
    scope: EnergyScope
    resolution_j: float
    period_s: float


def energy_between(
    samples: Sequence[Sample], start_ns: int, stop_ns: int, *, resolution_j: float, period_s: float
) -> Estimate | None:
    """What a counter rose by from `start_ns` to `stop_ns`, of samples in the order of time.

    Between two samples the counter is taken to rise evenly; behind the last one to go on as before for no longer than
    it did. The uncertainty is that of the counter's step, of its age (up to `period_s`), and of the moments between
    samples, where power may have been anything up to twice its mean. None where that is more than MOST_RELATIVE_STD,
    or the samples do not reach over the window or miss a part of it.
    """
    begin, end = _at(samples, start_ns), _at(samples, stop_ns)
    if begin is None or end is None or begin.uncounted_s != end.uncounted_s:
        return None
    energy_j = end.energy_j - begin.energy_j
    steps_j = resolution_j / math.sqrt(6.0)
    # The counter is as old as its period at most, at both ends: two rectangular distributions.
    window_s = (stop_ns - start_ns) / 1e9
    age_j = energy_j * min(1.0, period_s / window_s) / math.sqrt(6.0) if window_s > 0.0 else 0.0
    std_j = math.hypot(steps_j, age_j, begin.energy_j_std, end.energy_j_std)
    return Estimate(energy_j, std_j) if std_j <= MOST_RELATIVE_STD * energy_j else None


def model_energy_j(power: PowerModel, window: ComputeWindow) -> float:
    """What the model says of a window: idle power all the time, and more for the time that its cores were busy."""
    busy_s = min(window.busy_s, window.duration_s)
    return power.idle_w * window.duration_s + max(0.0, power.busy_w - power.idle_w) * busy_s


def measured_stage(estimate: Estimate, primary: Primary) -> StageEnergy:
    """The energy of a stage over which a meter was integrated."""
    return StageEnergy(
        energy_j=estimate.energy_j,
        energy_j_std=estimate.energy_j_std,
        method="integrated",
        source="measured",
        scope=primary.scope,
        meter=primary.name,
    )


def scaled_stage(window: ComputeWindow, power: PowerModel, ratio: Ratio, primary: Primary) -> StageEnergy:
    """The model's energy of a stage, times the ratio of meter to model in longer spans.

    Its spread is the ratio's; and the less the stage's power is like that of those spans, the more of the model's own
    uncertainty is in it, which is no less than what the ratio corrects, nor than what others drew in those spans.
    """
    modelled_j = model_energy_j(power, window)
    energy_j = ratio.mean * modelled_j
    power_w = modelled_j / window.duration_s if window.duration_s > 0.0 else 0.0
    most_w = max(power_w, ratio.modelled_w)
    doubt_j = max(MODEL_RELATIVE_STD * energy_j, abs(energy_j - modelled_j))
    unlikeness = abs(power_w - ratio.modelled_w) / most_w if most_w > 0.0 else 0.0
    # A machine that drew more in those spans than the stage asks for had other work, and may have it still.
    others_j = ratio.mean * max(0.0, ratio.modelled_w - power_w) * window.duration_s
    return StageEnergy(
        energy_j=energy_j,
        energy_j_std=math.hypot(ratio.std * modelled_j, max(unlikeness * doubt_j, others_j)),
        method="scaled",
        source="modelled",
        scope=primary.scope,
        meter=primary.name,
    )


def modelled_stage(window: ComputeWindow, power: PowerModel, meter: str, scope: EnergyScope) -> StageEnergy:
    """The model's energy of a stage, which nothing has measured; `meter` is the model's name."""
    energy_j = model_energy_j(power, window)
    return StageEnergy(
        energy_j=energy_j,
        energy_j_std=MODEL_RELATIVE_STD * energy_j,
        method="model",
        source="modelled",
        scope=scope,
        meter=meter,
    )


@dataclass(frozen=True, slots=True)
class _Moment:
    energy_j: float
    energy_j_std: float
    uncounted_s: float


def _at(samples: Sequence[Sample], at_ns: int) -> _Moment | None:
    """The counter at a moment; None before the first sample, and too long after the last."""
    after = bisect.bisect_left(samples, at_ns, key=lambda sample: sample.at_ns)
    if after < len(samples) and samples[after].at_ns == at_ns:
        return _Moment(samples[after].energy_j, 0.0, samples[after].uncounted_s)
    if after == 0:
        return None
    if after == len(samples):
        return _behind(samples, at_ns)
    before, later = samples[after - 1], samples[after]
    share = (at_ns - before.at_ns) / (later.at_ns - before.at_ns)
    rise_j = later.energy_j - before.energy_j
    return _Moment(
        before.energy_j + share * rise_j, min(share, 1.0 - share) * rise_j / math.sqrt(3.0), later.uncounted_s
    )


def _behind(samples: Sequence[Sample], at_ns: int) -> _Moment | None:
    if len(samples) < 2:
        return None
    before, last = samples[-2], samples[-1]
    share = (at_ns - last.at_ns) / (last.at_ns - before.at_ns) if last.at_ns > before.at_ns else math.inf
    if share > 1.0:
        return None
    rise_j = share * (last.energy_j - before.energy_j)
    return _Moment(last.energy_j + rise_j, rise_j / math.sqrt(3.0), last.uncounted_s)
