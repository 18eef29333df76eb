"""Three real agents on loopback, without shaping, that carry requests by plans which a benchmark fixes.

What is run through them, and beside them, is each benchmark's own.
"""

import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from broker.messages import (
    DeploymentNotice,
    InferenceReport,
    InferReply,
    InferRequest,
    NodeProfile,
    Plan,
    PlanReady,
    PlanStage,
    Prediction,
    Tier,
)
from broker.session import Incoming
from broker.topics import DEPLOYMENT, INFER, PLAN, PROFILE, READY
from coordinator.configuration import DeploymentSettings
from edge_agent.agent import Agent
from edge_agent.configuration import AgentSettings, EnergySettings, PowerSettings, SpoolSettings, TensorSettings
from edge_agent.probes import LinkSettings
from edge_agent.request import Finished
from splitrail.client import FrameAnswer
from testbed.continuum import Continuum, EmulatedNode

NODES: tuple[tuple[str, Tier], ...] = (("pi", "edge"), ("laptop", "fog"), ("pc", "cloud"))
NAMES = tuple(name for name, _ in NODES)
NOT_METERED = PowerSettings(idle_w=0.0, busy_w=0.0)
FIXED_EPOCH = 1_000_000
"""Above all that the coordinator gives."""
CHAINED = "chained-"
QUIET = LinkSettings(ping_interval_s=60.0, probe_interval_s=3600.0)
WAIT_S = 300.0
POLL_S = 0.01


class ThreeAgents:
    """The running agents, from `with` to its end; `models` are the files that they are to hold, by name.

    The coordinator's own plans keep everything on the origin: it serves the models, and the chains' plans are ours.
    With a `compute_factor` above 1 each agent emulates a machine that is so many times slower, asleep most of the time.
    With `origin_here` the origin's agent runs in this process, so that requests may follow each other at once.
    """

    def __init__(self, models: Mapping[str, Path], compute_factor: float = 1.0, *, origin_here: bool = False) -> None:
        self._models = models
        self._origin_here = origin_here
        self._origin: Agent | None = None
        self._compute_factor = compute_factor
        self._notices: dict[str, DeploymentNotice] = {}
        self._profiles: dict[str, NodeProfile] = {}
        self._chained: set[str] = set()
        self._ready: set[tuple[str, int, str]] = set()
        self._news = threading.Condition()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        nodes = tuple(
            EmulatedNode(name, tier, self._compute_factor, NOT_METERED, "emulated: one of three on this machine")
            for name, tier in NODES[self._origin_here :]
        )
        deployments = tuple(
            DeploymentSettings(name=name, model=path, origin=NAMES[0], strategy="origin-only")
            for name, path in self._models.items()
        )
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="splitrail-three-")))
            continuum = stack.enter_context(Continuum(nodes, (), deployments, directory, probing=QUIET))
            self._session = continuum.session(f"benchmark-{uuid.uuid4().hex[:8]}")
            self._session.on(DEPLOYMENT, self._take_notice)
            self._session.on(PROFILE, self._take_profile)
            self._session.on(READY, self._take_report)
            self.processes = continuum.pids()
            stack.enter_context(self._session)
            if self._origin_here:
                self._origin = stack.enter_context(running_agent(continuum))
            self._client = stack.enter_context(continuum.client())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def profile(self, model: str) -> NodeProfile:
        """What a node measured of a model, as soon as one has."""
        notice = self._notice(model)
        self._wait(f"a profile of {model}", lambda: notice.model.sha256 in self._profiles)
        return self._profiles[notice.model.sha256]

    def chain(self, model: str, first_cut: int, second_cut: int, epoch: int = FIXED_EPOCH) -> None:
        """Let the ops of a model run on the three nodes, cut before these two ops, and wait until all are ready.

        Another plan for the same model takes a greater epoch.
        """
        notice = self._notice(model)
        name = CHAINED + model
        ends = (0, first_cut, second_cut, notice.model.ops)
        stages = tuple(
            PlanStage(node=node, start=start, stop=stop)
            for node, start, stop in zip(NAMES, ends, ends[1:], strict=False)
        )
        plan = Plan(
            deployment=name,
            epoch=epoch,
            model=notice.model,
            origin=NAMES[0],
            stages=stages,
            way_back=(NAMES[-1], NAMES[0]),
            strategy="static",
            prediction=Prediction(latency_ms=0.0, origin_energy_j=0.0, total_energy_j=0.0, objective=0.0),
            reason="benchmark: a part on each agent",
            created_at=time.time(),
            term=notice.term,
        )
        if name not in self._chained:
            self._session.publish(DEPLOYMENT, msgspec.structs.replace(notice, deployment=name), name)
            self._chained.add(name)
        self._session.publish(PLAN, plan, name)
        self._wait("all three agents", lambda: all((name, epoch, node) in self._ready for node in NAMES))
        while self._origin is not None and self._origin._plans.active(name) is None:
            time.sleep(POLL_S)  # what they report has come here, and may not have come there yet

    def ask(self, model: str, image: bytes) -> InferReply:
        """Send an image through the model's chain; the origin's reply, from any thread."""
        request = InferRequest(request_id=uuid.uuid4().hex, image=image)
        return self._session.request(INFER, request, CHAINED + model, timeout_s=60.0)

    def infer(self, model: str, image: bytes) -> InferenceReport:
        """Send an image through the model's chain; what the origin reports of it."""
        reply = self.ask(model, image)
        # That the output is no classifier's does not matter here.
        if reply.report is None or reply.report.error is not None:
            raise SystemExit(f"a request failed: {reply.error}")
        return reply.report

    def stream(self, model: str, frames: Iterable[bytes], *, in_flight: int) -> Iterator[FrameAnswer]:
        """Send images through the model's chain as a stream that keeps every frame."""
        notice = msgspec.structs.replace(self._notice(model), deployment=CHAINED + model)
        return self._client.stream(notice, frames, in_flight=in_flight)

    def infer_here(self, model: str, tensor: npt.NDArray[np.float32]) -> InferenceReport:
        """Send a tensor through the model's chain from this process' origin; what that reports of it."""
        assert self._origin is not None
        ended: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._origin._origin.submit(CHAINED + model, (tensor,), ended.put)
        report = ended.get(timeout=60).report
        if report.error is not None:
            raise SystemExit(f"a request failed: {report.error}")
        return report

    def _notice(self, model: str) -> DeploymentNotice:
        self._wait(f"the deployment of {model}", lambda: model in self._notices)
        return self._notices[model]

    def _wait(self, what: str, condition: Callable[[], object]) -> None:
        with self._news:
            if not self._news.wait_for(condition, WAIT_S):
                raise SystemExit(f"waited {WAIT_S:g} s for {what}")

    def _take_notice(self, incoming: Incoming[DeploymentNotice]) -> None:
        with self._news:
            self._notices[incoming.message.deployment] = incoming.message
            self._news.notify_all()

    def _take_profile(self, incoming: Incoming[NodeProfile]) -> None:
        with self._news:
            self._profiles[incoming.message.model] = incoming.message
            self._news.notify_all()

    def _take_report(self, incoming: Incoming[PlanReady]) -> None:
        report = incoming.message
        if report.ready:
            with self._news:
                self._ready.add((report.deployment, report.epoch, report.node))
                self._news.notify_all()


@contextmanager
def running_agent(continuum: Continuum) -> Iterator[Agent]:
    """The first node's agent, in this process, as an application that uses it as a library would run it."""
    name, tier = NODES[0]
    settings = AgentSettings(
        site=continuum.site,
        node=name,
        tier=tier,
        broker=continuum._signing_in(name),
        cache=continuum.caches,
        tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open", pacing=None, fallback="none"),
        spool=SpoolSettings(file=continuum.directory / f"{name}-spool.sqlite"),
        power=NOT_METERED,
        energy=EnergySettings(meter="modelled"),
        links=QUIET,
        threads=1,
    )
    agent, stop = Agent(settings), threading.Event()

    def tick() -> None:
        due_s = 0.0
        while not stop.wait(due_s):
            due_s = agent.tick()

    ticking = threading.Thread(target=tick, name="ticking", daemon=True)
    with ExitStack() as stack:
        stack.callback(agent.close)
        agent.start()
        stack.callback(ticking.join)
        stack.callback(stop.set)
        ticking.start()
        yield agent
