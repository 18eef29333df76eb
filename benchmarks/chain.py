"""The chain of three agents on loopback, without emulation, against the unsplit interpreter.

    python benchmarks/chain.py [--quick] [MODEL ...]    models of the zoo, random weights

Requests and unsplit runs alternate, so that both see the same machine. Each agent holds a third of the compute; a
request crosses three links and comes back. The ratio is the median of the paired ratios. The unsplit interpreter has
as many threads as the agents' profiles name. Between them the same segments run in three bare processes, which only
receive, run and send (`bare_chain.py`): what any split into three costs here, whoever carries the tensors.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from bare_chain import BareChain, bare_chain
from figures import Figure, spread, write
from three_agents import ThreeAgents
from zoo_models import zoo_model

from broker.messages import NodeProfile
from models.convert import Quantize
from models.graph import read_graph
from models.images import load_image, sample_photographs, to_input
from models.preprocessing import read_preprocessing
from models.runtime import Segment, runtime_identity

MODELS = ("mobilenetv2", "alexnet", "resnet50", "vgg16")
GOALS = {"mobilenetv2": 1.10, "resnet50": 1.05, "vgg16": 1.05}
"""How much longer than unsplit the whole chain may take."""
PAIRS, QUICK_PAIRS = 40, 10
WARM_UP = 5
NEARLY_A_THIRD = 0.12


@dataclass(frozen=True, slots=True)
class Kind:
    """A model of the zoo, and how it was converted."""

    name: str
    quantize: Quantize

    @property
    def goal(self) -> float | None:
        """How much longer than unsplit its chain may take; None where nothing is asked."""
        return GOALS.get(self.name) if self.quantize == "none" else None


@dataclass(frozen=True, slots=True)
class Trio:
    """What is measured side by side, and the input, as a tensor and as the image that it is made of."""

    whole: Segment
    inputs: list[npt.NDArray[Any]]
    bare: BareChain
    agents: ThreeAgents
    image: bytes

    def unsplit_ms(self) -> float:
        """How long the whole model takes in this process."""
        started = time.perf_counter()
        self.whole.run(self.inputs)
        return (time.perf_counter() - started) * 1e3


@dataclass(frozen=True, slots=True)
class Figures:
    """What one model took; times in ms, the median of each. `goal` is None where there is none."""

    model: str
    unsplit_ms: float
    bare_ms: float
    chain_ms: float
    bare_ratio: float
    """Of three bare processes to the unsplit interpreter."""
    ratio: float
    goal: float | None
    compute_ms: float
    overhead_ms: float
    sent_kb: float
    threads: int
    noise_ms: float | None
    """How far apart the medians of fifths of the requests are."""


def main() -> None:
    """Measure each model and print one line for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--quantize", default="none", choices=["none", "fp16", "dynamic", "int8"])
    parser.add_argument("--pairs", type=int, default=PAIRS, help="requests, each beside an unsplit run")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs, of {', '.join(GOALS)}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    runtime = runtime_identity()
    print(f"three agents on loopback, no emulation, no shaping; {runtime.name} {runtime.version}")
    print(
        f"{'model':24} {'threads':>7} {'unsplit ms':>10} {'bare ms':>8} {'ratio':>6} {'chain ms':>9} {'ratio':>6} "
        f"{'goal':>5} {'overhead ms':>11} {'sent kB':>8}"
    )
    rows = []
    for name in arguments.models or (GOALS if arguments.quick else MODELS):
        figures = measure(name, arguments.quantize, QUICK_PAIRS if arguments.quick else arguments.pairs)
        rows.append(figures)
        goal = f"{figures.goal:5.2f}" if figures.goal is not None else "    -"
        print(
            f"{figures.model:24} {figures.threads:7} {figures.unsplit_ms:10.2f} {figures.bare_ms:8.2f} "
            f"{figures.bare_ratio:6.2f} {figures.chain_ms:9.2f} {figures.ratio:6.2f} {goal} "
            f"{figures.overhead_ms:11.2f} {figures.sent_kb:8.0f}",
            flush=True,
        )
    if arguments.json:
        write(arguments.json, (figure for row in rows for figure in figures_of(row)))


def figures_of(row: Figures) -> Iterator[Figure]:
    """What is compared with other runs."""
    yield Figure(
        row.model,
        row.chain_ms,
        "ms",
        "lower",
        noise=row.noise_ms,
        reference=row.unsplit_ms,
        ratio=row.ratio,
        goal=row.goal,
    )
    yield Figure(
        f"{row.model}, three bare processes",
        row.bare_ms,
        "ms",
        "lower",
        reference=row.unsplit_ms,
        ratio=row.bare_ratio,
    )


def measure(name: str, quantize: Quantize, pairs: int) -> Figures:
    """Run one model's chain and its unsplit interpreter side by side."""
    path = zoo_model(name, quantize)
    with ThreeAgents({name: path}) as agents:
        profile = agents.profile(name)
        cuts = _cuts(path, profile)
        agents.chain(name, *cuts)
        photograph, whole = sample_photographs()[0], Segment(path, profile.threads)
        [spec] = whole.inputs
        inputs = [to_input(load_image(photograph), spec.shape, spec.dtype, None, read_preprocessing(path))]
        with bare_chain(path, cuts, inputs, profile.threads) as bare:
            trio = Trio(whole, inputs, bare, agents, photograph.read_bytes())
            return _measure(trio, Kind(name, quantize), profile.threads, pairs)


def _measure(trio: Trio, kind: Kind, threads: int, pairs: int) -> Figures:
    unsplit: list[float] = []
    bare: list[float] = []
    chain: list[float] = []
    compute: list[float] = []
    sent: list[float] = []
    for number in range(WARM_UP + pairs):
        unsplit_ms = trio.unsplit_ms()
        bare_ms = trio.bare.run_ms()
        report = trio.agents.infer(kind.name, trio.image)
        if number >= WARM_UP:
            unsplit.append(unsplit_ms)
            bare.append(bare_ms)
            chain.append(report.latency_ms)
            compute.append(sum(stage.compute_ms for stage in report.stages))
            sent.append(sum(hop.size_bytes for hop in report.transfers) / 1e3)
    return Figures(
        f"{kind.name} {kind.quantize}",
        statistics.median(unsplit),
        statistics.median(bare),
        statistics.median(chain),
        statistics.median(there / here for there, here in zip(bare, unsplit, strict=True)),
        statistics.median(there / here for there, here in zip(chain, unsplit, strict=True)),
        kind.goal,
        statistics.median(compute),
        statistics.median(whole - part for whole, part in zip(chain, compute, strict=True)),
        statistics.median(sent),
        threads,
        spread([statistics.median(chain[part::5]) for part in range(5)]),
    )


def _cuts(path: Path, profile: NodeProfile) -> tuple[int, int]:
    """Cuts by which each stage takes about a third of the compute, where the fewest bytes cross."""
    graph = read_graph(path)
    cuts: list[int] = []
    done = 0.0
    shares = [0.0]
    for op_ms in profile.op_ms:
        done += op_ms
        shares.append(done / profile.unsplit_ms)
    for wanted in (1 / 3, 2 / 3):
        left = [cut for cut in graph.cuts[1:-1] if cut.allowed and cut.k not in cuts]
        near = [cut for cut in left if abs(shares[cut.k] - wanted) < NEARLY_A_THIRD]
        nearest = min(left, key=lambda cut: abs(shares[cut.k] - wanted))
        cuts.append(min(near or [nearest], key=lambda cut: cut.size_bytes).k)
    return min(cuts), max(cuts)


if __name__ == "__main__":
    main()
