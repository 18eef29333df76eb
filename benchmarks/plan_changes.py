"""What a change of plan costs requests that are under way, through three agents on loopback, without emulation.

    python benchmarks/plan_changes.py [--model mobilenetv2] [--changes 100]

One client asks one request after the other while plans change: back and forth between two splits, whose segments stay
resident; and to a new split each time, whose segments are cut and loaded beside those that run. Beside them, in the
same run, the reference: pause-resume, emulated by unloading every segment and then cutting, loading and running the
new ones, each in turn on this machine; the slowest node's time counts, as if all nodes did it at once.
"""

import argparse
import dataclasses
import itertools
import os
import random
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from three_agents import FIXED_EPOCH, ThreeAgents
from zoo_models import zoo_model

from models.graph import read_graph
from models.images import sample_photographs
from models.runtime import Segment, runtime_identity
from models.slicer import slice_model
from splitrail.percentile import percentile

WARM_UP = 20
BETWEEN_S = 0.4
PUBLISHED = "published: 6 s for pause and resume, 0.6 s for dynamic switching, < 1 ms with both models resident"

Cuts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: the epoch that it ran under, its latency at the origin, and when the client had it."""

    epoch: int
    latency_ms: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What changes of one kind cost; times in ms."""

    changes: str
    steady_p50_ms: float
    steady_p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    added_p50_ms: float
    added_p99_ms: float
    preparing_worst_ms: float
    steady_worst_gap_ms: float
    worst_gap_ms: float


class Client:
    """Asks one request after the other, from `with` to its end."""

    def __init__(self, agents: ThreeAgents, model: str) -> None:
        self._agents = agents
        self._model = model
        self._image = sample_photographs()[0].read_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.answers: list[Answer] = []
        self.errors: list[str] = []

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            reply = self._agents.ask(self._model, self._image)
            if reply.error is not None or reply.report is None:
                self.errors.append(reply.error or "no report")
            else:
                self.answers.append(Answer(reply.report.epoch, reply.report.latency_ms, time.monotonic()))


def main() -> None:
    """Measure the changes and the reference, and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--changes", type=int, default=100, help="of each kind")
    arguments = parser.parse_args()
    path = zoo_model(arguments.model)
    runtime = runtime_identity()
    print(f"{arguments.model}, three agents on loopback, no emulation, 1 thread each; {runtime.name} {runtime.version}")
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    allowed = [cut.k for cut in read_graph(path).cuts[1:-1] if cut.allowed]
    chosen = random.Random(1)
    two = (_cuts(allowed, 0.3, 0.6), _cuts(allowed, 0.45, 0.75))
    many = [_cuts(allowed, chosen.uniform(0.1, 0.5), chosen.uniform(0.55, 0.9)) for _ in range(arguments.changes)]
    epochs = itertools.count(FIXED_EPOCH)
    back_and_forth = list(itertools.islice(itertools.cycle(two), arguments.changes))
    with ThreeAgents({arguments.model: path}) as agents:
        rows = [
            _measure(kind, splits, agents, arguments.model, epochs)
            for kind, splits in (("both resident", back_and_forth), ("a new split each", many))
        ]
    _print(rows, arguments.changes)
    pauses_ms = _pause_resume(path, many[: min(20, len(many))])
    print(
        f"\nreference, emulated: pause, unload, cut, load, run once: {statistics.median(pauses_ms):.1f} ms at the "
        f"median, {max(pauses_ms):.1f} ms at worst, of {len(pauses_ms)}"
    )
    print(PUBLISHED)


def _measure(kind: str, splits: list[Cuts], agents: ThreeAgents, model: str, epochs: "itertools.count[int]") -> Figures:
    changes: list[tuple[int, float, float]] = []
    agents.chain(model, *splits[-1], epoch=next(epochs))
    with Client(agents, model) as client:
        while len(client.answers) < WARM_UP and not client.errors:
            time.sleep(0.01)
        steady_from_s = time.monotonic()
        time.sleep(10 * BETWEEN_S)
        steady_to_s = time.monotonic()
        for cuts in splits:
            epoch = next(epochs)
            published_s = time.monotonic()
            agents.chain(model, *cuts, epoch=epoch)
            changes.append((epoch, published_s, time.monotonic()))
            time.sleep(BETWEEN_S)
    if client.errors:
        raise SystemExit(f"a request failed: {client.errors[0]}")
    return _figures(kind, client.answers[WARM_UP:], changes, steady_from_s, steady_to_s)


def _figures(
    kind: str,
    answers: list[Answer],
    changes: list[tuple[int, float, float]],
    steady_from_s: float,
    steady_to_s: float,
) -> Figures:
    firsts: list[float] = []
    added: list[float] = []
    preparing: list[float] = []
    steady: list[float] = []
    gaps: list[float] = []
    for epoch, published_s, ready_s in changes:
        under = [answer for answer in answers if answer.epoch == epoch]
        if len(under) < 3:
            continue
        usual_ms = statistics.median(answer.latency_ms for answer in under[1:])
        steady += [answer.latency_ms for answer in under[1:]]
        firsts.append(under[0].latency_ms)
        added.append(under[0].latency_ms - usual_ms)
        preparing += [answer.latency_ms for answer in answers if published_s <= answer.at_s <= ready_s]
        near = [answer.at_s for answer in answers if published_s - 0.1 <= answer.at_s <= under[1].at_s]
        gaps += [(later - earlier) * 1e3 for earlier, later in itertools.pairwise(near)]
    calm = [answer.at_s for answer in answers if steady_from_s <= answer.at_s <= steady_to_s]
    return Figures(
        kind,
        statistics.median(steady),
        _p99(steady),
        statistics.median(firsts),
        _p99(firsts),
        statistics.median(added),
        _p99(added),
        max(preparing, default=0.0),
        max((later - earlier) * 1e3 for earlier, later in itertools.pairwise(calm)),
        max(gaps),
    )


def _p99(values: list[float]) -> float:
    return percentile(values, 99.0) or 0.0


def _print(rows: list[Figures], changes: int) -> None:
    print(f"{changes} changes of each kind under a steady stream of requests; no request failed\n")
    head = ("steady p50", "p99", "first p50", "p99", "added p50", "p99", "preparing", "calm gap", "worst gap")
    print(f"{'ms':18}" + "".join(f"{title:>11}" for title in head))
    for row in rows:
        kind, *figures = dataclasses.astuple(row)
        print(f"{kind:18}" + "".join(f"{figure:11.2f}" for figure in figures))
    print(
        "\nfirst: the first request under a new plan; added: what it takes beyond the median of those that follow;\n"
        "preparing: the slowest request while agents load; gap: between two answers at the client, in a calm stretch\n"
        "and around changes"
    )


def _pause_resume(path: Path, splits: list[Cuts]) -> list[float]:
    """The gap of each change where a node unloads its part before it loads the next: the slowest node's, in ms."""
    ops = len(read_graph(path).ops)
    pauses_ms: list[float] = []
    held: list[Segment] = []
    with tempfile.TemporaryDirectory(prefix="splitrail-pause-") as directory:
        for number, (first, second) in enumerate(splits):
            slowest_ms = 0.0
            for segment in held:
                segment.close()
            held = []
            for start, stop in ((0, first), (first, second), (second, ops)):
                piece = Path(directory) / f"{number}-{start}.tflite"
                began = time.perf_counter()
                slice_model(path, start, stop, piece)
                segment = Segment(piece)
                segment.warm_up()
                slowest_ms = max(slowest_ms, (time.perf_counter() - began) * 1e3)
                held.append(segment)
            pauses_ms.append(slowest_ms)
    return pauses_ms


def _cuts(allowed: list[int], first: float, second: float) -> Cuts:
    """The allowed cuts at these shares of all."""
    one, other = allowed[int(first * len(allowed))], allowed[int(second * len(allowed))]
    return (one, other)


if __name__ == "__main__":
    main()
