"""A stream of frames through three agents on this machine, against what its slowest stage allows.

    python benchmarks/throughput.py [--quick] [--json FILE] [MODEL ...]    models of the zoo, random weights

Overlap: each agent emulates a machine that is several times slower, so that it sleeps most of a stage's compute and
the cores of this machine are free; the bound is one frame in each compute of the slowest stage, as the same frames'
reports tell it. Real: the stages share the cores of this machine; the bound is what these can do, by the computes of
the same chain when one frame at a time is under way, or the slowest stage of them if that is less. Batches: requests
that all wait for one segment, computed together where that pays, beside the same computed one by one.
"""

import argparse
import itertools
import os
import queue
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figure, write
from three_agents import ThreeAgents
from zoo_models import zoo_model

from broker.messages import InferenceReport, NodeProfile
from edge_agent.batching import MOST
from edge_agent.executor import Batching, Executor
from models.compiled import pack_weights
from models.graph import read_graph
from models.images import sample_photographs
from models.runtime import Segment
from models.slicer import slice_model

MODELS = ("mobilenetv2", "resnet50", "vgg16")
QUICK = {"overlap": (("vgg16",), 30), "real": (("mobilenetv2",), 60)}
"""Models and frames, each way: what takes longest is to profile a large model, so that it is done once."""
GOALS = {"vgg16": 0.90}
"""Of the overlap's bound."""
FRAMES = 60
ALONE, QUICK_ALONE = 4, 2
"""Frames that are sent one at a time before the stream, and as many after it: others may use this machine too."""
IN_FLIGHT = 8
TAILS = (("vgg16", 18), ("alexnet", 8), ("mobilenetv2", 33))
"""Models, and the op from which on a node holds them: dense layers alone, twice, and a tail of convolutions."""
QUICK_TAILS = ("alexnet", "mobilenetv2")
WAITING = 32
ROUNDS, QUICK_ROUNDS = 5, 2
COMPUTE_FACTOR = 5.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What a stream came to; the computes, in ms, are means of each stage, and medians where it was alone."""

    frames_per_s: float
    latency_ms: float
    stage_ms: tuple[float, ...]
    alone_frames_per_s: float
    alone_stage_ms: tuple[float, ...]
    threads: int

    @property
    def overlap_bound_per_s(self) -> float:
        """One frame in each compute of the slowest stage."""
        return 1e3 / max(self.stage_ms)

    @property
    def cores_bound_per_s(self) -> float:
        """What the cores of this machine can do, or the slowest stage if that is less."""
        at_once = max(1, (os.cpu_count() or 1) // self.threads)
        return min(at_once * 1e3 / sum(self.alone_stage_ms), 1e3 / max(self.alone_stage_ms))


def main() -> None:
    """Measure each model both ways and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"default: {', '.join(MODELS)}; with --quick: one for each way")
    parser.add_argument("--quick", action="store_true", help="fewer frames, segments and rounds")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    alone = QUICK_ALONE if arguments.quick else ALONE
    found: list[Figure] = []
    print(
        f"{'model':14} {'':9} {'frames/s':>8} {'bound':>7} {'share':>6} {'one at a time':>13} {'p50 ms':>8}  stages ms"
    )
    for way, compute_factor in (("overlap", COMPUTE_FACTOR), ("real", 1.0)):
        models, frames = QUICK[way] if arguments.quick else (MODELS, FRAMES)
        paths = {name: zoo_model(name) for name in arguments.models or models}
        with ThreeAgents(paths, compute_factor) as agents:
            for name, path in paths.items():
                agents.chain(name, *_cuts(path, agents.profile(name)))
                stream = measure(agents, name, frames, alone)
                figure = _figure(name, way, stream)
                found.append(figure)
                print(
                    f"{name:14} {way:9} {stream.frames_per_s:8.2f} {figure.reference:7.2f} {figure.ratio:6.1%} "
                    f"{stream.alone_frames_per_s:13.2f} {stream.latency_ms:8.1f}  "
                    f"{' '.join(f'{ms:.1f}' for ms in stream.stage_ms)}",
                    flush=True,
                )
    print(f"\n{'segment':20} {'requests/s':>10} {'one by one':>10} {'gain':>6}  in one run")
    for name, start in TAILS:
        if arguments.quick and name not in QUICK_TAILS:
            continue
        figure, sizes = batches(name, start, QUICK_ROUNDS if arguments.quick else ROUNDS)
        found.append(figure)
        print(
            f"{figure.name:20} {figure.value:10.1f} {figure.reference:10.1f} {figure.ratio:6.2f}  {sizes}", flush=True
        )
    if arguments.json:
        write(arguments.json, found)


def measure(agents: ThreeAgents, model: str, frames: int, one_by_one: int) -> Stream:
    """Send some frames one by one, then a stream that keeps the pipeline full, then as many one by one."""
    photograph = sample_photographs()[0].read_bytes()
    agents.infer(model, photograph)
    alone = [agents.infer(model, photograph) for _ in range(one_by_one)]
    reports: list[InferenceReport] = []
    ended_s: list[float] = []
    for answer in agents.stream(model, itertools.repeat(photograph, frames), in_flight=IN_FLIGHT):
        if answer.reply.report is None or answer.reply.report.error is not None:
            raise SystemExit(f"a frame failed: {answer.reply.error}")
        reports.append(answer.reply.report)
        ended_s.append(time.perf_counter())
    alone += [agents.infer(model, photograph) for _ in range(one_by_one)]
    filled = len(alone[0].stages)  # the first frames find an empty pipeline
    full = reports[filled:]
    return Stream(
        frames_per_s=(len(ended_s) - 1 - filled) / (ended_s[-1] - ended_s[filled]),
        latency_ms=statistics.median(report.latency_ms for report in full),
        stage_ms=_stages_ms(full, statistics.mean),
        alone_frames_per_s=1e3 / statistics.median(report.latency_ms for report in alone),
        alone_stage_ms=_stages_ms(alone, statistics.median),
        threads=agents.profile(model).threads,
    )


def batches(name: str, start: int, rounds: int) -> tuple[Figure, str]:
    """How many requests a second a node computes of those that wait for the ops from `start` on, and in which runs."""
    path = zoo_model(name)
    stop = len(read_graph(path).ops)
    with tempfile.TemporaryDirectory(prefix="splitrail-batches-") as scratch:
        whole, piece, packed = (Path(scratch) / part for part in ("whole.tflite", "piece.tflite", "packed"))
        slice_model(path, 0, stop, whole)
        slice_model(path, start, stop, piece)
        pack_weights(whole, packed)
        segment = Segment(piece, packed=packed)
        inputs = [np.random.default_rng(1).random(spec.shape, np.float32) for spec in segment.inputs]
        together, alone = Executor(batching=Batching(MOST, 0.0)), Executor()
        runs: list[tuple[float, float]] = []
        sizes: Counter[int] = Counter()
        for number in range(1 + rounds):
            one_by_one_s, _ = _emptied_s(alone, segment, inputs)
            batched_s, sizes = _emptied_s(together, segment, inputs)
            if number:  # in the first it finds out what pays
                runs.append((WAITING / batched_s, WAITING / one_by_one_s))
        together.close()
        alone.close()
    value, reference = (statistics.median(column) for column in zip(*runs, strict=True))
    figure = Figure(
        f"{name} from op {start}",
        value,
        "requests/s",
        "higher",
        reference=reference,
        ratio=statistics.median(here / there for here, there in runs),
    )
    return figure, ", ".join(f"{size}: {count} requests" for size, count in sorted(sizes.items()))


def _emptied_s(executor: Executor, segment: Segment, inputs: Sequence[np.ndarray]) -> tuple[float, Counter[int]]:
    """The seconds in which requests that wait are answered, and how many were computed in runs of which size."""
    outcomes: queue.SimpleQueue[int] = queue.SimpleQueue()
    started_s = time.perf_counter()
    for _ in range(WAITING):
        executor.submit(segment, inputs, time.monotonic_ns(), lambda outcome: outcomes.put(outcome.batch))
    sizes = Counter(outcomes.get() for _ in range(WAITING))
    return time.perf_counter() - started_s, sizes


def _stages_ms(reports: Sequence[InferenceReport], typical: Callable[[Iterable[float]], float]) -> tuple[float, ...]:
    columns = zip(*([stage.compute_ms for stage in report.stages] for report in reports), strict=True)
    return tuple(typical(column) for column in columns)


def _figure(name: str, way: str, stream: Stream) -> Figure:
    bound_per_s = stream.overlap_bound_per_s if way == "overlap" else stream.cores_bound_per_s
    return Figure(
        f"{name} {way}",
        stream.frames_per_s,
        "frames/s",
        "higher",
        reference=bound_per_s,
        ratio=stream.frames_per_s / bound_per_s,
        goal=GOALS.get(name) if way == "overlap" else None,
    )


def _cuts(path: Path, profile: NodeProfile) -> tuple[int, int]:
    """The cuts by which the slowest of three stages is quickest."""
    done = tuple(itertools.accumulate(profile.op_ms, initial=0.0))
    allowed = [cut.k for cut in read_graph(path).cuts[1:-1] if cut.allowed]
    return min(
        itertools.combinations(allowed, 2),
        key=lambda cuts: max(done[cuts[0]], done[cuts[1]] - done[cuts[0]], done[-1] - done[cuts[1]]),
    )


if __name__ == "__main__":
    main()
