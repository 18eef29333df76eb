"""Who takes part in the experiment, and what each goes by."""

from dataclasses import dataclass
from typing import Literal

from broker.messages import StrategyName
from coordinator.problem import Objective

LATENCY = Objective(latency=1.0)
ENERGY = Objective(origin_energy=1.0)
BALANCED = Objective(latency=0.5, origin_energy=0.5)

Decider = Literal["published-split", "hindsight", "coordinator", "clairvoyant"]
"""Who makes a contender's plans: the published split or the best one in hindsight, both fixed; the coordinator by the
contender's strategy, as in any deployment; or the exact planner, told the true links and loads at each request."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the experiment. `strategy` is what its deployment is declared with."""

    name: str
    decider: Decider
    strategy: StrategyName
    objective: Objective
    packs: bool = False
    """Whether its tensors may be packed by codecs; else everything travels raw."""


PACKED = (
    Contender("latency-codecs", "coordinator", "exact", LATENCY, packs=True),
    Contender("energy-codecs", "coordinator", "exact", ENERGY, packs=True),
    Contender("balanced-codecs", "coordinator", "exact", BALANCED, packs=True),
    Contender("clairvoyant-codecs", "clairvoyant", "static", LATENCY, packs=True),
)
"""Those that need to know what codecs cost."""

CONTENDERS = (
    Contender("paper-static", "published-split", "static", LATENCY),
    Contender("best-fixed", "hindsight", "static", LATENCY),
    Contender("origin-only", "coordinator", "origin-only", LATENCY),
    Contender("fog-only", "coordinator", "fog-only", LATENCY),
    Contender("cloud-only", "coordinator", "cloud-only", LATENCY),
    Contender("reap", "coordinator", "reap", BALANCED),
    Contender("latency", "coordinator", "exact", LATENCY),
    Contender("energy", "coordinator", "exact", ENERGY),
    Contender("balanced", "coordinator", "exact", BALANCED),
    Contender("clairvoyant", "clairvoyant", "static", LATENCY),
)
