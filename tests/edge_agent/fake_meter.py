"""A meter whose counter a test turns by hand."""

from dataclasses import dataclass, field

from broker.messages import EnergyScope, EnergySource
from edge_agent.configuration import MeterName
from edge_agent.errors import MeterUnavailableError


@dataclass(eq=False)
class FakeMeter:
    """Says what it is told to; it fails while `failure` is set."""

    name: MeterName = "rapl"
    source: EnergySource = "measured"
    scope: EnergyScope = "package"
    resolution_j: float = 0.0
    period_s: float = 0.0
    is_sampled: bool = False
    uncounted_s: float = 0.0
    energy_j: float = 0.0
    failure: Exception | None = None
    reads: int = field(default=0)

    def read_energy_j(self) -> float:
        """The counter, or the failure."""
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return self.energy_j


ABSENT = MeterUnavailableError("the sensor has gone", fix="plug it in")
