"""From the start of a site's processes to its first answers, with cached models, profiles and packed weights.

    python benchmarks/start.py [--quick] [--json FILE]

The broker is up and empty. A coordinator and three agents are started at the same moment, on this one machine; a client
asks as soon as a deployment's nodes are ready. One deployment runs where its images arise, by the first plan that the
planner makes; of the other a third of the ops runs on each node. The reference is a process that starts, loads the
unsplit model into the runtime's interpreter and runs it once.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from figures import repeated, write
from zoo_models import zoo_model

from broker.messages import DeploymentNotice, InferRequest, NodeProfile, NodeStatus, Plan, PlanReady, Tier
from broker.session import Incoming, Session
from broker.topics import DEPLOYMENT, INFER, PLAN, PROFILE, READY, STATUS
from coordinator.configuration import DeploymentSettings, StageSettings
from edge_agent.configuration import PowerSettings
from edge_agent.routes import named_nodes
from models.graph import read_graph
from models.images import sample_photographs
from testbed.continuum import BROKER, COORDINATOR, Continuum, EmulatedNode

NODES: Final[tuple[tuple[str, Tier], ...]] = (("pi", "edge"), ("laptop", "fog"), ("pc", "cloud"))
NAMES: Final = tuple(name for name, _ in NODES)
ALONE, SPLIT = "alone", "split"
STARTS, QUICK_STARTS = 5, 3
WAIT_S = 120.0
REFERENCE = """
import sys, numpy
from pathlib import Path
from models.runtime import Segment
segment = Segment(Path(sys.argv[1]))
segment.run([numpy.zeros(spec.shape, spec.dtype) for spec in segment.inputs])
"""


@dataclass(slots=True)
class Milestones:
    """When things were first heard of, in s since the processes were started."""

    began_s: float = 0.0
    at_s: dict[str, float] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    ready: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    load_ms: dict[str, float] = field(default_factory=dict)
    news: threading.Condition = field(default_factory=threading.Condition)

    def reach(self, what: str) -> None:
        """Something was heard of now, perhaps not for the first time; `news` is held."""
        self.at_s.setdefault(what, time.monotonic() - self.began_s)
        self.news.notify_all()

    def wait(self, what: str, condition: Callable[[], object]) -> None:
        """Until the condition holds; SystemExit after two minutes."""
        with self.news:
            if not self.news.wait_for(condition, WAIT_S):
                raise SystemExit(f"waited {WAIT_S:g} s for {what}")


def main() -> None:
    """Start a site several times and print where the time goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mobilenetv2", help="a model of the zoo")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STARTS} starts instead of {STARTS}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    path = zoo_model(arguments.model)
    starts = QUICK_STARTS if arguments.quick else STARTS
    with tempfile.TemporaryDirectory(prefix="splitrail-start-") as directory:
        runs = measured(path, Path(directory), starts)
    reference_s = statistics.median(alone_s(path) for _ in range(starts))
    print(f"unsplit interpreter, process start to first inference: {reference_s:6.2f} s")
    figures = []
    for what in (what for what in runs[0] if all(what in run for run in runs)):
        figure = repeated(what, [run[what] for run in runs], "s", "lower", reference=reference_s)
        figures.append(figure)
        print(f"{figure.name:44} {figure.value:6.2f} s")
    if arguments.json:
        write(arguments.json, figures)


def measured(path: Path, directory: Path, starts: int) -> list[dict[str, float]]:
    """The milestones of each start, in the order in which they are reached."""
    nodes = tuple(
        EmulatedNode(name, tier, 1.0, PowerSettings(idle_w=0.0, busy_w=0.0), "emulated: one of three on this machine")
        for name, tier in NODES
    )
    cuts = [cut.k for cut in read_graph(path).cuts if cut.allowed and len(cut.tensors) == 1]
    first, second = cuts[len(cuts) // 3], cuts[2 * len(cuts) // 3]
    ends = (0, first, second, len(read_graph(path).ops))
    stages = tuple(
        StageSettings(node=name, start=start, stop=stop)
        for name, start, stop in zip(NAMES, ends, ends[1:], strict=False)
    )
    deployments = (
        DeploymentSettings(name=ALONE, model=path, origin="pi", strategy="exact"),
        DeploymentSettings(name=SPLIT, model=path, origin="pi", strategy="static", stages=stages),
    )
    runs = []
    with Continuum(nodes, (), deployments, directory) as continuum:
        for number in range(starts + 1):
            if number:
                empty(continuum, directory)
            runs.append(started(continuum, is_started=not number))
    return runs[1:]


def empty(continuum: Continuum, directory: Path) -> None:
    """End every process and forget what the broker has kept; what the nodes cached stays."""
    for name in (*NAMES, COORDINATOR, BROKER):
        continuum.kill(name)
    for kept in (directory / "mosquitto").rglob("*.db"):
        kept.unlink()
    for spool in directory.glob("*-spool.sqlite*"):
        spool.unlink()
    shutil.rmtree(directory / "segments", ignore_errors=True)
    continuum.start(BROKER)


def started(continuum: Continuum, *, is_started: bool) -> dict[str, float]:
    """Start the processes, unless they are, and ask both deployments as soon as they can answer."""
    session = continuum.session(f"benchmark-{uuid.uuid4().hex[:8]}")
    milestones = Milestones()
    _listen(session, milestones)
    with session:
        milestones.began_s = time.monotonic()
        if not is_started:
            for name in (COORDINATOR, *NAMES):
                continuum.start(name)
        for deployment in (ALONE, SPLIT):
            milestones.wait(f"the nodes of {deployment}", partial(_is_ready, milestones, deployment))
            request = InferRequest(request_id=uuid.uuid4().hex, image=sample_photographs()[0].read_bytes())
            reply = session.request(INFER, request, deployment, timeout_s=60.0)
            if reply.report is None or reply.report.error is not None:
                raise SystemExit(f"a request failed: {reply.error}")
            with milestones.news:
                milestones.reach(f"{deployment}: first answer")
    found = dict(sorted(milestones.at_s.items(), key=lambda item: item[1]))
    return found | {f"{name}: loading": ms / 1e3 for name, ms in sorted(milestones.load_ms.items())}


def alone_s(path: Path) -> float:
    """What the reference takes."""
    before_s = time.monotonic()
    subprocess.run((sys.executable, "-c", REFERENCE, str(path)), check=True, capture_output=True)
    return time.monotonic() - before_s


def _listen(session: Session, milestones: Milestones) -> None:
    def hear_status(incoming: Incoming[NodeStatus]) -> None:
        with milestones.news:
            if incoming.message.state == "online":
                milestones.reach(f"{incoming.message.node}: joined")

    def hear_notice(_: Incoming[DeploymentNotice]) -> None:
        with milestones.news:
            milestones.reach("coordinator: first deployment announced")

    def hear_profile(incoming: Incoming[NodeProfile]) -> None:
        with milestones.news:
            milestones.reach(f"{incoming.message.node}: profile known")

    def hear_plan(incoming: Incoming[Plan]) -> None:
        plan = incoming.message
        with milestones.news:
            milestones.plans[plan.deployment] = plan
            milestones.reach(f"{plan.deployment}: first plan")

    def hear_ready(incoming: Incoming[PlanReady]) -> None:
        report = incoming.message
        with milestones.news:
            if report.ready:
                milestones.ready.setdefault((report.deployment, report.epoch), set()).add(report.node)
                milestones.load_ms.setdefault(f"{report.deployment} at {report.node}", report.load_ms)
                if _is_ready(milestones, report.deployment):
                    milestones.reach(f"{report.deployment}: nodes ready")

    session.on(STATUS, hear_status)
    session.on(DEPLOYMENT, hear_notice)
    session.on(PROFILE, hear_profile)
    session.on(PLAN, hear_plan)
    session.on(READY, hear_ready)


def _is_ready(milestones: Milestones, deployment: str) -> bool:
    plan = milestones.plans.get(deployment)
    return plan is not None and milestones.ready.get((deployment, plan.epoch), set()) >= named_nodes(plan)


if __name__ == "__main__":
    main()
