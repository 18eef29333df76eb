"""What setting up an InfluxDB is made of: how long telemetry is to be kept, and steps that say what they change."""

from dataclasses import dataclass
from typing import Final, Literal

from coordinator.telemetry.durations import UNITS_S

RAW_S: Final = 30 * UNITS_S["d"]
KEEP_S: Final = 2 * UNITS_S["y"]

Action = Literal["made", "changed", "kept"]


@dataclass(frozen=True, slots=True)
class Given:
    """A retention in s, None for ever; `is_default` where nobody asked for it."""

    seconds: int | None
    is_default: bool

    def wanted(self, there: int | None) -> int | None:
        """What becomes of a retention that is there: a default changes none, for a shorter one deletes."""
        return there if self.is_default else self.seconds


@dataclass(frozen=True, slots=True)
class Retentions:
    """How long raw points are kept, and the means of their minutes."""

    raw: Given = Given(RAW_S, is_default=True)
    keep: Given = Given(KEEP_S, is_default=True)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to be there, what comes of it, and the statements or requests that see to it."""

    subject: str
    action: Action
    statements: tuple[str, ...] = ()
    is_unbounded: bool = False
    """Whether it keeps points for ever."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What was set up at a server, or would be; `notes` are sentences on what it cannot do."""

    endpoint: str
    family: str
    version: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
