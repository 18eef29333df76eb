"""Chooses a node's primary meter, by which its inferences are reckoned, and says why it is this one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edge_agent.configuration import MeterName
from edge_agent.energy.finding import Finding
from edge_agent.energy.meter import EnergyMeter
from edge_agent.errors import MeterUnavailableError

_QUICK_S: Final = 2.0  # a meter that says something new at least this often follows the work


@dataclass(frozen=True, slots=True)
class MeterChoice:
    """A meter, and the reason in words that a user reads."""

    meter: EnergyMeter
    reason: str


def best_meter(wanted: Literal["auto"] | MeterName, findings: Sequence[Finding], *, emulated: bool) -> MeterChoice:
    """The meter `wanted`, or by `auto` the best of `findings`, of which the model is one.

    `auto` goes by what a meter covers and how quick it is: first the whole board or the wall at least every 2 s; then
    the processor's package; then its whole chip; then the slow meters of board or wall; then the model. A GPU's meter
    is taken only by name, for the runtime computes on the processor. Of two alike, the first in `findings` wins.
    MeterUnavailableError if the meter that is wanted by name cannot be had.
    """
    by_name = {finding.name: finding for finding in findings}
    modelled = by_name["modelled"].meter
    assert modelled is not None  # the model needs nothing of the machine
    if emulated:
        if wanted not in ("auto", "modelled"):
            raise MeterUnavailableError(
                f"energy.meter is {wanted}, which measures this host, not the machine that is emulated",
                fix="use `modelled` or `auto`",
            )
        return MeterChoice(modelled, "the model, because a meter of this host would not measure the emulated machine")
    if wanted == "auto":
        return _best(findings, modelled)
    finding = by_name[wanted]
    if finding.meter is None:
        remedy = f"{finding.fix}, or `auto` takes the best that there is" if finding.fix else "use `auto`"
        raise MeterUnavailableError(f"energy.meter is {wanted}, but {finding.reason}", fix=remedy)
    return MeterChoice(finding.meter, f"{wanted}, as the settings ask")


def _best(findings: Sequence[Finding], modelled: EnergyMeter) -> MeterChoice:
    ranked = [(_rank(finding.meter), finding.meter) for finding in findings if finding.meter is not None]
    rank, meter = min(ranked, key=lambda pair: pair[0])
    if meter is not modelled:
        return MeterChoice(meter, f"{meter.name}, {_WHY[rank]}")
    blocked = [f"{finding.name}: {finding.reason}" for finding in findings if finding.presence == "blocked"]
    if not blocked:
        return MeterChoice(modelled, "the model, because this machine shows no meter that fits")
    return MeterChoice(modelled, f"the model, because {'; '.join(blocked)}; `splitrail doctor` says what would help")


_WHY: Final = (
    "which covers the whole machine and is quick",
    "the processor's own counter",
    "which covers the chip",
    "which covers the whole machine, though slowly",
)


def _rank(meter: EnergyMeter) -> int:
    """The lower the better; the model's is 4 and a GPU's 5."""
    if meter.source == "modelled":
        return 4
    match meter.scope:
        case "board" | "wall":
            return 0 if meter.period_s <= _QUICK_S else 3
        case "package":
            return 1
        case "soc":
            return 2
        case "gpu":
            return 5
