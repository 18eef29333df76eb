"""An experiment's runs are carried out once each, and a failure costs no more than itself."""

from pathlib import Path

import pytest
from paper_records import key, run
from test_paper_journal import SETTINGS

from testbed.errors import ExperimentError
from testbed.paper.campaign import carry_out
from testbed.paper.grid import RunTimes
from testbed.paper.journal import Journal
from testbed.paper.records import RunKey, RunRecord

KEYS = [key("latency", repetition) for repetition in range(1, 7)]


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int, float]] = []
        self.words: list[str] = []

    def now(self, key: RunKey, done: int, total: int, left_s: float) -> None:
        self.runs.append((key.repetition, done, total, left_s))

    def say(self, words: str) -> None:
        self.words.append(words)


def test_an_interrupted_experiment_goes_on(tmp_path: Path) -> None:
    """What was over when it was interrupted is there, and the rest is run."""
    ran: list[int] = []

    def once(of: RunKey) -> RunRecord:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(of.repetition)
        return run(of, [1.0], duration_s=15.0)

    with Journal(tmp_path, SETTINGS) as journal, pytest.raises(KeyboardInterrupt):
        carry_out(KEYS, journal, once, Told(), RunTimes(60.0))
    with Journal(tmp_path, SETTINGS) as journal:
        pending = [each for each in KEYS if not journal.has(each)]
        assert pending == KEYS[2:]
        assert carry_out(pending, journal, lambda of: run(of, [1.0]), Told(), RunTimes(60.0)) == ()
        assert [record.key for record in journal.records] == KEYS


def test_the_time_left_comes_from_the_runs_so_far(tmp_path: Path) -> None:
    """At first it is a guess, then what runs took."""
    told = Told()
    with Journal(tmp_path, SETTINGS) as journal:
        carry_out(KEYS[:3], journal, lambda of: run(of, [1.0], duration_s=15.0), told, RunTimes(60.0))
    assert told.runs == [(1, 0, 3, 180.0), (2, 1, 3, 40.0), (3, 2, 3, 20.0)]


def test_a_failed_run_is_told_and_tried_again_next_time(tmp_path: Path) -> None:
    """The others go on; the failed one is not in the journal."""

    def fails_once(of: RunKey) -> RunRecord:
        if of.repetition == 2:
            raise ExperimentError("the fog is thick")
        return run(of, [1.0])

    told = Told()
    with Journal(tmp_path, SETTINGS) as journal:
        [failure] = carry_out(KEYS, journal, fails_once, told, RunTimes(1.0))
        assert (failure.key, failure.reason) == (KEYS[1], "the fog is thick")
        assert not journal.has(KEYS[1])
        assert len(journal.records) == 5
    assert told.words == ["vgg16 over bus.csv, latency, repetition 2 failed: the fog is thick"]


def test_failure_after_failure_ends_it(tmp_path: Path) -> None:
    """What fails three times in a row will not get better by itself."""

    def fails(of: RunKey) -> RunRecord:
        raise ExperimentError(f"no luck with {of.repetition}")

    with Journal(tmp_path, SETTINGS) as journal, pytest.raises(ExperimentError, match="no luck with 3"):
        carry_out(KEYS, journal, fails, Told(), RunTimes(1.0))
