"""Chooses the energy meter of a node, and says why it is this one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_agent.energy.meter import EnergyMeter
from edge_agent.energy.rapl import RaplMeter
from edge_agent.errors import MeterUnavailableError


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """A meter, and the reason in words that a user reads."""

    meter: EnergyMeter
    reason: str


def best_meter(
    wanted: Literal["auto", "modelled", "rapl"],
    modelled: EnergyMeter,
    *,
    emulated: bool,
    open_rapl: Callable[[], EnergyMeter] = RaplMeter,
) -> MeterChoice:
    """RAPL where it can be read, else `modelled`.

    An emulated node is always modelled, for the meter of its host measures another machine.
    MeterUnavailableError if RAPL is wanted by name and cannot be had.
    """
    if wanted == "rapl":
        if emulated:
            raise MeterUnavailableError("RAPL measures this host, not the machine that is emulated; use `modelled`")
        try:
            return MeterChoice(open_rapl(), "RAPL, as the settings ask")
        except MeterUnavailableError as error:
            raise MeterUnavailableError(f"energy.meter is rapl, but {error}; `auto` takes the model then") from None
    if wanted == "modelled":
        return MeterChoice(modelled, "the model, as the settings ask")
    if emulated:
        return MeterChoice(modelled, "the model, because a meter of this host would not measure the emulated machine")
    try:
        return MeterChoice(open_rapl(), "RAPL, the best that this machine has")
    except MeterUnavailableError as error:
        return MeterChoice(modelled, f"the model, because {error}")
