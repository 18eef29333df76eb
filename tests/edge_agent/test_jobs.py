"""One thread that does jobs by urgency and age."""

import threading
from collections.abc import Iterator

import pytest
from eventually import eventually

from edge_agent.jobs import MOST_JOBS, Jobs


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """A thread without jobs."""
    jobs = Jobs("jobs of a test")
    yield jobs
    jobs.close()


class Gate:
    """A job that keeps the thread until it is let go, so that the others queue."""

    def __init__(self, jobs: Jobs) -> None:
        self._let_go = threading.Event()
        began = threading.Event()

        def run() -> None:
            began.set()
            self._let_go.wait(10)

        jobs.add("gate", 0, run)
        assert began.wait(10)

    def open(self) -> None:
        """Let the thread go on."""
        self._let_go.set()


def test_the_most_urgent_comes_first_and_then_the_oldest(jobs: Jobs) -> None:
    """Plans before profiles."""
    done: list[str] = []
    gate = Gate(jobs)
    for name, urgency in (("b1", 1), ("a1", 0), ("b2", 1), ("a2", 0)):
        jobs.add(name, urgency, lambda name=name: done.append(name))  # type: ignore[misc]  # mypy cannot type a default in a lambda
    gate.open()
    assert eventually(lambda: len(done) == 4)
    assert done == ["a1", "a2", "b1", "b2"]


def test_a_job_that_has_not_begun_gives_way_to_a_newer_of_its_key(jobs: Jobs) -> None:
    """Of the plans of a deployment only the newest is worth loading."""
    done: list[int] = []
    gate = Gate(jobs)
    for number in range(5):
        jobs.add("photos", 0, lambda number=number: done.append(number))  # type: ignore[misc]  # as above
    jobs.add("last", 1, lambda: done.append(99))
    gate.open()
    assert eventually(lambda: 99 in done)
    assert done == [4, 99]


def test_a_job_may_wait_for_its_time(jobs: Jobs) -> None:
    """The next is not kept by it."""
    done: list[str] = []
    jobs.add("later", 0, lambda: done.append("later"), delay_s=0.2)
    jobs.add("now", 1, lambda: done.append("now"))
    assert eventually(lambda: len(done) == 2)
    assert done == ["now", "later"]


def test_a_retry_gives_way_to_what_was_asked_since(jobs: Jobs) -> None:
    """A plan that waits for room must not push out the newer one that came as it was tried."""
    done: list[str] = []
    began, newer_waits = threading.Event(), threading.Event()

    def try_older() -> None:
        began.set()
        newer_waits.wait(10)
        jobs.add("photos", 0, lambda: done.append("older"), is_retry=True)

    jobs.add("photos", 0, try_older)
    assert began.wait(10)
    jobs.add("photos", 0, lambda: done.append("newer"))
    newer_waits.set()
    assert eventually(lambda: done == ["newer"])
    jobs.add("photos", 0, lambda: done.append("again"), is_retry=True)
    assert eventually(lambda: done == ["newer", "again"])


def test_what_waits_is_bounded(jobs: Jobs) -> None:
    """What comes beyond is dropped, with a warning."""
    done: list[int] = []
    gate = Gate(jobs)
    for number in range(MOST_JOBS + 10):
        jobs.add(number, 0, lambda number=number: done.append(number))  # type: ignore[misc]  # as above
    jobs.add(0, 0, lambda: done.append(-1))
    gate.open()
    assert eventually(lambda: len(done) == MOST_JOBS)
    assert set(done) == set(range(1, MOST_JOBS)) | {-1}


def test_a_job_under_way_is_given_up_at_the_end(jobs: Jobs) -> None:
    """Where it asks whether to go on; and what waits is dropped."""
    began = threading.Event()

    def run() -> None:
        began.set()
        while True:
            jobs.go_on()

    jobs.add("endless", 0, run)
    assert began.wait(10)
    jobs.add("never", 0, lambda: pytest.fail("it was to be dropped"))
    jobs.close()
