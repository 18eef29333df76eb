"""Requests that wait for one segment, computed together by an executor."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from typing import Any, cast

import numpy as np
import pytest

from broker.messages import StageEnergy
from edge_agent.executor import Batching, Executor, Outcome
from models.errors import SegmentInputError
from models.runtime import Segment

RUN_NS = 4_000_000


class Clock:
    """The time that runs are measured by; only runs let it pass."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        """This moment."""
        return self.now_ns


CLOCK = Clock()


@pytest.fixture(autouse=True)
def measured_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a run takes what it says."""
    monkeypatch.setattr("edge_agent.runs.monotonic_ns", CLOCK)


class Rows:
    """Stands in for a segment that doubles, and for what computes several of its runs at once."""

    most = 8

    def __init__(self, batch_ns: Callable[[int], int] = lambda _: RUN_NS, factor: float = 2.0) -> None:
        self.sizes: list[int] = []
        self._batch_ns = batch_ns
        self._factor = factor
        self.has_batches = True
        self.fault: Exception | None = None

    def run_in_place(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One request."""
        self.sizes.append(1)
        CLOCK.now_ns += RUN_NS
        return self._doubled(arrays, 2.0)

    def run(self, requests: Any) -> list[Any]:
        """One request, or several as `batched` has it."""
        if isinstance(requests[0], np.ndarray):
            return self._doubled(requests, 2.0)
        if self.fault is not None:
            raise self.fault
        self.sizes.append(len(requests))
        outputs = [self._doubled(arrays, self._factor) for arrays in requests]
        CLOCK.now_ns += self._batch_ns(len(requests))
        return outputs

    def batched(self, most: int) -> "Rows | None":
        """This, if there is such a thing."""
        assert most == 8
        return self if self.has_batches else None

    def kept(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Nothing was lent."""
        return tuple(arrays)

    def release_outputs(self) -> None:
        """They are nobody's."""

    @staticmethod
    def _doubled(arrays: Sequence[np.ndarray], factor: float) -> list[np.ndarray]:
        if arrays[0].shape != (1, 2):
            raise SegmentInputError("takes two numbers")
        return [factor * arrays[0]]


def row(number: int) -> tuple[np.ndarray, ...]:
    """The inputs of a request."""
    return (np.full((1, 2), number, np.float32),)


class Desk:
    """An executor, and what becomes of the requests that are given to it while it is held up."""

    def __init__(self, longest_wait_s: float = 0.0, most: int = 8) -> None:
        self.executor = Executor(batching=Batching(most, longest_wait_s))

    def ask(self, segment: Rows, requests: Sequence[tuple[np.ndarray, ...]]) -> list[Outcome]:
        """The outcomes of requests that all wait when the first of them is taken."""
        self.hold()
        outcomes = self.submit(segment, requests)
        self.let_go()
        return [outcomes.get(timeout=10) for _ in requests]

    def submit(self, segment: Rows, requests: Sequence[tuple[np.ndarray, ...]]) -> "Queue[Outcome]":
        """Give requests to the executor, in their order."""
        outcomes: Queue[Outcome] = Queue()
        for request in requests:
            self.executor.submit(cast(Segment, segment), request, time.monotonic_ns(), outcomes.put)
        return outcomes

    def hold(self) -> None:
        """Keep the executor busy."""
        self._gate = threading.Event()
        started = threading.Event()

        def wait(_: Outcome) -> None:
            started.set()
            self._gate.wait(10)

        self.executor.submit(cast(Segment, Rows()), row(0), time.monotonic_ns(), wait)
        assert started.wait(10)

    def let_go(self) -> None:
        """Let it go on."""
        self._gate.set()

    def teach(self, segment: Rows) -> None:
        """Let it find out what single runs take, and pairs, and fours, and eights."""
        for count in (1, 1, 1, *[2] * 4, *[4] * 4, *[8] * 4):
            self.ask(segment, [row(number) for number in range(count)])


@pytest.fixture
def desk() -> Iterator[Desk]:
    """An executor that computes at most eight together, and waits for none."""
    desk = Desk()
    yield desk
    desk.executor.close()


def test_what_waits_is_computed_together_once_that_was_found_to_pay(desk: Desk) -> None:
    """Each request has its own result."""
    segment = Rows()
    desk.teach(segment)
    segment.sizes.clear()
    outcomes = desk.ask(segment, [row(number) for number in range(8)])
    assert segment.sizes == [8]
    assert [float(outcome.outputs[0][0, 0]) for outcome in outcomes] == [2.0 * number for number in range(8)]
    assert {outcome.batch for outcome in outcomes} == {8}
    assert all(outcome.error is None for outcome in outcomes)


def test_a_segment_that_gains_nothing_computes_each_alone(desk: Desk) -> None:
    """A run of two that takes as long as two runs is not repeated, once that is sure."""
    segment = Rows(batch_ns=lambda size: RUN_NS * size * 2)
    desk.teach(segment)
    segment.sizes.clear()
    assert {outcome.batch for outcome in desk.ask(segment, [row(1)] * 8)} == {1}
    assert segment.sizes == [1] * 8


def test_a_request_that_is_alone_waits_for_nobody(desk: Desk) -> None:
    """Whatever may pay."""
    segment = Rows()
    desk.teach(segment)
    [outcome] = desk.ask(segment, [row(3)])
    assert outcome.batch == 1
    assert segment.sizes[-1] == 1


def test_other_results_together_than_alone_end_the_matter(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The first batch is compared with a single run; what is answered is what single runs give."""
    segment = Rows(factor=2.001)
    desk.teach(segment)
    assert "other results for 2 requests at once" in caplog.text
    assert segment.sizes.count(2) == 1
    outcomes = desk.ask(segment, [row(1)] * 4)
    assert [float(outcome.outputs[0][0, 0]) for outcome in outcomes] == [2.0] * 4


def test_where_there_is_nothing_to_compute_them_together_each_is_computed_alone(desk: Desk) -> None:
    """As where weights would be held twice."""
    segment = Rows()
    segment.has_batches = False
    desk.teach(segment)
    assert set(segment.sizes) == {1}


def test_requests_of_other_segments_are_not_mixed(desk: Desk) -> None:
    """They keep their order among those of their own."""
    one, other = Rows(), Rows()
    desk.teach(one)
    desk.teach(other)
    one.sizes.clear()
    other.sizes.clear()
    desk.hold()
    outcomes = [desk.submit(segment, [row(number)]) for number, segment in enumerate((one, other, one, other))]
    desk.let_go()
    assert [float(each.get(timeout=10).outputs[0][0, 0]) for each in outcomes] == [0.0, 2.0, 4.0, 6.0]
    assert (one.sizes, other.sizes) == ([2], [2])


def test_a_request_that_does_not_fit_fails_alone(desk: Desk) -> None:
    """Those that were to be computed with it have their results."""
    segment = Rows()
    desk.teach(segment)
    wrong = (np.zeros((1, 3), np.float32),)
    outcomes = desk.ask(segment, [row(1), wrong])
    assert [outcome.error for outcome in outcomes] == [None, "SegmentInputError: takes two numbers"]


def test_whatever_a_batch_raises_each_is_computed_alone_then(desk: Desk) -> None:
    """Such as memory that is not there: the executor goes on, and every request has its result."""
    segment = Rows()
    desk.teach(segment)
    segment.fault = MemoryError("no room for so many rows")
    outcomes = desk.ask(segment, [row(1), row(2)])
    assert [(outcome.error, float(outcome.outputs[0][0, 0])) for outcome in outcomes] == [(None, 2.0), (None, 4.0)]


def test_one_that_waits_may_wait_for_more() -> None:
    """Up to a bound, and only where a larger batch is known to pay."""
    desk = Desk(longest_wait_s=5.0)
    segment = Rows()
    desk.teach(segment)
    desk.hold()
    first = desk.submit(segment, [row(1)])
    desk.let_go()
    others = desk.submit(segment, [row(2)] * 7)
    assert first.get(timeout=20).batch == 8
    assert {others.get(timeout=20).batch for _ in range(7)} == {8}
    desk.executor.close()


class Metering:
    """Says the same of each run."""

    def begin(self) -> "Metering":
        """A run begins."""
        return self

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """It is over."""
        assert stop_ns >= start_ns
        return StageEnergy(
            energy_j=8.0, energy_j_std=0.8, method="integrated", source="measured", scope="board", meter="hwmon"
        )


def test_the_energy_of_a_run_is_shared_too(desk: Desk) -> None:
    """So that a stream's reports add up to what the node took."""
    segment = Rows()
    desk.teach(segment)
    desk.executor.measure_energy_by(Metering())
    energies = [outcome.energy for outcome in desk.ask(segment, [row(1)] * 8)]
    assert [energy.energy_j for energy in energies if energy is not None] == [1.0] * 8
    assert energies[0] is not None
    assert energies[0].energy_j_std == pytest.approx(0.1)


def test_batching_may_be_turned_off() -> None:
    """By computing one at most."""
    desk = Desk(most=1)
    segment = Rows()
    desk.teach(segment)
    assert set(segment.sizes) == {1}
    desk.executor.close()
