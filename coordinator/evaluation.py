"""What the last weighing of a deployment's plan saw and found; a later one is compared with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.messages import Prediction, TensorWay
from coordinator.account import Account
from coordinator.reap import Units


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """What is believed of one link at the moment of an evaluation."""

    rtt_ms: float
    mbps: float
    way: TensorWay = "direct"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that a deployment's plan hangs on, at one moment; a change of it is a reason to plan at once."""

    sessions: Mapping[str, str]
    """The usable nodes, each with its session."""
    profiled: frozenset[str]
    refused: Mapping[str, str]
    links: Mapping[tuple[str, str], LinkFigures]
    """By (src, dst)."""
    loads: Mapping[str, float] = field(default_factory=dict)
    """By node: what others take of it, other deployments included."""
    suspects: Mapping[str, str] = field(default_factory=dict)
    """By node: those that are left out because they did not do their part in time, and why."""
    suspect_links: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """By (src, dst): the same of links."""


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
    admitted: frozenset[tuple[str, str]] = frozenset()
    """The nodes, each with its session, that it reckoned with; those that have joined only just are not among them."""
    account: Account | None = None
    """What the plan in force has lost and saved; None where there is none, or where it is not weighed continually."""
    look_at: float = math.inf
    """When the next evaluation is due at the latest, though nothing may have changed by then."""
    units: Units | None = None
    """What the strategy `reap` divides its figures by."""
    ends_window: bool = False
    """Whether `reap` has looked for a better split."""
