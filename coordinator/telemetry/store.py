"""What is kept of a site's telemetry and what can be asked of it; where it is kept is a store's part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from broker.messages import (
    EnergyReading,
    EnergyScope,
    EnergySource,
    InferenceReport,
    LinkReading,
    MachineReading,
    Name,
    NodeLoad,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    ProfileFailure,
    StageMiss,
    Telemetry,
)


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """The coordinator noticed that a node's clock is ahead of its own (behind, where negative)."""

    node: Name
    skew_s: float


Storable = Telemetry | Plan | PlanReady | NodeStatus | NodeProfile | ProfileFailure | ClockSkew
"""What a store keeps: the telemetry of nodes, and what the coordinator itself decides and sees."""


@dataclass(frozen=True, slots=True)
class StoredUpTo:
    """All telemetry of one run of a node, up to this number, is stored or will never come."""

    node: str
    session: str
    sequence: int


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


@dataclass(frozen=True, slots=True)
class StoreReport:
    """How a store fares."""

    kind: Literal["sqlite", "influxdb"]
    where: str
    """The file, or the server and its database."""
    waiting: int
    """Points that are on their way to a server; messages that wait for the disk where there is none."""
    dead_letters: int
    """Points that the server has refused for good, and that are kept aside."""
    lost: int
    """Messages and points that could not be kept and will not come again."""
    obstacle: str | None
    """Why the store does not keep or answer now, in one sentence; None while it does."""


class TelemetryStore(Protocol):
    """Keeps telemetry and answers what the status asks; every method may be called from any thread."""

    def record(self, message: Storable, arrived_at: float) -> None:
        """Take one message without waiting; what was recorded before is not doubled. `arrived_at` in s since 1970.

        What waited in its node's spool is kept as of when it was recorded there, by the coordinator's clock.
        """

    def on_stored(self, callback: Callable[[tuple[StoredUpTo, ...]], None]) -> None:
        """Call back, on a thread of the store's, with how far the telemetry of nodes is stored.

        Called after what came in is durable: however the store ends then, it can be asked for afterwards. So of a
        store elsewhere this is its own confirmation of a write, never the end of the sending. What came again is
        confirmed again. The callback must not block.
        """

    def flush(self) -> None:
        """Return once all that was recorded can be asked for."""

    def summarise_inferences(self, deployment: str, since: float) -> InferenceSummary:
        """The inferences that arrived at or after `since` (s since 1970)."""

    def summarise_power(self, since: float) -> tuple[PowerSummary, ...]:
        """The meters that were read at or after `since` (s since 1970), by node, scope and name."""

    def last_epoch(self, deployment: str) -> int:
        """The highest epoch of the deployment's plans; 0 where none is kept."""

    def report(self) -> StoreReport:
        """How the store fares; answers at once."""

    def close(self) -> None:
        """Keep what was recorded, then let go of the store."""


def reporter_of(telemetry: Telemetry) -> str:
    """The node that recorded a piece of telemetry, whose spool it comes from."""
    match telemetry:
        case LinkReading():
            return telemetry.src
        case InferenceReport():
            return telemetry.origin
        case EnergyReading() | MachineReading() | NodeLoad() | StageMiss():
            return telemetry.node
