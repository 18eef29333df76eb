"""Measures what each op of a model costs on this machine: each op as a segment of its own, on real activations,
scaled so that the ops sum to the unsplit time; keeping and publishing profiles is the agent's.
"""

import itertools
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from edge_agent.clock import MACHINE_CLOCK
from edge_agent.errors import ProfileError
from edge_agent.hardware import machine_identity, usable_cores
from edge_agent.threads import ThreadSetting, ThreadTime, best_count, counts_to_try, is_hopeless
from models.graph import Graph, read_graph
from models.runtime import Segment, TensorSpec, runtime_identity
from models.schema import SENDABLE_TYPES
from models.slicer import slice_model

WARM_UP_RUNS = 3
LEAST_RUNS = 5
MOST_RUNS = 50
BUDGET_PER_OP_S = 0.03  # MobileNetV2's 65 ops in about two seconds
BUDGET_UNSPLIT_S = 0.5

Progress = Callable[[int, int], None]
Arrays = list[np.ndarray[Any, Any]]


class MeasuredProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a model on this machine before any emulation; times in milliseconds."""

    op_ms: tuple[float, ...]
    op_ms_std: tuple[float, ...]
    unsplit_ms: float
    unsplit_ms_std: float
    memory_mb: float
    runtime: str
    threads: int
    thread_ms: tuple[ThreadTime, ...] = ()
    """What the counts took among which `threads` was chosen; empty where it was given."""
    single_op_ms: tuple[float, ...] = ()
    """The ops' times with one thread, where `threads` was chosen and is more."""
    at: float = 0.0
    """When it was measured, s since the Unix epoch; 0 of one that an older version kept."""

    def stretched(self, factor: float) -> "MeasuredProfile":
        """The same profile on an emulated machine that is `factor` times slower."""
        return msgspec.structs.replace(
            self,
            op_ms=tuple(ms * factor for ms in self.op_ms),
            op_ms_std=tuple(ms * factor for ms in self.op_ms_std),
            unsplit_ms=self.unsplit_ms * factor,
            unsplit_ms_std=self.unsplit_ms_std * factor,
            thread_ms=tuple(
                ThreadTime(threads=time.threads, unsplit_ms=time.unsplit_ms * factor) for time in self.thread_ms
            ),
            single_op_ms=tuple(ms * factor for ms in self.single_op_ms),
        )


@dataclass(frozen=True, slots=True)
class _Timing:
    ms: float
    ms_std: float


def profile_model(
    path: Path,
    *,
    threads: ThreadSetting = 1,
    by_cpu_time: bool = False,
    packed: Path | None = None,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> MeasuredProfile:
    """Measure the model at `path`; `scratch` is a directory with room for its largest op's weights.

    `auto` measures the unsplit model with 1, 2, ... threads up to this process's cores, and then the ops with the best
    count. `by_cpu_time` counts this thread's CPU time instead of the wall's where there is one thread: a testbed's
    agents share their cores. `packed` is the model's file of `pack_weights`, with which loading is quick. Ops between
    which no cut is allowed share their segment's time equally; ops that a segment folds away cost nothing.
    ModelError says why a model cannot be read, cut or run, ProfileError why no inputs can be made up for it.
    `progress(ops done, ops in all)` is called after every run, so that what it raises ends the work soon.
    """
    return _Measurement(path, packed, scratch, progress).profile(threads, by_cpu_time=by_cpu_time)


class _Measurement:
    """One model on this machine."""

    def __init__(self, path: Path, packed: Path | None, scratch: Path | None, progress: Progress | None) -> None:
        self._path, self._packed, self._scratch, self._progress = path, packed, scratch, progress
        self._graph = read_graph(path)
        self._process = psutil.Process()
        self._memory_mb = 0.0

    def profile(self, setting: ThreadSetting, *, by_cpu_time: bool) -> MeasuredProfile:
        """All of it."""
        thread_ms = self._thread_times() if setting == "auto" else ()
        threads = best_count(thread_ms) if setting == "auto" else setting
        clock_ns = time.thread_time_ns if by_cpu_time and threads == 1 else time.perf_counter_ns
        unsplit, inputs = self._unsplit(threads, clock_ns)
        ops = self._ops(threads, clock_ns, inputs)
        single = self._ops(1, clock_ns, inputs) if thread_ms and threads > 1 else ()
        # Both by one scale, so that they stay comparable.
        total_ms = sum(timing.ms for timing in ops)
        scale = unsplit.ms / total_ms if total_ms > 0 else 0.0
        return MeasuredProfile(
            op_ms=tuple(timing.ms * scale for timing in ops),
            op_ms_std=tuple(timing.ms_std * scale for timing in ops),
            unsplit_ms=unsplit.ms,
            unsplit_ms_std=unsplit.ms_std,
            memory_mb=self._memory_mb,
            runtime=runtime_words(),
            threads=threads,
            thread_ms=thread_ms,
            single_op_ms=tuple(timing.ms * scale for timing in single),
            at=MACHINE_CLOCK.now(),
        )

    def _thread_times(self) -> tuple[ThreadTime, ...]:
        times: list[ThreadTime] = []
        for threads in counts_to_try(usable_cores()):
            timing, _ = self._unsplit(threads, time.perf_counter_ns)
            times.append(ThreadTime(threads=threads, unsplit_ms=timing.ms))
            if is_hopeless(times):
                break
        return tuple(times)

    def _unsplit(self, threads: int, clock_ns: Callable[[], int]) -> tuple[_Timing, Arrays]:
        """The whole model's time, and the inputs that were made up for it."""
        before_mb = self._process.memory_info().rss / 1e6
        whole = Segment(self._path, threads, self._packed)
        generator = np.random.default_rng(0)
        inputs = [plausible_input(spec, generator, self._path) for spec in whole.inputs]
        timing = _time_runs(whole, inputs, clock_ns, BUDGET_UNSPLIT_S, partial(self._tell, 0))
        # What an earlier load gave back to the allocator alone, a later one takes without the process growing.
        self._memory_mb = max(self._memory_mb, self._process.memory_info().rss / 1e6 - before_mb)
        whole.close()
        return timing, inputs

    def _ops(self, threads: int, clock_ns: Callable[[], int], activations: Arrays) -> tuple[_Timing, ...]:
        """The time of each op, unscaled."""
        timings: list[_Timing] = []
        with tempfile.TemporaryDirectory(prefix="splitrail-profile-", dir=self._scratch) as directory:
            piece = Path(directory) / "segment.tflite"
            for start, stop in _smallest_segments(self._graph):
                slice_model(self._path, start, stop, piece)
                segment = Segment(piece, threads, self._packed)
                timing = _time_runs(segment, activations, clock_ns, BUDGET_PER_OP_S, partial(self._tell, start))
                activations = segment.run(activations)
                segment.close()
                timings += [_Timing(timing.ms / (stop - start), timing.ms_std / (stop - start))] * (stop - start)
                self._tell(stop)
        return tuple(timings)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, len(self._graph.ops))


class ProfileStore:
    """Profiles kept in a directory of the node's cache, found again by model, runtime, threads and machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, sha256: str, threads: ThreadSetting, by_cpu_time: bool) -> MeasuredProfile | None:
        """The profile measured under the same conditions, if there is one that can be read."""
        try:
            content = self._path(sha256, threads, by_cpu_time).read_bytes()
            return msgspec.json.decode(content, type=MeasuredProfile)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def save(self, sha256: str, threads: ThreadSetting, by_cpu_time: bool, profile: MeasuredProfile) -> None:
        """Keep a profile; a crash leaves the old one or the new one, never half of it."""
        path = self._path(sha256, threads, by_cpu_time)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{secrets.token_hex(4)}.unfinished")  # several agents may share the directory
        unfinished.write_bytes(msgspec.json.encode(profile))
        unfinished.replace(path)

    def _path(self, sha256: str, threads: ThreadSetting, by_cpu_time: bool) -> Path:
        clock = "cpu" if by_cpu_time else "wall"
        conditions = f"{runtime_words()}-{threads}-{clock}-{machine_identity()}"
        readable = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in conditions)
        return self._directory / f"{sha256}-{readable}.json"


def runtime_words() -> str:
    """The runtime's name and version. Raises RuntimeMissingError as `runtime_identity`."""
    runtime = runtime_identity()
    return f"{runtime.name} {runtime.version}"


def _smallest_segments(graph: Graph) -> list[tuple[int, int]]:
    allowed = [cut.k for cut in graph.cuts if cut.allowed]
    return list(itertools.pairwise(allowed))


def plausible_input(spec: TensorSpec, generator: "np.random.Generator", path: Path) -> np.ndarray[Any, Any]:
    """An input in the range of normalised images: zeros would let some kernels skip work."""
    if spec.dtype not in SENDABLE_TYPES:
        raise ProfileError(
            f"{path}: cannot be profiled, for its input {spec.name!r} is of type {spec.dtype}; "
            "give the model an input of numbers"
        )
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return generator.uniform(-1.0, 1.0, spec.shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, spec.shape, dtype=dtype, endpoint=True)
    return np.ones(spec.shape, dtype)


def _time_runs(
    segment: Segment,
    inputs: Arrays,
    clock_ns: Callable[[], int],
    budget_s: float,
    ran: Callable[[], None],
) -> _Timing:
    for _ in range(WARM_UP_RUNS):
        segment.run(inputs)
        ran()
    times_ms: list[float] = []
    deadline_ns = time.monotonic_ns() + round(budget_s * 1e9)
    while len(times_ms) < LEAST_RUNS or (len(times_ms) < MOST_RUNS and time.monotonic_ns() < deadline_ns):
        before_ns = clock_ns()
        segment.run(inputs)
        times_ms.append((clock_ns() - before_ns) / 1e6)
        ran()
    return _Timing(statistics.median(times_ms), statistics.pstdev(times_ms))
