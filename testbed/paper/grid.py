"""Which runs make an experiment, in which order, and how long what is left of them will take; pure."""

import random
from collections.abc import Iterable, Sequence

from testbed.paper.records import Mode, RunKey

START_UP_S = 10.0
"""A guess at what a run takes besides its window, until runs have been timed."""


def all_runs(
    mode: Mode, models: Sequence[str], traces: Sequence[str], repetitions: int, contenders: Sequence[str]
) -> tuple[RunKey, ...]:
    """The whole grid: repetition by repetition, so that an early end leaves whole ones.

    For each model and trace the contenders follow each other, so that a slow hour of the host touches them all, in an
    order that is shuffled, the same in every call.
    """
    keys = []
    for repetition in range(1, repetitions + 1):
        for model in models:
            for trace in traces:
                order = list(contenders)
                random.Random(f"{repetition} {model} {trace}").shuffle(order)
                keys += [
                    RunKey(mode=mode, model=model, trace=trace, repetition=repetition, contender=contender)
                    for contender in order
                ]
    return tuple(keys)


class RunTimes:
    """How long runs take, from those that were timed: of the same model and contender, else of the model, else any."""

    def __init__(self, guess_s: float) -> None:
        self._guess_s = guess_s
        self._sums: dict[tuple[str, ...], tuple[float, int]] = {}

    def timed(self, key: RunKey, took_s: float) -> None:
        """Take in that a run took this long."""
        for group in _groups(key):
            total_s, count = self._sums.get(group, (0.0, 0))
            self._sums[group] = (total_s + took_s, count + 1)

    def left_s(self, pending: Iterable[RunKey]) -> float:
        """How long the pending runs will take, one after the other."""
        return sum(map(self._expected_s, pending))

    def _expected_s(self, key: RunKey) -> float:
        for group in _groups(key):
            if group in self._sums:
                total_s, count = self._sums[group]
                return total_s / count
        return self._guess_s


def _groups(key: RunKey) -> tuple[tuple[str, ...], ...]:
    """From the likest runs to all of its mode."""
    return ((key.mode, key.model, key.contender), (key.mode, key.model), (key.mode,))


def duration_words(seconds: float) -> str:
    """A while in the words of a clock: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
