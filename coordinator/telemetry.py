"""What is kept of a site's telemetry and what can be asked of it; where it is kept is a store's part."""

from dataclasses import dataclass
from typing import Protocol

from broker.messages import (
    EnergyReading,
    EnergyScope,
    EnergySource,
    InferenceReport,
    LinkReading,
    NodeStatus,
    Plan,
)

Telemetry = EnergyReading | LinkReading | InferenceReport | Plan | NodeStatus


@dataclass(frozen=True, slots=True)
class InferenceSummary:
    """The inferences of one deployment over a while; latencies and energies are of those that succeeded.

    Latencies in ms, energies in J per inference (means); None where nothing succeeded.
    """

    count: int
    errors: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    origin_energy_j: float | None
    total_energy_j: float | None
    energy_source: EnergySource | None
    """`modelled` as soon as one of the figures is."""
    energy_scope: EnergyScope | None


@dataclass(frozen=True, slots=True)
class PowerSummary:
    """A node's mean power over a while, in W, and its meter's newest cumulative counter, in J."""

    node: str
    power_w: float
    energy_j: float
    meter: str
    source: EnergySource
    scope: EnergyScope
    arrived_at: float


class TelemetryStore(Protocol):
    """Keeps telemetry and answers what the status asks; every method may be called from any thread."""

    def record(self, telemetry: Telemetry, arrived_at: float) -> None:
        """Take one message without waiting; what was recorded before is not doubled. `arrived_at` in s since 1970."""

    def flush(self) -> None:
        """Return once all that was recorded can be asked for."""

    def summarise_inferences(self, deployment: str, since: float) -> InferenceSummary:
        """The inferences that arrived at or after `since` (s since 1970)."""

    def summarise_power(self, since: float) -> tuple[PowerSummary, ...]:
        """The nodes whose energy was read at or after `since` (s since 1970), by name and scope."""

    def last_epoch(self, deployment: str) -> int:
        """The highest epoch of the deployment's plans; 0 where none is kept."""

    @property
    def lost(self) -> int:
        """How many messages could not be kept."""

    def close(self) -> None:
        """Keep what was recorded, then let go of the store."""
