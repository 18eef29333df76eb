"""Carries out the runs of an experiment that are not over yet, one after the other, and tells how long is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from splitrail.errors import SplitrailError
from testbed.paper.grid import RunTimes
from testbed.paper.journal import Journal
from testbed.paper.records import RunKey, RunRecord

MOST_FAILURES_IN_A_ROW = 3


class Progress(Protocol):
    """Where a campaign tells how it goes."""

    def now(self, key: RunKey, done: int, total: int, left_s: float) -> None:
        """A run begins, the one after `done` of `total`."""

    def say(self, words: str) -> None:
        """Something that should stay to be read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed, and why."""

    key: RunKey
    reason: str


def carry_out(
    pending: Sequence[RunKey],
    journal: Journal,
    run: Callable[[RunKey], RunRecord],
    progress: Progress,
    times: RunTimes,
) -> tuple[Failure, ...]:
    """Carry out each pending run and keep it in the journal; return what failed, which is not kept.

    After a few failures in a row the last one's error is raised. `times` learns from each run.
    """
    failures: list[Failure] = []
    in_a_row = 0
    for index, key in enumerate(pending):
        progress.now(key, index, len(pending), times.left_s(pending[index:]))
        try:
            record = run(key)
        except SplitrailError as error:
            in_a_row += 1
            if in_a_row == MOST_FAILURES_IN_A_ROW:
                raise
            failures.append(Failure(key, str(error)))
            progress.say(f"{run_words(key)} failed: {error}")
            continue
        in_a_row = 0
        journal.append(record)
        times.timed(key, record.took_s)
    return tuple(failures)


def run_words(key: RunKey) -> str:
    """A run in a few words."""
    return f"{key.model} over {key.trace}, {key.contender}, repetition {key.repetition}"
