"""Which figures of a run are worse than those of the run before, by more than noise: pure functions over reports.

A figure that has a ratio is compared by it. Others are compared by value, or on another machine beside their reference.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec
from figures import Figure
from report import Report

LEAST_NOISE: Final = 0.03
"""A few repetitions seldom show the whole spread: less than so much of a figure is never a change."""
UNKNOWN_NOISE: Final = 0.1
"""What a figure that was measured once is taken to be off, as a share of it."""
DRIFTS: Final = 2.0
"""What went so far from one run to the next, on the same machine, may go twice as far before it counts."""
FADING: Final = 0.8
"""What is left of a drift after each run that went less far."""


class Verdict(Enum):
    """What became of a figure."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    NEW = "new"
    GONE = "gone"
    ELSEWHERE = "another machine"
    """It was measured on another machine, and beside no reference."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one figure: `share` is (after - before) / before, `noise` how much of that is none."""

    benchmark: str
    name: str
    verdict: Verdict
    share: float | None = None
    noise: float | None = None


def compare(before: Report | None, after: Report) -> tuple[Change, ...]:
    """What became of every figure of either run; of a benchmark that did not end this time nothing is gone."""
    old = before.figures() if before is not None else {}
    alike = before is not None and before.machine.is_like(after.machine)
    ran = {outcome.benchmark for outcome in after.outcomes if outcome.failure is None}
    new = after.figures()
    changes = [
        _change(benchmark, old.get((benchmark, name)), figure, alike) for (benchmark, name), figure in new.items()
    ]
    gone = [key for key in old if key not in new and key[0] in ran]
    return (*changes, *(Change(benchmark, name, Verdict.GONE) for benchmark, name in gone))


def remembering(before: Report | None, after: Report) -> Report:
    """A run as it is kept: its figures know how far they went from that before, and what that one knew.

    A run repeats a figure within minutes; from run to run a machine changes by more than that shows.
    """
    if before is None or not before.machine.is_like(after.machine):
        return after
    old = before.figures()
    shares = {(change.benchmark, change.name): change.share for change in compare(before, after)}

    def kept(benchmark: str, figure: Figure) -> Figure:
        known, share = old.get((benchmark, figure.name)), shares[benchmark, figure.name]
        if known is None or share is None:
            return figure
        return msgspec.structs.replace(figure, drift=max(abs(share), FADING * (known.drift or 0.0)))

    outcomes = (
        msgspec.structs.replace(each, figures=tuple(kept(each.benchmark, figure) for figure in each.figures))
        for each in after.outcomes
    )
    return msgspec.structs.replace(after, outcomes=tuple(outcomes))


def is_goal_met(figure: Figure) -> bool | None:
    """Whether a figure reaches its goal; None where it has none."""
    if figure.goal is None:
        return None
    reached = figure.ratio if figure.ratio is not None else figure.value
    return reached <= figure.goal if figure.better == "lower" else reached >= figure.goal


def _change(benchmark: str, before: Figure | None, after: Figure, alike: bool) -> Change:
    if before is None or (before.unit, before.better) != (after.unit, after.better):
        return Change(benchmark, after.name, Verdict.NEW)
    if alike and (before.ratio is None or after.ratio is None):
        was, now = before.value, after.value
    elif before.relative is not None and after.relative is not None:
        was, now = before.relative, after.relative
    else:
        return Change(benchmark, after.name, Verdict.ELSEWHERE)
    drift = DRIFTS * before.drift if alike and before.drift is not None else 0.0
    noise = max(LEAST_NOISE, _noise_share(before) + _noise_share(after), drift)
    if was == now:
        return Change(benchmark, after.name, Verdict.SAME, 0.0, noise)
    if not was:
        # From nothing there is no share: a loss or an error that was never there is a change by itself.
        return Change(benchmark, after.name, _verdict(after, now > 0.0))
    share = (now - was) / abs(was)
    verdict = Verdict.SAME if abs(share) <= noise else _verdict(after, share > 0.0)
    return Change(benchmark, after.name, verdict, share, noise)


def _verdict(figure: Figure, more: bool) -> Verdict:
    return Verdict.BETTER if more == (figure.better == "higher") else Verdict.WORSE


def _noise_share(figure: Figure) -> float:
    if figure.noise is None:
        return UNKNOWN_NOISE / 2.0
    return figure.noise / abs(figure.value) if figure.value else 0.0
