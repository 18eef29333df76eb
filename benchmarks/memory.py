"""The memory that an agent takes: without a model, with each model whole, in two segments, and while its plan changes.

    python benchmarks/memory.py [--quick] [--json FILE] [MODEL ...]    models of the zoo, random weights

The change is from the first cut that has half of the weights before it to the next, both segments being loaded.
The reference is the unsplit model in the runtime's own interpreter. Each is measured in a process of its own after two
runs, as proportional set size (PSS, /proc/PID/smaps_rollup), of which file pages can be dropped and anonymous pages
cannot. MB are 10^6 bytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import psutil
from figures import Figure, write
from zoo_models import KEPT, zoo_model

from broker.messages import ModelReference, Plan, PlanStage, Prediction
from broker.mosquitto import PrivateMosquitto
from edge_agent.configuration import AgentSettings, TensorSettings
from edge_agent.shelf import Holdings, Shelf
from models.cache import ModelCache
from models.graph import read_graph
from models.packed import PackedWeights
from models.runtime import Segment
from testbed.continuum_settings import write_settings
from testbed.processes import ChildProcess, splitrail_command, stop_all

MODELS, QUICK_MODELS = ("mobilenetv2", "resnet50", "vgg16"), ("resnet50",)
IDLE_GOAL_MB = 60.0
SETTLED_S = 3.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in MB of 10^6 bytes."""

    resident_mb: float
    proportional_mb: float
    anonymous_mb: float

    @classmethod
    def of(cls, process_id: int) -> "Memory":
        """As it is now."""
        kilobytes: dict[str, int] = {}
        for line in Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
            name, amount, *_ = line.split()
            kilobytes[name] = int(amount)
        resident, proportional, anonymous = (kilobytes[name] * 1_024 / 1e6 for name in ("Rss:", "Pss:", "Anonymous:"))
        return cls(resident, proportional, anonymous)


def main() -> None:
    """Measure everything and print one line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK_MODELS)}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--measure", nargs=3, metavar=("WHAT", "MODEL", "CACHE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, model, cache = arguments.measure
        print(json.dumps(msgspec.to_builtins(measured(what, Path(model), Path(cache)))))
        return
    figures = [idle_agent()]
    for name in arguments.models or (QUICK_MODELS if arguments.quick else MODELS):
        figures += of_model(name)
    if arguments.json:
        write(arguments.json, figures)


def idle_agent() -> Figure:
    """A real agent that has no deployment to serve."""
    with tempfile.TemporaryDirectory(prefix="splitrail-memory-") as directory, ExitStack() as stack:
        place = Path(directory)
        broker = stack.enter_context(PrivateMosquitto(place / "mosquitto"))
        settings = AgentSettings(
            site="memory",
            node="pi",
            tier="edge",
            broker=broker.settings,
            cache=place / "cache",
            tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open"),
        )
        write_settings(place / "agent.yaml", settings)
        agent = ChildProcess("agent", splitrail_command("agent", "--config", str(place / "agent.yaml")), place / "log")
        stack.callback(stop_all, [agent])
        time.sleep(SETTLED_S)
        agent.check()
        memory = Memory.of(agent.pid)
    print(f"agent without a model: {_words(memory)}, {memory.resident_mb:.0f} resident", flush=True)
    return Figure("agent without a model", memory.resident_mb, "MB resident", "lower", goal=IDLE_GOAL_MB)


def of_model(name: str) -> list[Figure]:
    """What one model takes, in every way."""
    path = zoo_model(name)
    figures = []
    with tempfile.TemporaryDirectory(prefix="splitrail-memory-", dir=KEPT) as cache:
        unsplit = in_a_process("unsplit", path, cache)
        print(f"{name}: the unsplit interpreter {_words(unsplit)}", flush=True)
        for what in ("whole", "two segments", "change of plan"):
            for shared in (False, True):
                memory = in_a_process(f"{what}, shared" if shared else what, path, cache)
                words = f"{name}: {what}, {'weights shared' if shared else 'weights of their own'}"
                print(f"{words}: {_words(memory)}", flush=True)
                figures += _figures(words, memory, unsplit)
    return figures


def in_a_process(what: str, model: Path, cache: str) -> Memory:
    """Measure one thing where nothing else was."""
    command = (sys.executable, __file__, "--measure", what, str(model), cache)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{what} of {model.name} cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    return msgspec.convert(json.loads(done.stdout.splitlines()[-1]), Memory)


def measured(what: str, model: Path, directory: Path) -> Memory:
    """The memory of this process once it has loaded and run what is asked for."""
    if what == "unsplit":
        return _mine([Segment(model)])
    kind, _, shared = what.partition(", ")
    cache = ModelCache(directory)
    sha256 = cache.add(model).sha256
    shelf = Shelf(
        "pi", cache, PackedWeights(cache, shared or "never packed under this name"), threads=lambda _: 1, bound_mb=1e6
    )
    graph = read_graph(model)
    ops = len(graph.ops)
    single = [cut.k for cut in graph.cuts[1:-1] if cut.allowed and len(cut.tensors) == 1]
    half = sum(op.weight_bytes for op in graph.ops) / 2
    middle = next(k for k in single if sum(op.weight_bytes for op in graph.ops[:k]) >= half)
    later = next((k for k in single if k > middle), ops)
    plans = {
        "whole": [_plan(model, sha256, ops, (0, ops))],
        "two segments": [_plan(model, sha256, ops, (0, middle), (middle, ops))],
        "change of plan": [
            _plan(model, sha256, ops, (0, middle)),
            _plan(model, sha256, ops, (0, later)),
        ],
    }[kind]
    if shared:
        shelf.pack(sha256, lambda: model)
    shelf.hold(Holdings(tuple(plans), (), ()))
    for plan in plans:
        shelf.load(plan, model)
    return _mine([segment for key in shelf.held if (segment := shelf.segment(*key)) is not None])


def _plan(model: Path, sha256: str, ops: int, *segments: tuple[int, int]) -> Plan:
    """The Pi computes these segments, and the PC what is between and after them."""
    stages: list[PlanStage] = []
    for start, stop in segments:
        stages.append(PlanStage(node="pi", start=start, stop=stop))
    if segments[-1][1] < ops:
        stages.append(PlanStage(node="pc", start=segments[-1][1], stop=ops))
    return Plan(
        deployment="measured",
        epoch=segments[0][1],
        model=ModelReference(
            sha256=sha256, name=model.stem, size_bytes=model.stat().st_size, ops=ops, url="http://127.0.0.1:1/"
        ),
        origin="pi",
        stages=tuple(stages),
        way_back=("pc", "pi") if stages[-1].node == "pc" else ("pi",),
        strategy="static",
        prediction=Prediction(latency_ms=0.0, origin_energy_j=0.0, total_energy_j=0.0, objective=0.0),
        reason="benchmark",
        created_at=time.time(),
    )


def _figures(words: str, memory: Memory, unsplit: Memory) -> list[Figure]:
    return [
        Figure(
            words,
            memory.proportional_mb,
            "MB",
            "lower",
            reference=unsplit.proportional_mb,
            ratio=memory.proportional_mb / unsplit.proportional_mb,
        ),
        Figure(
            f"{words}, anonymous",
            memory.anonymous_mb,
            "MB",
            "lower",
            reference=unsplit.anonymous_mb,
            ratio=memory.anonymous_mb / unsplit.anonymous_mb,
        ),
    ]


def _mine(segments: list[Segment]) -> Memory:
    """What this process takes once it has run each of its segments twice."""
    for segment in segments:
        for _ in range(2):
            segment.run([np.ones(spec.shape, spec.dtype) for spec in segment.inputs])
    return Memory.of(psutil.Process().pid)


def _words(memory: Memory) -> str:
    return f"{memory.proportional_mb:.0f} MB, {memory.anonymous_mb:.0f} of them anonymous"


if __name__ == "__main__":
    main()
