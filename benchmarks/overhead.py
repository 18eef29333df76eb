"""What three agents on loopback add to the computes that their stages report, against a ring of three bare sockets.

    python benchmarks/overhead.py [--quick] [--json FILE]

Each request crosses three links, with as many bytes on each; a round of the ring, three processes that do nothing but
`recv_into` and `sendall`, carries the same bytes over the same hops. The figures are of the origin's report, from its
start to the result, less the computes; the floor is from the first process's `sendall` to the last byte back at it.

Requests follow each other `back to back`, ten of them and then ten rounds of the ring at the same pace, so that all
code and memory is warm, as in a stream of frames. Or they come `one by one` over MQTT, as `splitrail infer` sends them,
each followed by one round, with pauses in which the books of the one before are done: then every process has slept for
milliseconds, and what it runs has to come back into its core's caches.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from figures import Figure, spread, write
from PIL import Image
from ring import Ring, ring
from three_agents import ThreeAgents

from broker.messages import InferenceReport
from testbed.carrier_models import write_carrier_model

WARM_UP = 10
IN_A_ROW = 10
PAUSE_S = 0.01
"""Behind each request that comes alone, and each round beside it."""


@dataclass(frozen=True, slots=True)
class Size:
    """What each link carries: a float32 tensor of this shape. `goal` is the overhead allowed, in floors."""

    name: str
    shape: tuple[int, int, int, int]
    goal: float
    requests: int

    @property
    def size_bytes(self) -> int:
        """The tensor's bytes."""
        return 4 * int(np.prod(self.shape))


SIZES = (
    Size("4KB", (1, 11, 31, 3), 2.0, 400),
    Size("600KB", (1, 224, 224, 3), 1.3, 300),
    Size("3MB", (1, 500, 500, 3), 1.3, 150),
)
MOST_BYTES = max(size.size_bytes for size in SIZES)


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds; `ratio` is that of the medians."""

    manner: str
    size: str
    size_bytes: int
    requests: int
    overhead_p50_ms: float
    overhead_p99_ms: float
    floor_p50_ms: float
    floor_p99_ms: float
    ratio: float
    goal: float
    compute_p50_ms: float
    noise_ms: float | None
    """How far apart the medians of fifths of the requests are."""


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    print(
        f"{'manner':13} {'bytes':>8} {'overhead ms p50':>15} {'p99':>7} {'floor ms p50':>12} {'p99':>7} {'ratio':>6} "
        f"{'goal':>5}"
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="splitrail-overhead-") as directory:
        models = {size.name: Path(directory) / f"{size.name}.tflite" for size in SIZES}
        for size in SIZES:
            write_carrier_model(models[size.name], size.shape, ops=3)
        for manner, measured in (("back to back", back_to_back), ("one by one", one_by_one)):
            with (
                ThreeAgents(models, origin_here=measured is back_to_back) as agents,
                ring(max(size.size_bytes for size in SIZES)) as floor,
            ):
                for size in SIZES:
                    agents.chain(size.name, 1, 2)
                for size in SIZES:
                    requests = size.requests // 5 if arguments.quick else size.requests
                    figures = figures_of(manner, size, *measured(agents, floor, size, requests))
                    rows.append(figures)
                    show(figures)
    if arguments.json:
        write(arguments.json, (figure(row) for row in rows))


def figure(row: Figures) -> Figure:
    """What is compared with other runs."""
    return Figure(
        f"{row.manner}, {row.size}",
        row.overhead_p50_ms,
        "ms",
        "lower",
        noise=row.noise_ms,
        reference=row.floor_p50_ms,
        ratio=row.ratio,
        goal=row.goal,
    )


def show(figures: Figures) -> None:
    """Print them as a row."""
    overhead = f"{figures.overhead_p50_ms:15.3f} {figures.overhead_p99_ms:7.3f}"
    bare = f"{figures.floor_p50_ms:12.3f} {figures.floor_p99_ms:7.3f}"
    ratio = f"{figures.ratio:6.2f} {figures.goal:5.1f}"
    print(f"{figures.manner:13} {figures.size_bytes:8} {overhead} {bare} {ratio}", flush=True)


def back_to_back(
    agents: ThreeAgents, floor: Ring, size: Size, requests: int
) -> tuple[list[InferenceReport], list[float]]:
    """Requests of this process' origin and rounds of the ring, some of each in turns."""
    tensor = np.random.default_rng(1).standard_normal(size.shape, np.float32)
    reports: list[InferenceReport] = []
    floor_ms: list[float] = []
    for turn in range(1 + requests // IN_A_ROW):
        started_s = time.monotonic()
        some = [agents.infer_here(size.name, tensor) for _ in range(IN_A_ROW)]
        each_s = (time.monotonic() - started_s) / IN_A_ROW
        rounds_ms = list(rounds_at_pace(floor, size.size_bytes, each_s))
        if turn > 0:  # the first warms up
            reports += some
            floor_ms += rounds_ms
    return reports, floor_ms


def rounds_at_pace(floor: Ring, size_bytes: int, each_s: float) -> Iterator[float]:
    """Rounds of the ring that begin so far apart, as requests did: what it runs is as warm as theirs."""
    due_s = time.monotonic()
    for _ in range(IN_A_ROW):
        time.sleep(max(0.0, due_s - time.monotonic()))
        due_s += each_s
        yield floor.round_ms(size_bytes)


def one_by_one(
    agents: ThreeAgents, floor: Ring, size: Size, requests: int
) -> tuple[list[InferenceReport], list[float]]:
    """Requests over MQTT, each followed by one round of the ring."""
    image = small_image()
    reports: list[InferenceReport] = []
    floor_ms: list[float] = []
    for number in range(WARM_UP + requests):
        report = agents.infer(size.name, image)
        time.sleep(PAUSE_S)
        round_ms = floor.round_ms(size.size_bytes)
        time.sleep(PAUSE_S)
        if number >= WARM_UP:
            reports.append(report)
            floor_ms.append(round_ms)
    return reports, floor_ms


def figures_of(manner: str, size: Size, reports: list[InferenceReport], floor_ms: list[float]) -> Figures:
    """What the reports say beside the rounds."""
    for report in reports:
        check(report, size)
    compute_ms = [sum(stage.compute_ms for stage in report.stages) for report in reports]
    overhead_ms = [report.latency_ms - computes for report, computes in zip(reports, compute_ms, strict=True)]
    p50_ms, floor_p50_ms = statistics.median(overhead_ms), statistics.median(floor_ms)
    return Figures(
        manner,
        size.name,
        size.size_bytes,
        len(reports),
        p50_ms,
        percentile_99(overhead_ms),
        floor_p50_ms,
        percentile_99(floor_ms),
        p50_ms / floor_p50_ms,
        size.goal,
        statistics.median(compute_ms),
        spread([statistics.median(overhead_ms[part::5]) for part in range(5)]),
    )


def check(report: InferenceReport, size: Size) -> None:
    """A figure of another way, or of other bytes, is none."""
    if len(report.stages) != 3 or report.fallback is not None:
        raise SystemExit(f"a request took another way: {report.fallback}")
    small = [hop.size_bytes for hop in report.transfers if hop.size_bytes < size.size_bytes]
    if small:
        raise SystemExit(f"a hop carried {small[0]} bytes, not the tensor's {size.size_bytes}")


def percentile_99(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[98]


def small_image() -> bytes:
    """An image that takes no time to decode; it is scaled to what the model takes."""
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
