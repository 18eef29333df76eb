"""One thread that runs segments in the order in which their tensors came; what goes where is the agent's."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from broker.messages import StageEnergy
from edge_agent.errors import ExecutorBusyError
from edge_agent.worker import Worker
from models.runtime import Segment

LEARNING = 0.2  # the weight of a run in the mean by which the backlog is told

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


class RunningMeter(Protocol):
    """Measures the energy of one run at a time."""

    def end(self, start_ns: int, stop_ns: int) -> StageEnergy:
        """The energy of the run, which computed between these moments of time.monotonic_ns() and is over now."""


class StageMeter(Protocol):
    """What the executor asks for the energy of its runs, on its own thread; it raises nothing."""

    def begin(self) -> RunningMeter:
        """A run is about to compute."""


@dataclass(frozen=True, slots=True)
class _Work:
    segment: Segment
    inputs: Arrays
    arrived_ns: int
    done: Callable[[Outcome], None]


class Executor:
    """Runs segments one at a time. `compute_factor` above 1 emulates a slower machine, `load` one that others use.

    An emulated run takes `compute_factor` / (1 - load) times the CPU time that this thread spent, so that other
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
        self._is_running = False
        self._run_s = 0.0
        self._stage_meter: StageMeter | None = None
        self._closing = threading.Event()
        self._worker = Worker("executor", queue_length, self._run)

    @property
    def busy_s(self) -> float:
        """Seconds spent computing since the start, emulated slowness and load included."""
        return self._busy_ns / 1e9

    @property
    def backlog_s(self) -> float:
        """Seconds that what waits will take, if it is like what ran last."""
        return (self._worker.waiting + self._is_running) * self._run_s

    def measure_energy_by(self, meter: StageMeter) -> None:
        """From the next run on, let `meter` say what a run took."""
        self._stage_meter = meter

    def submit(self, segment: Segment, inputs: Arrays, arrived_ns: int, done: Callable[[Outcome], None]) -> None:
        """Queue a run; `done` is called on the executor's thread. ExecutorBusyError if the queue is full.

        `arrived_ns` is when the inputs came, by time.monotonic_ns().
        """
        if not self._worker.submit(_Work(segment, inputs, arrived_ns, done)):
            raise ExecutorBusyError(f"{self._queue_length} requests wait already, {self.backlog_s:.1f} s of work")

    def close(self) -> None:
        """Finish what runs now, drop what waits, and end the thread; an emulated machine does not sleep on."""
        self._closing.set()
        self._worker.close()

    def _run(self, work: _Work) -> None:
        self._is_running = True
        stretch = self._compute_factor / (1.0 - self._load())
        metered = self._stage_meter.begin() if self._stage_meter is not None else None
        started_ns = time.monotonic_ns()
        cpu_ns = time.thread_time_ns()
        outputs: Arrays = ()
        error = None
        try:
            outputs = work.segment.run(work.inputs)
        except Exception as fault:  # a runtime's own errors have no common type; the request gets it
            error = f"{type(fault).__name__}: {fault}"
        if stretch > 1.0:
            done_ns = started_ns + round(stretch * (time.thread_time_ns() - cpu_ns))
            self._closing.wait(max(0, done_ns - time.monotonic_ns()) / 1e9)
        stopped_ns = time.monotonic_ns()
        energy = metered.end(started_ns, stopped_ns) if metered is not None else None
        compute_ns = stopped_ns - started_ns
        self._busy_ns += compute_ns
        self._run_s += LEARNING * (compute_ns / 1e9 - self._run_s)
        self._is_running = False
        work.done(Outcome(outputs, compute_ns, started_ns - work.arrived_ns, error, energy if error is None else None))
