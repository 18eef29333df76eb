"""An experiment's runs are carried out once each, and a failure costs no more than itself."""

from pathlib import Path

import pytest
from paper_records import key, run
from test_paper_journal import SETTINGS

from testbed.errors import ExperimentError
from testbed.paper.campaign import carry_out
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


def test_what_is_over_is_skipped(tmp_path: Path) -> None:
    """A second call runs only what the first did not; the time left comes from the runs that are over."""
    ran: list[int] = []

    def once(of: RunKey) -> RunRecord:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(of.repetition)
        return run(of, [1.0], duration_s=15.0)

    with Journal(tmp_path, SETTINGS) as journal, pytest.raises(KeyboardInterrupt):
        carry_out(KEYS, journal, once, Told(), guess_s=60.0)
    told = Told()
    with Journal(tmp_path, SETTINGS) as journal:
        assert carry_out(KEYS, journal, lambda of: run(of, [1.0], duration_s=15.0), told, guess_s=60.0) == ()
        assert [record.key for record in journal.records] == KEYS
    assert told.runs == [(3, 2, 6, 80.0), (4, 3, 6, 60.0), (5, 4, 6, 40.0), (6, 5, 6, 20.0)]


def test_a_failed_run_is_told_and_tried_again_next_time(tmp_path: Path) -> None:
    """The others go on; the failed one is not in the journal."""

    def fails_once(of: RunKey) -> RunRecord:
        if of.repetition == 2:
            raise ExperimentError("the fog is thick")
        return run(of, [1.0])

    told = Told()
    with Journal(tmp_path, SETTINGS) as journal:
        [failure] = carry_out(KEYS, journal, fails_once, told, guess_s=1.0)
        assert (failure.key, failure.reason) == (KEYS[1], "the fog is thick")
        assert not journal.has(KEYS[1])
        assert len(journal.records) == 5
    assert told.words == ["vgg16 over bus.csv, latency, repetition 2 failed: the fog is thick"]


def test_failure_after_failure_ends_it(tmp_path: Path) -> None:
    """What fails three times in a row will not get better by itself."""

    def fails(of: RunKey) -> RunRecord:
        raise ExperimentError(f"no luck with {of.repetition}")

    with Journal(tmp_path, SETTINGS) as journal, pytest.raises(ExperimentError, match="no luck with 3"):
        carry_out(KEYS, journal, fails, Told(), guess_s=1.0)
