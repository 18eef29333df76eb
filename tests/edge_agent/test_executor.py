import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any, cast

import numpy as np
import pytest
from eventually import eventually

from broker.messages import StageEnergy
from edge_agent.errors import ExecutorBusyError
from edge_agent.executor import Executor, Outcome
from models.runtime import Segment

INPUT = (np.ones(2, np.float32),)


class FakeSegment:
    """What the executor needs of a segment beside its run."""

    def kept(self, arrays: Any) -> Any:
        """They were not lent."""
        return arrays

    def release_outputs(self) -> None:
        """They are copies."""


class Doubling(FakeSegment):
    """Doubles its inputs."""

    def run_in_place(self, arrays: Any) -> list[Any]:
        """Twice each array."""
        return [2 * array for array in arrays]


class Spinning(Doubling):
    """Spends about 5 ms of CPU time."""

    def run_in_place(self, arrays: Any) -> list[Any]:
        """Spin, then double."""
        until = time.thread_time_ns() + 5_000_000
        while time.thread_time_ns() < until:
            pass
        return super().run_in_place(arrays)


class Held(Doubling):
    """Runs only when it is let go."""

    def __init__(self) -> None:
        self.started, self.let_go = threading.Event(), threading.Event()

    def run_in_place(self, arrays: Any) -> list[Any]:
        """Wait, then double."""
        self.started.set()
        self.let_go.wait(10)
        return super().run_in_place(arrays)


class Failing(FakeSegment):
    """Fails as a runtime does."""

    def run_in_place(self, arrays: Any) -> list[Any]:
        """Raise."""
        raise ValueError("wrong shape")


@pytest.fixture
def executor() -> Iterator[Executor]:
    """An executor that is closed afterwards."""
    running = Executor(queue_length=1)
    yield running
    running.close()


def run(executor: Executor, segment: object) -> Outcome:
    """One run, to its end."""
    outcomes: Queue[Outcome] = Queue()
    executor.submit(cast(Segment, segment), INPUT, time.monotonic_ns(), outcomes.put)
    return outcomes.get(timeout=10)


def test_a_run_gives_its_outputs_and_its_time(executor: Executor) -> None:
    """What the compute took is counted as busy time too."""
    outcome = run(executor, Doubling())
    assert outcome.outputs[0].tolist() == [2.0, 2.0]
    assert outcome.error is None
    assert executor.busy_s == pytest.approx(outcome.compute_ns / 1e9)


def test_a_failing_segment_is_an_outcome_and_the_executor_goes_on(executor: Executor) -> None:
    """One model's fault must not end the thread that serves all."""
    assert run(executor, Failing()).error == "ValueError: wrong shape"
    assert run(executor, Doubling()).error is None


def test_an_outcome_that_cannot_be_taken_does_not_end_the_executor(executor: Executor) -> None:
    """Whoever asked may fail at the answer; the next one is still computed for."""
    refused = threading.Event()

    def refuse(_: Outcome) -> None:
        refused.set()
        raise ValueError("cannot be sent")

    executor.submit(cast(Segment, Doubling()), INPUT, time.monotonic_ns(), refuse)
    assert refused.wait(10)
    assert run(executor, Doubling()).error is None


def test_a_full_queue_refuses_at_once(executor: Executor) -> None:
    """A bounded queue answers early instead of late."""
    held = Held()
    done: Queue[Outcome] = Queue()
    executor.submit(cast(Segment, held), INPUT, time.monotonic_ns(), done.put)
    held.started.wait(10)
    executor.submit(cast(Segment, held), INPUT, time.monotonic_ns(), done.put)
    with pytest.raises(ExecutorBusyError, match="1 requests wait already"):
        executor.submit(cast(Segment, held), INPUT, time.monotonic_ns(), done.put)
    held.let_go.set()
    assert {done.get(timeout=10).error, done.get(timeout=10).error} == {None}


def threads_of(executor: Executor, segments: int, **may_be: Callable[[], bool]) -> list[str]:
    """The names of the threads that told the outcomes of so many runs, each submitted when the one before was told."""
    told: Queue[str] = Queue()
    names = []
    for _ in range(segments):
        done = lambda _: told.put(threading.current_thread().name)  # noqa: E731  # it needs no name
        executor.submit(cast(Segment, Doubling()), INPUT, time.monotonic_ns(), done, **may_be)
        names.append(told.get(timeout=10))
        settle(executor)
    return names


def settle(executor: Executor) -> None:
    """Wait until a run's thread has left the executor."""
    assert eventually(lambda: not executor._is_taken)


def test_a_run_may_be_done_by_the_caller(executor: Executor) -> None:
    """Where the caller allows it, an idle executor needs no other thread; else its own does it."""
    here = threading.current_thread().name
    assert threads_of(executor, 2, here=lambda: True) == [here, here]
    assert threads_of(executor, 2) == ["executor", "executor"]
    assert threads_of(executor, 2, here=lambda: False) == ["executor", "executor"]


def test_a_busy_executor_queues_what_might_run_here(executor: Executor) -> None:
    """Segments run one at a time, in the order in which they came, whoever runs them."""
    held = Held()
    told: Queue[str] = Queue()

    def tell(_: Outcome) -> None:
        told.put(threading.current_thread().name)

    first = threading.Thread(
        target=executor.submit,
        args=(cast(Segment, held), INPUT, time.monotonic_ns(), tell),
        kwargs={"here": lambda: True},
        name="caller",
    )
    first.start()
    held.started.wait(10)
    executor.submit(cast(Segment, Doubling()), INPUT, time.monotonic_ns(), tell, here=lambda: True)
    assert told.empty()
    held.let_go.set()
    assert [told.get(timeout=10), told.get(timeout=10)] == ["caller", "executor"]
    first.join(10)


def test_the_memory_that_was_lent_is_free_while_a_run_waits(executor: Executor) -> None:
    """Others may run the same segment before it, and tensors come in for it: what waits has its inputs to itself."""
    held, lent = Held(), np.ones(2, np.float32)
    held.kept = lambda arrays: tuple(array.copy() for array in arrays)  # type: ignore[method-assign]  # as a segment's
    told: Queue[Outcome] = Queue()
    executor.submit(cast(Segment, held), INPUT, time.monotonic_ns(), told.put)
    held.started.wait(10)
    executor.submit(cast(Segment, held), (lent,), time.monotonic_ns(), told.put)
    lent[:] = 7.0
    held.let_go.set()
    told.get(timeout=10)
    assert told.get(timeout=10).outputs[0].tolist() == [2.0, 2.0]


def test_what_an_outcome_submits_is_queued(executor: Executor) -> None:
    """A chain of runs on one node grows no stack, and outputs stay valid until they are handed on."""
    told: Queue[str] = Queue()

    def again(_: Outcome) -> None:
        executor.submit(
            cast(Segment, Doubling()),
            INPUT,
            time.monotonic_ns(),
            lambda _: told.put(threading.current_thread().name),
            here=lambda: True,
        )

    executor.submit(cast(Segment, Doubling()), INPUT, time.monotonic_ns(), again, here=lambda: True)
    assert told.get(timeout=10) == "executor"


def test_a_fault_of_a_caller_s_own_outcome_is_logged(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    """The thread of a transport is not ended by what one message leads to."""

    def refuse(_: Outcome) -> None:
        raise ValueError("cannot be sent")

    executor.submit(cast(Segment, Doubling()), INPUT, time.monotonic_ns(), refuse, here=lambda: True)
    assert "cannot be sent" in caplog.text
    assert run(executor, Doubling()).error is None


def test_a_closed_executor_takes_nothing(executor: Executor) -> None:
    """Tensors that come in while an agent leaves are refused in words."""
    executor.close()
    with pytest.raises(ExecutorBusyError, match="closing"):
        run(executor, Doubling())


def test_closing_waits_for_what_runs_on_another_s_thread() -> None:
    """After it, no segment is in use."""
    executor, held = Executor(), Held()
    told: Queue[Outcome] = Queue()
    caller = threading.Thread(
        target=executor.submit,
        args=(cast(Segment, held), INPUT, time.monotonic_ns(), told.put),
        kwargs={"here": lambda: True},
    )
    caller.start()
    held.started.wait(10)
    closing = threading.Thread(target=executor.close)
    closing.start()
    assert eventually(executor._closing.is_set)
    assert told.empty()
    held.let_go.set()
    closing.join(10)
    assert told.get_nowait().error is None
    caller.join(10)


def test_the_backlog_is_told_by_what_ran_before(executor: Executor) -> None:
    """Of the queue and of what runs, so that nobody waits for it in vain."""
    assert executor.backlog_s == 0.0
    for _ in range(3):
        run(executor, Spinning())
    held = Held()
    done: Queue[Outcome] = Queue()
    executor.submit(cast(Segment, held), INPUT, time.monotonic_ns(), done.put)
    held.started.wait(10)
    alone_s = executor.backlog_s
    executor.submit(cast(Segment, held), INPUT, time.monotonic_ns(), done.put)
    assert executor.backlog_s == pytest.approx(2 * alone_s)
    assert alone_s > 0.0
    held.let_go.set()
    done.get(timeout=10), done.get(timeout=10)


def test_an_emulated_machine_takes_its_factor_of_the_cpu_time() -> None:
    """Slowness is reckoned from what the thread itself computed."""
    slow = Executor(compute_factor=4.0)
    outcome = run(slow, Spinning())
    slow.close()
    assert outcome.compute_ns >= 4 * 5_000_000


def test_an_emulated_load_stretches_the_compute_and_is_asked_before_each_run() -> None:
    """A machine of which others take three quarters is four times slower, on top of its factor."""
    load = 0.0
    loaded = Executor(compute_factor=2.0, load=lambda: load)
    free = run(loaded, Spinning())
    load = 0.75
    shared = run(loaded, Spinning())
    loaded.close()
    assert free.compute_ns >= 2 * 5_000_000
    assert shared.compute_ns >= 2 * 4 * 5_000_000
    assert loaded.busy_s == pytest.approx((free.compute_ns + shared.compute_ns) / 1e9)


def test_an_emulated_machine_is_closed_while_it_is_slow() -> None:
    """What the emulation adds to a run is not waited for."""
    outcomes: Queue[Outcome] = Queue()
    factor = 10_000.0
    slow = Executor(compute_factor=factor)
    spun = threading.Event()

    class Telling(Spinning):
        def run_in_place(self, arrays: Any) -> list[Any]:
            outputs = super().run_in_place(arrays)
            spun.set()
            return outputs

    slow.submit(cast(Segment, Telling()), INPUT, time.monotonic_ns(), outcomes.put)
    assert spun.wait(timeout=10)
    slow.close()
    assert outcomes.get_nowait().compute_ns < factor * 5_000_000


def test_waiting_is_told_from_computing(executor: Executor) -> None:
    """The wait counts from the arrival of the tensors."""
    outcomes: Queue[Outcome] = Queue()
    executor.submit(cast(Segment, Doubling()), INPUT, time.monotonic_ns() - 50_000_000, outcomes.put)
    outcome = outcomes.get(timeout=10)
    assert outcome.wait_ns >= 50_000_000


ENERGY = StageEnergy(
    energy_j=1.0, energy_j_std=0.1, method="integrated", source="measured", scope="board", meter="hwmon"
)


class Metering:
    """Counts the runs that it was there for, and says the same of each."""

    def __init__(self) -> None:
        self.begun = self.ended = self.computed_ns = 0

    def begin(self) -> "Metering":
        """A run begins."""
        self.begun += 1
        return self

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """It is over."""
        self.ended += 1
        self.computed_ns = stop_ns - start_ns
        return ENERGY


def test_the_energy_of_a_run_is_told_with_its_outcome(executor: Executor) -> None:
    """As soon as there is somebody to measure it; a run that fails tells of none."""
    assert run(executor, Doubling()).energy is None
    metering = Metering()
    executor.measure_energy_by(metering)
    outcome = run(executor, Doubling())
    assert (outcome.energy, outcome.compute_ns) == (ENERGY, metering.computed_ns)
    assert run(executor, Failing()).energy is None
    assert (metering.begun, metering.ended) == (2, 2)
