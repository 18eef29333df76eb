"""Runs segments, one at a time, in the order in which their tensors came; what goes where is the agent's."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from broker.messages import StageEnergy
from edge_agent.errors import ExecutorBusyError
from edge_agent.packing import Packing
from edge_agent.runs import Arrays, Runs, Task
from models.runtime import Segment

LEARNING = 0.2  # the weight of a run in the mean by which the backlog is told

log = logging.getLogger("splitrail.agent")


class Outcome(msgspec.Struct, frozen=True):
    """What a run gave: the outputs or the error, and where its time and its energy went."""

    outputs: Arrays
    compute_ns: int
    wait_ns: int
    error: str | None = None
    energy: StageEnergy | None = None
    """None where nobody measures it, and of what failed."""
    codec_ns: int = 0
    """What of `compute_ns` went into unpacking the inputs and packing the outputs."""
    batch: int = 1
    """How many requests were computed in one run; times and energy are this one's share."""


class RunningMeter(Protocol):
    """Measures the energy of one run at a time."""

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """The energy of the run, which computed between these moments of time.monotonic_ns() and is over now."""


class StageMeter(Protocol):
    """What the executor asks for the energy of its runs, on the thread that runs them; it raises nothing."""

    def begin(self) -> RunningMeter:
        """A run is about to compute."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many requests of one segment may be computed in one run, and how long one may wait for others to come."""

    most: int
    longest_wait_s: float


class _Work(msgspec.Struct, frozen=True, eq=False):
    task: Task
    arrived_ns: int
    done: Callable[[Outcome], None]


def _elsewhere() -> bool:
    """The caller's thread has other things to do."""
    return False


class Executor:
    """Runs segments one at a time, several requests of one in a run where `batching` admits it and that pays.

    `compute_factor` above 1 emulates a slower machine, `load` one that others use.
    An emulated run takes `compute_factor` / (1 - load) times the CPU time that its thread spent, so that other
    processes of a testbed on the same cores do not count as the emulated machine's own work. `load` (0 to below 1)
    is asked before each run. Energy is told once somebody is there to measure it.
    """

    def __init__(
        self,
        *,
        queue_length: int = 64,
        compute_factor: float = 1.0,
        load: Callable[[], float] = lambda: 0.0,
        batching: Batching | None = None,
    ) -> None:
        self._queue_length = queue_length
        self._compute_factor = compute_factor
        self._load = load
        self._longest_wait_s = batching.longest_wait_s if batching is not None else 0.0
        self._runs = Runs(batching.most if batching is not None else 1)
        self._busy_ns = 0
        self._is_computing = False
        self._run_s = 0.0
        self._stage_meter: StageMeter | None = None
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._queue: deque[_Work] = deque()
        self._is_taken = False
        self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._is_taken and not self._queue

    @property
    def busy_s(self) -> float:
        """Seconds spent computing since the start, emulated slowness and load included."""
        return self._busy_ns / 1e9

    @property
    def backlog_s(self) -> float:
        """Seconds that what waits will take, if it is like what ran last."""
        return (len(self._queue) + self._is_computing) * self._run_s

    def measure_energy_by(self, meter: StageMeter) -> None:
        """From the next run on, let `meter` say what a run took."""
        self._stage_meter = meter

    def submit(
        self,
        segment: Segment,
        inputs: Arrays,
        arrived_ns: int,
        done: Callable[[Outcome], None],
        *,
        packing: Packing | None = None,
        here: Callable[[], bool] = _elsewhere,
    ) -> None:
        """Run on the caller's thread if nothing runs or waits and it may be `here`; else queue it for the executor's.

        `here` is asked once this run has its place in the order. `done` is called on the thread that ran it, before
        anything else runs: until it returns, the outputs may be the runtime's own memory. What it submits itself is
        queued. `arrived_ns` is when the inputs came, by time.monotonic_ns(). ExecutorBusyError if the queue is full, or
        the executor closed.
        """
        work = _Work(Task(segment, inputs, packing), arrived_ns, done)
        with self._changed:
            if self._closing.is_set():
                raise ExecutorBusyError("its agent is closing")
            may_be_next = here is not _elsewhere and not self._is_taken and not self._queue
            if may_be_next:
                self._is_taken = True
            elif len(self._queue) >= self._queue_length:
                raise ExecutorBusyError(f"{self._queue_length} requests wait already, {self.backlog_s:.1f} s of work")
            else:
                self._queue.append(self._waiting(work))
                if not self._is_taken:
                    self._changed.notify_all()
        if may_be_next:
            if here():
                self._carry_out((work,))
            else:
                with self._changed:
                    self._is_taken = False
                    self._queue.appendleft(self._waiting(work))
                    self._changed.notify_all()

    def close(self) -> None:
        """Finish what runs now, drop what waits, and end the thread; an emulated machine does not sleep on."""
        with self._changed:
            self._closing.set()
            self._queue.clear()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_taken)
        self._thread.join()

    @staticmethod
    def _waiting(work: _Work) -> _Work:
        """The same work, whose turn comes later: until then others may use the memory that it was lent, if it was."""
        task = work.task
        kept = msgspec.structs.replace(task, inputs=task.segment.kept(task.inputs))
        return msgspec.structs.replace(work, task=kept)

    def _serve(self) -> None:
        while (works := self._next()) is not None:
            self._carry_out(works)
            # What they held, such as a segment that is freed meanwhile, must not wait for the next ones to go.
            del works

    def _next(self) -> list[_Work] | None:
        """What the next run computes; None when it is time to end."""
        with self._changed:
            while not self._closing.is_set():
                if not self._queue or self._is_taken:
                    self._changed.wait()
                    continue
                works, pause_s = self._like_the_first()
                if pause_s > 0.0:
                    self._changed.wait(pause_s)
                    continue
                self._is_taken = True
                for work in works:
                    self._queue.remove(work)
                return works
            return None

    def _like_the_first(self) -> tuple[list[_Work], float]:
        """Those that are best computed in one run with the first that waits, and how long to wait for more of them."""
        first = self._queue[0]
        segment = first.task.segment
        like = [work for work in self._queue if work.task.is_like(first.task)]
        pause_s = 0.0
        if self._longest_wait_s and self._runs.is_worth_waiting(segment, len(like)):
            pause_s = first.arrived_ns / 1e9 + self._longest_wait_s - time.monotonic()
        return like[: self._runs.size(segment, len(like))], pause_s

    def _carry_out(self, works: Sequence[_Work]) -> None:
        try:
            for work, outcome in zip(works, self._run(works), strict=True):
                try:
                    work.done(outcome)
                except Exception:
                    # One run's fault must not end the thread that serves all, whosever it is.
                    log.exception("what a run gave could not be taken")
        finally:
            works[0].task.segment.release_outputs()
            with self._changed:
                self._is_taken = False
                if self._queue or self._closing.is_set():
                    self._changed.notify_all()

    def _run(self, works: Sequence[_Work]) -> list[Outcome]:
        self._is_computing = True
        stretch = self._compute_factor / (1.0 - self._load())
        metered = self._stage_meter.begin() if self._stage_meter is not None else None
        started_ns = time.monotonic_ns()
        cpu_ns = time.thread_time_ns() if stretch > 1.0 else 0
        results = self._runs.compute([work.task for work in works])
        if stretch > 1.0:
            done_ns = started_ns + round(stretch * (time.thread_time_ns() - cpu_ns))
            self._closing.wait(max(0, done_ns - time.monotonic_ns()) / 1e9)
        stopped_ns = time.monotonic_ns()
        energy = metered.end(started_ns, stopped_ns) if metered is not None else None
        share_ns = (stopped_ns - started_ns) // len(works)
        self._busy_ns += stopped_ns - started_ns
        self._run_s += LEARNING * (share_ns / 1e9 - self._run_s)
        self._is_computing = False
        return [
            Outcome(
                result.outputs,
                share_ns,
                started_ns - work.arrived_ns,
                result.error,
                _share(energy, len(works)) if result.error is None else None,
                min(round(stretch * result.codec_ns), share_ns),
                result.batch,
            )
            for work, result in zip(works, results, strict=True)
        ]


def _share(energy: StageEnergy | None, count: int) -> StageEnergy | None:
    if energy is None or count == 1:
        return energy
    return msgspec.structs.replace(energy, energy_j=energy.energy_j / count, energy_j_std=energy.energy_j_std / count)
