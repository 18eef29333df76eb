"""What is known of one kind of meter on this machine: the meter where it can be read, else why not and the fix."""

from dataclasses import dataclass
from typing import Literal

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.energy.meter import EnergyMeter
from edge_agent.errors import MeterUnavailableError

Presence = Literal["readable", "blocked", "absent"]
"""`blocked`: the machine has it, yet it cannot be read now; `absent`: the machine does not show it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of meter on this machine; `reason` and `fix` are clauses without a full stop."""

    name: MeterName
    source: EnergySource
    scope: EnergyScope
    covers: str
    """What its figure covers, in words."""
    meter: EnergyMeter | None
    """None unless `presence` is `readable`."""
    presence: Presence
    reason: str = ""
    """Why there is no meter; "" where there is."""
    fix: str = ""
    """What would give one; "" where nothing would on this machine."""


def found(meter: EnergyMeter, covers: str) -> Finding:
    """A meter that can be read."""
    return Finding(meter.name, meter.source, meter.scope, covers, meter, "readable")


def lacking(name: MeterName, scope: EnergyScope, covers: str, error: MeterUnavailableError) -> Finding:
    """A measuring meter that cannot be read, and why."""
    presence: Presence = "blocked" if error.is_there else "absent"
    return Finding(name, "measured", scope, covers, None, presence, error.reason, error.fix)
