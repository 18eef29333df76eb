"""The energy meters of this machine, what each reads just now, and which one inferences are reckoned by."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from edge_agent.configuration import MeterName
from edge_agent.energy.best_meter import best_meter
from edge_agent.energy.finding import Finding as MeterFinding
from edge_agent.energy.meter import EnergyMeter
from edge_agent.errors import MeterUnavailableError
from splitrail.doctor.finding import Finding

WINDOW_S: Final = 1.0


def meter_findings(
    meters: Sequence[MeterFinding],
    wanted: Literal["auto"] | MeterName,
    *,
    emulated: bool,
    sleep: Callable[[float], None] = time.sleep,
    clock_s: Callable[[], float] = time.monotonic,
) -> Iterator[Finding]:
    """A line for each meter, with the power over a second, and the primary one; reading counts nothing elsewhere."""
    quick = [each.meter for each in meters if each.meter is not None and each.meter.period_s <= WINDOW_S]
    powers = _powers_w(quick, sleep, clock_s)
    for meter in meters:
        yield _finding(meter, powers.get(meter.name), is_wanted=meter.name == wanted)
    try:
        choice = best_meter(wanted, meters, emulated=emulated)
    except MeterUnavailableError as error:
        yield Finding("meters: primary", "problem", error.reason, error.fix)
    else:
        chosen = choice.meter
        yield Finding("meters: primary", "ok", f"{chosen.name}, {chosen.source}, {chosen.scope}: {choice.reason}")


def _finding(meter: MeterFinding, power_w: float | MeterUnavailableError | None, *, is_wanted: bool) -> Finding:
    subject = f"meter: {meter.name}"
    what = f"{meter.source}, {meter.scope}: {meter.covers}"
    match meter.presence:
        case "readable" if isinstance(power_w, MeterUnavailableError):
            return Finding(subject, "problem" if is_wanted else "note", power_w.reason, power_w.fix)
        case "readable":
            now = f"{power_w:.3g} W now, " if isinstance(power_w, float) else ""
            return Finding(subject, "ok", f"{now}{what}")
        case "blocked":
            return Finding(subject, "problem" if is_wanted else "note", meter.reason, meter.fix)
        case "absent":
            return Finding(subject, "problem" if is_wanted else "ok", f"not here: {meter.reason}", meter.fix)


def _powers_w(
    meters: Sequence[EnergyMeter], sleep: Callable[[float], None], clock_s: Callable[[], float]
) -> dict[str, float | MeterUnavailableError]:
    """The mean power of each meter over a second, or why it cannot be read."""
    begun = {meter.name: (_joules(meter), clock_s()) for meter in meters}
    sleep(WINDOW_S)
    powers: dict[str, float | MeterUnavailableError] = {}
    for meter in meters:
        before, began_s = begun[meter.name]
        after = _joules(meter)
        if isinstance(before, MeterUnavailableError):
            powers[meter.name] = before
        elif isinstance(after, MeterUnavailableError):
            powers[meter.name] = after
        else:
            powers[meter.name] = (after - before) / max(1e-3, clock_s() - began_s)
    return powers


def _joules(meter: EnergyMeter) -> float | MeterUnavailableError:
    try:
        return meter.read_energy_j()
    except MeterUnavailableError as error:
        return error
