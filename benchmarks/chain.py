"""The chain of three agents on loopback, without emulation, against the unsplit interpreter.

    python benchmarks/chain.py [MODEL ...]        models of the zoo, random weights; default mobilenetv2, alexnet, vgg16

Requests and unsplit runs alternate, so that both see the same machine. Each agent holds a third of the compute; a
request crosses three links and comes back. The ratio is the median of the paired ratios.
"""

import argparse
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from broker.messages import (
    DeploymentNotice,
    InferReply,
    InferRequest,
    NodeProfile,
    Plan,
    PlanReady,
    PlanStage,
    Prediction,
)
from broker.session import Incoming, Session
from broker.topics import DEPLOYMENT, INFER, PLAN, PROFILE, READY
from coordinator.configuration import DeploymentSettings
from edge_agent.configuration import PowerSettings
from edge_agent.probes import LinkSettings
from models.convert import convert_zoo_model
from models.graph import read_graph
from models.images import load_image, sample_photographs, to_input
from models.preprocessing import read_preprocessing
from models.runtime import Segment, runtime_identity
from testbed.continuum import Continuum, EmulatedNode

NODES = ("pi", "laptop", "pc")
TIERS = ("edge", "fog", "cloud")
NOT_METERED = PowerSettings(idle_w=0.0, busy_w=0.0)
PAIRS = 40
WARM_UP = 5
FIXED_EPOCH = 1_000_000
NEARLY_A_THIRD = 0.12
CACHE = Path(__file__).parent.parent / ".cache" / "benchmark-models"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one model took; times in ms, the median of each."""

    model: str
    unsplit_ms: float
    chain_ms: float
    ratio: float
    compute_ms: float
    overhead_ms: float
    sent_kb: float


class Watcher:
    """What the broker has told so far."""

    def __init__(self, session: Session) -> None:
        self.notice: DeploymentNotice | None = None
        self.profile: NodeProfile | None = None
        self.ready: set[str] = set()
        self._news = threading.Condition()
        session.on(DEPLOYMENT, lambda incoming: self._take(incoming.message))
        session.on(PROFILE, lambda incoming: self._take(incoming.message))
        session.on(READY, self._take_report)

    def wait(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until `condition()` holds."""
        with self._news:
            if not self._news.wait_for(condition, 300):
                raise SystemExit(f"waited 300 s for {what}")

    def _take(self, message: DeploymentNotice | NodeProfile) -> None:
        with self._news:
            if isinstance(message, DeploymentNotice):
                self.notice = message
            else:
                self.profile = message
            self._news.notify_all()

    def _take_report(self, incoming: Incoming[PlanReady]) -> None:
        if incoming.message.epoch == FIXED_EPOCH and incoming.message.ready:
            with self._news:
                self.ready.add(incoming.message.node)
                self._news.notify_all()


def main() -> None:
    """Measure each model and print one line for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=["mobilenetv2", "alexnet", "vgg16"])
    parser.add_argument("--quantize", default="none", choices=["none", "fp16", "dynamic", "int8"])
    parser.add_argument("--pairs", type=int, default=PAIRS, help="requests, each beside an unsplit run")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    runtime = runtime_identity()
    print(f"three agents on loopback, no emulation, no shaping, 1 thread each; {runtime.name} {runtime.version}")
    print(f"{'model':24} {'unsplit ms':>10} {'chain ms':>9} {'ratio':>6} {'overhead ms':>11} {'sent kB':>8}")
    rows = []
    for name in arguments.models:
        figures = measure(name, arguments.quantize, arguments.pairs)
        rows.append(figures)
        print(
            f"{figures.model:24} {figures.unsplit_ms:10.2f} {figures.chain_ms:9.2f} {figures.ratio:6.2f} "
            f"{figures.overhead_ms:11.2f} {figures.sent_kb:8.0f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


def measure(name: str, quantize: str, pairs: int) -> Figures:
    """Run one model's chain and its unsplit interpreter side by side."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}-{quantize}.tflite"
    if not path.exists():
        convert_zoo_model(name, quantize, "random", path)
    nodes = tuple(
        EmulatedNode(node, tier, 1.0, NOT_METERED, "emulated: one of three on this machine")  # type: ignore[arg-type]  # the tiers above are Tiers
        for node, tier in zip(NODES, TIERS, strict=True)
    )
    # The coordinator's own plan keeps all on the origin; it serves the model, and the chain's plan is ours.
    deployment = DeploymentSettings(name="reference", model=path, origin="pi", strategy="origin-only")
    quiet = LinkSettings(ping_interval_s=60.0, probe_interval_s=3600.0)
    with (
        tempfile.TemporaryDirectory(prefix="splitrail-chain-") as directory,
        Continuum(nodes, (), (deployment,), Path(directory), probing=quiet) as continuum,
    ):
        session = continuum.session(f"benchmark-{uuid.uuid4().hex[:8]}")
        watcher = Watcher(session)
        with session:
            return _measure(session, watcher, path, f"{name} {quantize}", pairs)


def _measure(session: Session, watcher: Watcher, path: Path, name: str, pairs: int) -> Figures:
    watcher.wait("the deployment and a profile", lambda: watcher.notice and watcher.profile)
    assert watcher.notice is not None
    assert watcher.profile is not None
    plan = _thirds(path, watcher.notice, watcher.profile)
    session.publish(DEPLOYMENT, msgspec.structs.replace(watcher.notice, deployment="chain"), "chain")
    session.publish(PLAN, plan, "chain")
    watcher.wait("all three agents", lambda: watcher.ready == set(NODES))

    photograph = sample_photographs()[0]
    whole = Segment(path)
    [spec] = whole.inputs
    inputs = [to_input(load_image(photograph), spec.shape, spec.dtype, None, read_preprocessing(path))]
    unsplit: list[float] = []
    chain: list[float] = []
    compute: list[float] = []
    sent: list[float] = []
    for number in range(WARM_UP + pairs):
        started = time.perf_counter()
        whole.run(inputs)
        unsplit_ms = (time.perf_counter() - started) * 1e3
        request = InferRequest(request_id=uuid.uuid4().hex, image=photograph.read_bytes())
        report = _answered(session.request(INFER, request, "chain", timeout_s=60.0)).report
        assert report is not None
        if number >= WARM_UP:
            unsplit.append(unsplit_ms)
            chain.append(report.latency_ms)
            compute.append(sum(stage.compute_ms for stage in report.stages))
            sent.append(sum(hop.size_bytes for hop in report.transfers) / 1e3)
    return Figures(
        name,
        statistics.median(unsplit),
        statistics.median(chain),
        statistics.median(there / here for there, here in zip(chain, unsplit, strict=True)),
        statistics.median(compute),
        statistics.median(whole - part for whole, part in zip(chain, compute, strict=True)),
        statistics.median(sent),
    )


def _answered(reply: InferReply) -> InferReply:
    if reply.error is not None:
        raise SystemExit(f"a request failed: {reply.error}")
    return reply


def _thirds(path: Path, notice: DeploymentNotice, profile: NodeProfile) -> Plan:
    """A plan whose three stages take about a third of the compute each, cut where the fewest bytes cross."""
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
    cuts.sort()
    ends = (0, *cuts, len(graph.ops))
    stages = tuple(
        PlanStage(node=node, start=start, stop=stop) for node, start, stop in zip(NODES, ends, ends[1:], strict=False)
    )
    nothing = Prediction(latency_ms=0.0, origin_energy_j=0.0, total_energy_j=0.0, objective=0.0)
    return Plan(
        deployment="chain",
        epoch=FIXED_EPOCH,
        model=notice.model,
        origin=NODES[0],
        stages=stages,
        way_back=(NODES[2], NODES[0]),
        strategy="static",
        prediction=nothing,
        reason="benchmark: a third of the compute on each agent",
        created_at=time.time(),
        term=notice.term,
    )


if __name__ == "__main__":
    main()
