"""Runs segments, one at a time, in the order in which their tensors came; what goes where is the agent's."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from broker.messages import StageEnergy
from edge_agent.errors import ExecutorBusyError
from edge_agent.packing import Packing
from models.runtime import Segment

LEARNING = 0.2  # the weight of a run in the mean by which the backlog is told

log = logging.getLogger("splitrail.agent")

Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave: the outputs or the error, and where its time and its energy went."""

    outputs: Arrays
    compute_ns: int
    wait_ns: int
    error: str | None = None
    energy: StageEnergy | None = None
    """None where nobody measures it, and of what failed."""
    codec_ns: int = 0
    """What of `compute_ns` went into unpacking the inputs and packing the outputs."""


class RunningMeter(Protocol):
    """Measures the energy of one run at a time."""

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """The energy of the run, which computed between these moments of time.monotonic_ns() and is over now."""


class StageMeter(Protocol):
    """What the executor asks for the energy of its runs, on the thread that runs them; it raises nothing."""

    def begin(self) -> RunningMeter:
        """A run is about to compute."""


@dataclass(frozen=True, slots=True)
class _Work:
    segment: Segment
    inputs: Arrays
    arrived_ns: int
    done: Callable[[Outcome], None]
    packing: Packing | None


def _elsewhere() -> bool:
    """The caller's thread has other things to do."""
    return False


class Executor:
    """Runs segments one at a time. `compute_factor` above 1 emulates a slower machine, `load` one that others use.

    An emulated run takes `compute_factor` / (1 - load) times the CPU time that its thread spent, so that other
    processes of a testbed on the same cores do not count as the emulated machine's own work. `load` (0 to below 1)
    is asked before each run. Energy is told once somebody is there to measure it.
    """

    def __init__(
        self, *, queue_length: int = 64, compute_factor: float = 1.0, load: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._queue_length = queue_length
        self._compute_factor = compute_factor
        self._load = load
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
        work = _Work(segment, inputs, arrived_ns, done, packing)
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
                self._carry_out(work)
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
        return replace(work, inputs=work.segment.kept(work.inputs))

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            self._carry_out(work)
            # What it held, such as a segment that is freed meanwhile, must not wait for the next one to go.
            del work

    def _next(self) -> _Work | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing.is_set() or (self._queue and not self._is_taken))
            if self._closing.is_set():
                return None
            self._is_taken = True
            return self._queue.popleft()

    def _carry_out(self, work: _Work) -> None:
        try:
            work.done(self._run(work))
        except Exception:
            # One run's fault must not end the thread that serves all, whosever it is.
            log.exception("what a run gave could not be taken")
        finally:
            work.segment.release_outputs()
            with self._changed:
                self._is_taken = False
                if self._queue or self._closing.is_set():
                    self._changed.notify_all()

    def _run(self, work: _Work) -> Outcome:
        self._is_computing = True
        stretch = self._compute_factor / (1.0 - self._load())
        metered = self._stage_meter.begin() if self._stage_meter is not None else None
        started_ns = time.monotonic_ns()
        cpu_ns = time.thread_time_ns()
        outputs: Arrays = ()
        error = None
        codec_ns = 0
        try:
            if work.packing is None:
                outputs = work.segment.run_in_place(work.inputs)
            else:
                outputs, codec_ns = _run_packed(work.segment, work.inputs, work.packing)
        except Exception as fault:  # a runtime's own errors have no common type; the request gets it
            error = f"{type(fault).__name__}: {fault}"
        if stretch > 1.0:
            done_ns = started_ns + round(stretch * (time.thread_time_ns() - cpu_ns))
            codec_ns = round(stretch * codec_ns)
            self._closing.wait(max(0, done_ns - time.monotonic_ns()) / 1e9)
        stopped_ns = time.monotonic_ns()
        energy = metered.end(started_ns, stopped_ns) if metered is not None else None
        compute_ns = stopped_ns - started_ns
        self._busy_ns += compute_ns
        self._run_s += LEARNING * (compute_ns / 1e9 - self._run_s)
        self._is_computing = False
        return Outcome(
            outputs,
            compute_ns,
            started_ns - work.arrived_ns,
            error,
            energy if error is None else None,
            min(codec_ns, compute_ns),
        )


def _run_packed(segment: Segment, inputs: Arrays, packing: Packing) -> tuple[Arrays, int]:
    """The packed outputs for packed inputs, and the nanoseconds that unpacking and packing took."""
    started_ns = time.monotonic_ns()
    unpacked = packing.unpack(inputs, segment.inputs)
    unpacked_ns = time.monotonic_ns()
    outputs = segment.run_in_place(unpacked)
    ran_ns = time.monotonic_ns()
    packed = packing.pack(outputs)
    return packed, time.monotonic_ns() - ran_ns + unpacked_ns - started_ns
