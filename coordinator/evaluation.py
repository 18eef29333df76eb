"""What the last weighing of a deployment's plan saw and found; a later one is compared with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.messages import Prediction


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """What an evaluation reckoned with for one link."""

    rtt_ms: float
    mbps: float


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that a deployment's plan hangs on, at one moment; a change of it is a reason to plan at once."""

    sessions: Mapping[str, str]
    """The usable nodes, each with its session."""
    profiled: frozenset[str]
    refused: Mapping[str, str]
    links: Mapping[tuple[str, str], LinkFigures]
    """By (src, dst)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The last time a deployment's plan was weighed: under what circumstances and with what outcome."""

    at: float
    circumstances: Circumstances
    prediction: Prediction | None = None
    """The plan in force under the estimates of that moment; None where it could not be scored."""
    obstacle: str | None = None
    """Why there is no plan, or no better one."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Online nodes that were left out, each with the reason."""
