"""The books of a plan in force: what it has lost against better ones and saved, and how long one stays the best.

All amounts are objective values, summed over requests; whether a switch follows is `coordinator.switching`'s part.
"""

import math
from dataclasses import dataclass, replace

from broker.messages import PlanStage

FIRST_DWELL_S = 10.0
"""How long a plan is expected to stay the best one before any has been seen to."""
DWELL_GAIN = 0.3
"""Of the logarithm of a newly ended preference's duration against the mean of those before."""
SHORTEST_DWELL_S = 0.1

Stages = tuple[PlanStage, ...]


@dataclass(frozen=True, slots=True)
class Preference:
    """The plan that is the best one by a clear margin, since when and why, and how long others were before it."""

    stages: Stages
    since: float
    cause: str
    dwell_s: float = FIRST_DWELL_S

    def expected_dwell_s(self, now: float) -> float:
        """How much longer it will be: as long as others were, or as it has been, whichever is more."""
        return max(self.dwell_s, now - self.since)

    def followed_by(self, stages: Stages, now: float, cause: str) -> "Preference":
        """The preference for another plan, which ends this one."""
        lasted_s = max(SHORTEST_DWELL_S, now - self.since)
        dwell_s = math.exp((1.0 - DWELL_GAIN) * math.log(self.dwell_s) + DWELL_GAIN * math.log(lasted_s))
        return Preference(stages, now, cause, dwell_s)


@dataclass(frozen=True, slots=True)
class Account:
    """What the plan in force has lost and saved; all amounts are objective values, summed over requests.

    Every switch is paid: beforehand by what the plan in force has lost against the best one, or afterwards by what the
    new plan saves against the one before it. As long as something is owed, the next switch is paid beforehand, with
    the debt. So N switches of cost C or more in t s at a rate of r requests/s, between plans whose objectives differ
    by G at most, obey N <= 1 + 2 r G t / C (for two plans 1 + r G t / C, as one loses while the other would save), and
    N <= 1 + t / least_dwell_s.
    """

    at: float
    preference: Preference | None = None
    lost: float = 0.0
    losing_per_s: float = 0.0
    owed: float = 0.0
    saving_per_s: float = 0.0
    former: Stages | None = None
    """The plan before the one in force, as long as something is owed for leaving it."""
    switched_at: float = -math.inf

    def at_time(self, now: float) -> "Account":
        """The account after the time since it was last looked at, in which the rates held."""
        passed_s = max(0.0, now - self.at)
        owed = max(0.0, self.owed - self.saving_per_s * passed_s)
        return replace(
            self,
            at=now,
            lost=self.lost + self.losing_per_s * passed_s,
            owed=owed,
            former=self.former if owed else None,
            # A clock that was set back must not keep a plan in force.
            switched_at=min(self.switched_at, now),
        )

    def paused(self, now: float) -> "Account":
        """The account as it stays while there is nothing to compare the plan in force with."""
        return replace(self.at_time(now), losing_per_s=0.0, saving_per_s=0.0)
