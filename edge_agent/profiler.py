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
from edge_agent.hardware import machine_identity
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


class MeasuredProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a model on this machine before any emulation; times in milliseconds."""

    op_ms: tuple[float, ...]
    op_ms_std: tuple[float, ...]
    unsplit_ms: float
    unsplit_ms_std: float
    memory_mb: float
    runtime: str
    threads: int
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
        )


@dataclass(frozen=True, slots=True)
class _Timing:
    ms: float
    ms_std: float


def profile_model(
    path: Path,
    *,
    threads: int = 1,
    by_cpu_time: bool = False,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> MeasuredProfile:
    """Measure the model at `path`; `scratch` is a directory with room for its largest op's weights.

    `by_cpu_time` counts this thread's CPU time instead of the wall's, which is right only for one thread:
    a testbed's agents share their cores. Ops between which no cut is allowed share their segment's time
    equally; ops that a segment folds away cost nothing. ModelError says why a model cannot be read, cut or run,
    ProfileError why no inputs can be made up for it. `progress(ops done, ops in all)` is called after every run,
    so that what it raises ends the work soon.
    """
    graph = read_graph(path)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(graph.ops))

    clock_ns = time.thread_time_ns if by_cpu_time else time.perf_counter_ns
    process = psutil.Process()
    before_mb = process.memory_info().rss / 1e6
    whole = Segment(path, threads)
    generator = np.random.default_rng(0)
    activations = [plausible_input(spec, generator, path) for spec in whole.inputs]
    unsplit = _time_runs(whole, activations, clock_ns, BUDGET_UNSPLIT_S, partial(tell, 0))
    memory_mb = max(0.0, process.memory_info().rss / 1e6 - before_mb)
    whole.close()

    op_ms = [0.0] * len(graph.ops)
    op_ms_std = [0.0] * len(graph.ops)
    with tempfile.TemporaryDirectory(prefix="splitrail-profile-", dir=scratch) as directory:
        piece = Path(directory) / "segment.tflite"
        for start, stop in _smallest_segments(graph):
            slice_model(path, start, stop, piece)
            segment = Segment(piece, threads)
            timing = _time_runs(segment, activations, clock_ns, BUDGET_PER_OP_S, partial(tell, start))
            activations = segment.run(activations)
            segment.close()
            for op in range(start, stop):
                op_ms[op] = timing.ms / (stop - start)
                op_ms_std[op] = timing.ms_std / (stop - start)
            tell(stop)

    scale = unsplit.ms / sum(op_ms) if sum(op_ms) > 0 else 0.0
    return MeasuredProfile(
        op_ms=tuple(ms * scale for ms in op_ms),
        op_ms_std=tuple(ms * scale for ms in op_ms_std),
        unsplit_ms=unsplit.ms,
        unsplit_ms_std=unsplit.ms_std,
        memory_mb=memory_mb,
        runtime=runtime_words(),
        threads=threads,
        at=MACHINE_CLOCK.now(),
    )


class ProfileStore:
    """Profiles kept in a directory of the node's cache, found again by model, runtime, threads and machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, sha256: str, threads: int, by_cpu_time: bool) -> MeasuredProfile | None:
        """The profile measured under the same conditions, if there is one that can be read."""
        try:
            content = self._path(sha256, threads, by_cpu_time).read_bytes()
            return msgspec.json.decode(content, type=MeasuredProfile)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def save(self, sha256: str, by_cpu_time: bool, profile: MeasuredProfile) -> None:
        """Keep a profile; a crash leaves the old one or the new one, never half of it."""
        path = self._path(sha256, profile.threads, by_cpu_time)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{secrets.token_hex(4)}.unfinished")  # several agents may share the directory
        unfinished.write_bytes(msgspec.json.encode(profile))
        unfinished.replace(path)

    def _path(self, sha256: str, threads: int, by_cpu_time: bool) -> Path:
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


def plausible_input(spec: TensorSpec, generator: np.random.Generator, path: Path) -> np.ndarray[Any, Any]:
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
    inputs: list[np.ndarray[Any, Any]],
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
