"""A real continuum under a steady load for long, and under too much for a minute: does anything grow?

    python benchmarks/soak.py [--minutes 30]        writes benchmarks/results/soak.txt

Broker, coordinator and three agents run as separate processes on this machine, each node slowed (emulated) so that its
compute, not this machine's two cores, bounds what the site can do. That capacity is measured first, with as many
requests at a time as fill every stage; then requests come at 80 % of it, and for a minute in the middle at 200 %.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from zoo_models import zoo_model

from broker.errors import BrokerError
from broker.messages import InferRequest
from broker.session import Session
from broker.topics import INFER
from models.images import sample_photographs
from splitrail.percentile import percentile
from testbed.chaos.census import Holdings, census
from testbed.chaos.checks import nothing_held
from testbed.chaos.client import Exchange, SteadyClient
from testbed.chaos.scene import DEPLOYMENT, NODES, ORIGIN, SHAPES, deployment
from testbed.continuum import Continuum
from testbed.workload import photograph_crops

SLOWER = 12.0
STEADY_SHARE, OVERLOAD_SHARE = 0.8, 2.0
OVERLOAD_S = 60.0
SAMPLE_S = 10.0
CAPACITY_S = 30.0
AT_A_TIME = 12
TIMEOUT_S = 30.0
MOST_WAITING = 768
FLAT_SHARE = 0.01
"""Growth of less than 1 % of a process's memory over the second half, or none within its spread, counts as flat."""
Z_95 = 1.96
RESULTS = Path(__file__).parent / "results" / "soak.txt"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """What everything held `at_s` seconds after the load began; sizes in MB of 10^6 bytes."""

    at_s: float
    phase: str
    processes: Mapping[str, Holdings]
    files_mb: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Trend:
    """The slope of a least-squares line in MB per hour, half the width of its 95 % interval, and the mean in MB."""

    slope: float
    half_width: float
    mean_mb: float
    hours: float

    @property
    def is_flat(self) -> bool:
        """Whether it does not grow, or by less than counts."""
        return self.slope - self.half_width <= 0 or self.slope * self.hours < FLAT_SHARE * self.mean_mb


def main() -> None:
    """Run it, print the figures and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the load lasts, overload included (30)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go (benchmarks/results/soak.txt)")
    arguments = parser.parse_args()
    model = zoo_model("mobilenetv2")
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    with tempfile.TemporaryDirectory(prefix="splitrail-soak-") as name:
        flat = soak(model, Path(name), arguments.minutes * 60.0, say)
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.exit(0 if flat else 1)


def soak(model: Path, directory: Path, seconds: float, say: Say) -> bool:
    """The whole run; whether nothing grew."""
    nodes = tuple(replace(node, compute_factor=SLOWER, words=f"emulated: {SLOWER:g} times slower") for node in NODES)
    images = photograph_crops(sample_photographs())
    with Continuum(nodes, SHAPES, (deployment(model),), directory) as continuum, continuum.session("soak") as asking:
        wait_for_plan(continuum)
        capacity = measured_capacity(asking, images)
        say(f"three nodes, each {SLOWER:g} times slower than this machine (emulated); {model.stem}; default settings")
        say(f"capacity, {AT_A_TIME} requests at a time for {CAPACITY_S:g} s: {capacity:.1f} requests/s")
        watch = Watch(continuum)
        overload_s = min(OVERLOAD_S, seconds / 4)
        for phase, share, duration_s in (
            ("first half", STEADY_SHARE, seconds / 2 - overload_s),
            ("overload", OVERLOAD_SHARE, overload_s),
            ("second half", STEADY_SHARE, seconds / 2),
        ):
            client = SteadyClient(
                asking,
                DEPLOYMENT,
                images,
                origin=ORIGIN,
                rate_per_s=share * capacity,
                timeout_s=TIMEOUT_S,
                most_waiting=MOST_WAITING,
            )
            client.begin()
            watch.sample_for(duration_s, phase, min(SAMPLE_S, seconds / 24))
            for line in load_lines(f"{phase}, {duration_s:.0f} s at {share:.0%}", client.finish()):
                say(line)
        continuum.check()
        return tell_growth(watch.samples, say)


def wait_for_plan(continuum: Continuum) -> None:
    """Return once a plan over all nodes is ready."""
    deadline_s = time.monotonic() + 120.0
    while time.monotonic() < deadline_s:
        [report] = continuum.status().deployments
        if report.plan is not None and {stage.node for stage in report.plan.stages} == set(report.plan.ready):
            return
        time.sleep(0.5)
    raise SystemExit("no plan is ready after 120 s")


def measured_capacity(session: Session, images: Sequence[bytes]) -> float:
    """Answered requests a second when each answer is followed by the next request."""
    answered = Counter[bool]()
    until_s = time.monotonic() + CAPACITY_S

    def ask_on(number: int) -> None:
        while time.monotonic() < until_s:
            request = InferRequest(request_id=uuid.uuid4().hex, image=images[number % len(images)])
            try:
                answered[session.request(INFER, request, DEPLOYMENT, timeout_s=TIMEOUT_S).error is None] += 1
            except BrokerError:
                answered[False] += 1

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(ask_on, range(AT_A_TIME)))
    return answered[True] / CAPACITY_S


class Watch:
    """Looks at the processes and files of a continuum at fixed intervals."""

    def __init__(self, continuum: Continuum) -> None:
        self._continuum = continuum
        self._start_s = time.monotonic()
        self.samples: list[Sample] = []

    def sample_for(self, duration_s: float, phase: str, interval_s: float) -> None:
        """Sample until `duration_s` seconds are over."""
        until_s = time.monotonic() + duration_s
        while (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(interval_s, left_s))
            self.samples.append(
                Sample(time.monotonic() - self._start_s, phase, census(self._continuum.pids()), self._files_mb())
            )

    def _files_mb(self) -> dict[str, float]:
        directory = self._continuum.directory
        kinds = {
            "files of the spools": "*-spool.sqlite*",
            "files of the store": "telemetry.sqlite*",
            "file of the broker": "mosquitto/*.db",
        }
        return {kind: sum(path.stat().st_size for path in directory.glob(like)) / 1e6 for kind, like in kinds.items()}


def load_lines(title: str, exchanges: Sequence[Exchange]) -> Iterable[str]:
    """What became of the requests of one phase."""
    busy = [each for each in exchanges if each.reply is not None and each.reply.busy_ms is not None]
    answered = [each for each in exchanges if each.failure is None]
    others = Counter(each.failure for each in exchanges if each.failure is not None and each not in busy)
    yield (
        f"{title}: {len(exchanges)} requests, {len(answered)} answered in {quantiles(answered)}, "
        f"{sum(each.fallback is not None for each in answered)} of them by the origin's fallback"
    )
    if busy:
        waits_s = [(each.reply.busy_ms or 0.0) / 1e3 for each in busy if each.reply is not None]
        yield (
            f"  {len(busy)} told that it is busy, after {quantiles(busy)}; the wait that they were told of: "
            f"{percentile(waits_s, 50):.1f} s (p50), {max(waits_s):.1f} s (most)"
        )
    for reason, count in others.most_common(5):
        yield f"  {count} failed: {reason}"


def quantiles(exchanges: Sequence[Exchange]) -> str:
    """How long they took, in words."""
    times_s = [each.ended_s - each.sent_s for each in exchanges]
    if not times_s:
        return "no time"
    return f"{percentile(times_s, 50):.3f} s (p50), {percentile(times_s, 99):.3f} s (p99)"


def tell_growth(samples: Sequence[Sample], say: Say) -> bool:
    """The table of all processes; whether none of them grew."""
    first, last = samples[0], samples[-1]
    half = [sample for sample in samples if sample.phase == "second half"]
    held_too_much = nothing_held(half[0].processes, last.processes, [node.name for node in NODES])
    say(
        f"{'process':12} {'MB':>7} {'before':>7} {'after':>7} {'MB at':>7} {'MB/h over the':>20} "
        f"{'threads':>9} {'files':>9}"
    )
    say(f"{'':12} {'first':>7} {'200 %':>7} {'200 %':>7} {'the end':>7} {'second half':>20} {'':>9} {'':>9}")
    grown = []
    for name in last.processes:
        trend = trend_of([(sample.at_s, sample.processes[name].memory_mb) for sample in half])
        was, held = first.processes[name], last.processes[name]
        before = [sample for sample in samples if sample.phase == "first half"][-1].processes[name]
        say(
            f"{name:12} {was.memory_mb:7.1f} {before.memory_mb:7.1f} {half[0].processes[name].memory_mb:7.1f} "
            f"{held.memory_mb:7.1f} {trend.slope:+9.1f} +- {trend.half_width:7.1f} "
            f"{was.threads:3d} -> {held.threads:2d} {was.descriptors:3d} -> {held.descriptors:2d}"
            f"{'' if trend.is_flat else '  grows'}"
        )
        if not trend.is_flat:
            grown.append(f"memory of {name}")
    for kind in last.files_mb:
        sizes_mb = [sample.files_mb[kind] for sample in samples]
        say(f"{kind}: {sizes_mb[0]:.2f} MB at first, {max(sizes_mb):.2f} at most, {sizes_mb[-1]:.2f} at the end")
    say("threads and files: at first -> at the end")
    say(
        f"+- is half a 95 % interval of the slope, from {len(half)} samples; flat: no growth within it, or less than "
        f"{FLAT_SHARE:.0%} of the memory over the second half"
    )
    grown += filter(None, [held_too_much])
    say("flat" if not grown else f"not flat: {'; '.join(grown)}")
    return not grown


def trend_of(points: Sequence[tuple[float, float]]) -> Trend:
    """The least-squares line through (seconds, MB)."""
    hours = [at_s / 3600.0 for at_s, _ in points]
    sizes_mb = [size_mb for _, size_mb in points]
    line = statistics.linear_regression(hours, sizes_mb)
    rest = sum((size - line.intercept - line.slope * hour) ** 2 for hour, size in zip(hours, sizes_mb, strict=True))
    spread = sum((hour - statistics.fmean(hours)) ** 2 for hour in hours)
    half_width = Z_95 * math.sqrt(rest / max(1, len(points) - 2) / spread)
    return Trend(line.slope, half_width, statistics.fmean(sizes_mb), hours[-1] - hours[0])


if __name__ == "__main__":
    main()
