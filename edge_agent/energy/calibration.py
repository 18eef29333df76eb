"""Fits the power model to what a meter said of a machine under several loads. Pure.

Measuring is `edge_agent.energy.calibration_run`'s.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from broker.messages import EnergyScope
from edge_agent.errors import CalibrationError

LEAST_WINDOWS: Final = 3
LEAST_SPREAD: Final = 0.2
"""How far apart the loads must be: a line through alike ones has any slope, and idle power lies far beyond them."""
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class LoadWindow:
    """A while at one load: the share of all cores that was busy, 0..1, and the meter's mean power in W."""

    threads: int
    busy: float
    power_w: float


class PowerFit(msgspec.Struct, frozen=True, kw_only=True):
    """The line of power over load, in W: at rest and with all cores busy, each with its standard error."""

    idle_w: float
    idle_w_std: float
    busy_w: float
    busy_w_std: float
    residual_w: float
    """How far the windows lie from the line (their standard deviation)."""


class LoadLevel(msgspec.Struct, frozen=True, kw_only=True):
    """The windows of one load, and what the models say of it; powers in W."""

    threads: int
    busy: float
    measured_w: float
    before_w: float
    after_w: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A power model held against a meter; errors are the mean of |model - meter| / meter over the windows."""

    meter: str
    scope: EnergyScope
    windows: int
    window_s: float
    levels: tuple[LoadLevel, ...]
    fit: PowerFit
    before_idle_w: float
    before_busy_w: float
    before_error: float
    after_error: float


def fit_power(windows: Sequence[LoadWindow]) -> PowerFit:
    """The line of least squares. CalibrationError where the windows are too few or alike, or power falls with load."""
    if len(windows) < LEAST_WINDOWS:
        raise CalibrationError(f"{len(windows)} windows are too few for a line, {LEAST_WINDOWS} are needed")
    busy = [window.busy for window in windows]
    if max(busy) - min(busy) < LEAST_SPREAD:
        raise CalibrationError(
            f"the load hardly changed, from {min(busy):.0%} to {max(busy):.0%} of the processor: "
            "end what else works on this machine, or take a larger model"
        )
    line = statistics.linear_regression(busy, [window.power_w for window in windows])
    idle_w, busy_w = line.intercept, line.intercept + line.slope
    if line.slope < -ROUNDING * idle_w or idle_w < 0.0:
        raise CalibrationError(
            f"the meter says {idle_w:.2f} W at rest and {busy_w:.2f} W when busy, which no machine does: "
            "end what else works on this machine, and see that the meter measures this machine alone"
        )
    squares = sum((window.power_w - idle_w - line.slope * window.busy) ** 2 for window in windows)
    residual_w = math.sqrt(squares / (len(windows) - 2))
    mean = statistics.fmean(busy)
    spread = sum((share - mean) ** 2 for share in busy)

    def std_at(share: float) -> float:
        return residual_w * math.sqrt(1.0 / len(windows) + (share - mean) ** 2 / spread)

    return PowerFit(
        idle_w=idle_w, idle_w_std=std_at(0.0), busy_w=max(idle_w, busy_w), busy_w_std=std_at(1.0), residual_w=residual_w
    )


def relative_error(windows: Sequence[LoadWindow], idle_w: float, busy_w: float) -> float:
    """The mean of |model - meter| / meter; CalibrationError where the meter said 0 W."""
    if any(window.power_w <= 0.0 for window in windows):
        raise CalibrationError(
            "the meter did not rise for a whole window: it is too slow or too coarse to calibrate by"
        )
    return statistics.fmean(
        abs(_model_w(window.busy, idle_w, busy_w) - window.power_w) / window.power_w for window in windows
    )


def calibration(
    windows: Sequence[LoadWindow], *, meter: str, scope: EnergyScope, window_s: float, idle_w: float, busy_w: float
) -> Calibration:
    """A model and a fitted one, held against the windows. CalibrationError as `fit_power` and `relative_error`."""
    before_error = relative_error(windows, idle_w, busy_w)
    fit = fit_power(windows)
    return Calibration(
        meter=meter,
        scope=scope,
        windows=len(windows),
        window_s=window_s,
        levels=tuple(
            _level([window for window in windows if window.threads == threads], fit, idle_w, busy_w)
            for threads in sorted({window.threads for window in windows})
        ),
        fit=fit,
        before_idle_w=idle_w,
        before_busy_w=busy_w,
        before_error=before_error,
        after_error=relative_error(windows, fit.idle_w, fit.busy_w),
    )


def _level(windows: Sequence[LoadWindow], fit: PowerFit, idle_w: float, busy_w: float) -> LoadLevel:
    busy = statistics.fmean(window.busy for window in windows)
    return LoadLevel(
        threads=windows[0].threads,
        busy=busy,
        measured_w=statistics.fmean(window.power_w for window in windows),
        before_w=_model_w(busy, idle_w, busy_w),
        after_w=_model_w(busy, fit.idle_w, fit.busy_w),
    )


def _model_w(busy: float, idle_w: float, busy_w: float) -> float:
    return idle_w + (busy_w - idle_w) * busy
