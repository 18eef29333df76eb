"""`splitrail profile --energy`: holds this machine's power model against a meter, and fits it."""

import contextlib
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from broker.messages import EnergyScope, PowerModel
from broker.session import Session
from edge_agent.announcing import power_model
from edge_agent.configuration import AgentSettings
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.calibration import Calibration, calibration
from edge_agent.energy.calibration_run import WINDOWS, measured_windows, model_looped, thread_levels, window_s
from edge_agent.energy.default_power import default_power
from edge_agent.energy.discovery import discover
from edge_agent.energy.finding import Finding, found
from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.modelled import ModelledMeter, machine_busy_s, machine_traffic
from edge_agent.energy.plug import COVERS, STALE_PERIODS, PlugMeter
from edge_agent.errors import CalibrationError, MeterUnavailableError
from edge_agent.hardware import usable_cores
from models.graph import read_graph
from splitrail.settings import load_settings

_SCOPES: Final[dict[EnergyScope, str]] = {
    "board": "the whole board",
    "soc": "the chip alone, not the board",
    "package": "the processor's package alone, not the board",
    "gpu": "the graphics card alone, not the board",
    "wall": "all behind the plug, power supply included",
}


def calibrate(model: Path, settings_file: Path | None, *, as_json: bool) -> int:
    """Measure at rest and under load, and print the model's error before and after the fit."""
    settings = load_settings(settings_file, AgentSettings) if settings_file is not None else None
    power = power_model(settings) if settings is not None else default_power().power
    read_graph(model)
    with contextlib.ExitStack() as stack:
        meter = _meter(settings, power, stack)
        figures = _measured(model, meter, power)
    if as_json:
        print(msgspec.json.encode(figures).decode())
    else:
        _print(figures)
    return 0


def _meter(settings: AgentSettings | None, power: PowerModel, stack: contextlib.ExitStack) -> EnergyMeter:
    """The meter that the agent would take; MeterUnavailableError where that is the model."""
    modelled = ModelledMeter(power, machine_busy_s, machine_traffic)
    plug = _plug(settings, stack)
    findings = discover(modelled=modelled, plug=plug) if plug is not None else discover(modelled=modelled)
    emulated = settings is not None and settings.emulation is not None
    choice = best_meter(settings.energy.meter if settings is not None else "auto", findings, emulated=emulated)
    if choice.meter.source == "modelled":
        raise MeterUnavailableError(
            "there is nothing to calibrate by, for no energy meter of this machine can be read",
            fix="`splitrail doctor` shows which there are and what is missing",
        )
    if plug is not None and choice.meter is plug.meter:
        _wait_for(choice.meter)
    return choice.meter


def _plug(settings: AgentSettings | None, stack: contextlib.ExitStack) -> Finding | None:
    if settings is None or settings.energy.plug is None:
        return None
    meter = PlugMeter(settings.energy.plug)
    session = Session(settings.broker, site=settings.site, client_id=f"splitrail-profile-{uuid.uuid4().hex[:8]}")
    session.on_foreign(settings.energy.plug.topic, meter.hear)
    stack.enter_context(session)
    return found(meter, COVERS)


def _wait_for(meter: EnergyMeter) -> None:
    """Until a plug has spoken twice; MeterUnavailableError if it does not in its usual time."""
    until_s = time.monotonic() + STALE_PERIODS * meter.period_s
    print("waiting for the smart plug to speak twice", file=sys.stderr)
    while True:
        try:
            meter.read_energy_j()
        except MeterUnavailableError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)
        else:
            return


def _measured(model: Path, meter: EnergyMeter, power: PowerModel) -> Calibration:
    levels = thread_levels(usable_cores())
    length_s = window_s(meter)
    windows = len(levels) * WINDOWS
    print(
        f"{windows} windows of {length_s:g} s by {meter.name}, about {windows * length_s / 60:.1f} min: "
        "let nothing else work on this machine",
        file=sys.stderr,
    )
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task: Any = bar.add_task("measuring", total=windows)
        measured = measured_windows(
            meter,
            levels,
            lambda threads: model_looped(model, threads),
            busy_s=machine_busy_s,
            progress=lambda: bar.advance(task),
        )
    try:
        return calibration(
            measured,
            meter=meter.name,
            scope=meter.scope,
            window_s=length_s,
            idle_w=power.idle_w,
            busy_w=power.busy_w,
        )
    except CalibrationError as error:
        raise CalibrationError(f"{model} on this machine by {meter.name}: {error}") from None


def _print(figures: Calibration) -> None:
    fit, covers = figures.fit, _SCOPES[figures.scope]
    table = Table(title=f"{figures.meter} ({covers}), measured in {figures.windows} windows of {figures.window_s:g} s")
    for heading in ("threads", "busy", "measured W", "model before W", "model after W"):
        table.add_column(heading, justify="right")
    for level in figures.levels:
        table.add_row(
            str(level.threads),
            f"{level.busy:.0%}",
            f"{level.measured_w:.2f}",
            f"{level.before_w:.2f}",
            f"{level.after_w:.2f}",
        )
    Console().print(table)
    print(f"idle {fit.idle_w:.2f} ± {fit.idle_w_std:.2f} W, busy {fit.busy_w:.2f} ± {fit.busy_w_std:.2f} W", end="")
    print(f" (standard errors), {fit.residual_w:.2f} W off the line")
    print(f"the model's error: {figures.before_error:.1%} before, {figures.after_error:.1%} after the fit")
    print("\nfor agent.yaml:")
    print(f"power:  # fitted to {figures.meter}: {covers}")
    print(f"  idle_w: {fit.idle_w:.3g}")
    print(f"  busy_w: {fit.busy_w:.3g}")
