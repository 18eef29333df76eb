"""How far nodes' clocks are off, from when they say that they read something: a pure fold, and what is news of it.

Nothing is decided by it: a clock that is wrong is shown and told, and never planned with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from broker.messages import EnergyReading, MachineReading, NodeLoad, StageMiss
from coordinator.significant_digits import significant
from coordinator.telemetry.point_time import LATEST_S
from coordinator.telemetry.store import ClockSkew

WINDOW_S: Final = 10.0
"""What is held up on its way makes a clock look late: the least late of so long counts."""
OFF_S: Final = 1.0
RIGHT_S: Final = 0.5
NEWS_SHARE: Final = 0.2

Reading = EnergyReading | MachineReading | NodeLoad | StageMiss


@dataclass(frozen=True, slots=True)
class ClockBelief:
    """What is believed of a node's clock. Times in s since 1970 by the coordinator's clock."""

    began_at: float
    """When the window began that is under way."""
    most_s: float
    """How far ahead the clock was at most in it."""
    skew_s: float | None = None
    """How far it is ahead, behind where negative, by the last whole window; None before one is over."""
    told_s: float | None = None
    """The skew that it is told to have; None while it counts as right."""


def ahead_s(reading: Reading, arrived_at: float) -> float | None:
    """How far a node's clock seems ahead of ours, in s, by one reading; None of one that says not how old it is."""
    if reading.mark is None:
        return None
    return min(max(-LATEST_S, reading.at - (arrived_at - reading.mark.age_s)), LATEST_S)


def with_clock_reading(belief: ClockBelief | None, ahead_s: float, at: float) -> ClockBelief:
    """The belief after a reading that came at `at`, s since 1970."""
    if belief is None:
        return ClockBelief(at, ahead_s)
    if 0.0 <= at - belief.began_at < WINDOW_S:
        return replace(belief, most_s=max(belief.most_s, ahead_s))
    return ClockBelief(at, ahead_s, belief.most_s, _told(belief.told_s, belief.most_s))


def clock_news(
    before: Mapping[str, ClockBelief | None], after: Mapping[str, ClockBelief | None]
) -> tuple[ClockSkew, ...]:
    """The nodes whose clocks have gone wrong, differently wrong or right again; what was told is not repeated."""
    return tuple(
        ClockSkew(node, belief.skew_s)
        for node, belief in after.items()
        if belief is not None and belief.skew_s is not None and belief.told_s != _told_of(before.get(node))
    )


def words_of(skew: ClockSkew) -> str:
    """What a log says of it."""
    way = "ahead of" if skew.skew_s > 0.0 else "behind"
    advice = (
        ": set it by NTP (`timedatectl set-ntp true`)" if abs(skew.skew_s) > OFF_S else ", which is right enough again"
    )
    return f"the clock of {skew.node} is {significant(abs(skew.skew_s), 3)} s {way} this coordinator's{advice}"


def _told(told_s: float | None, skew_s: float) -> float | None:
    """What is told of a clock from now on."""
    if told_s is None:
        return skew_s if abs(skew_s) > OFF_S else None
    if abs(skew_s) < RIGHT_S:
        return None
    return skew_s if abs(skew_s - told_s) > max(OFF_S, NEWS_SHARE * abs(told_s)) else told_s


def _told_of(belief: ClockBelief | None) -> float | None:
    return belief.told_s if belief is not None else None
