"""Three real agents on loopback, without shaping, that carry requests by plans which a benchmark fixes.

What is run through them, and beside them, is each benchmark's own.
"""

import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

from broker.messages import (
    DeploymentNotice,
    InferenceReport,
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
from edge_agent.configuration import PowerSettings
from edge_agent.probes import LinkSettings
from splitrail.client import FrameAnswer
from testbed.continuum import Continuum, EmulatedNode

NODES: tuple[tuple[str, Tier], ...] = (("pi", "edge"), ("laptop", "fog"), ("pc", "cloud"))
NAMES = tuple(name for name, _ in NODES)
NOT_METERED = PowerSettings(idle_w=0.0, busy_w=0.0)
FIXED_EPOCH = 1_000_000
CHAINED = "chained-"
QUIET = LinkSettings(ping_interval_s=60.0, probe_interval_s=3600.0)
WAIT_S = 300.0


class ThreeAgents:
    """The running agents, from `with` to its end; `models` are the files that they are to hold, by name.

    The coordinator's own plans keep everything on the origin: it serves the models, and the chains' plans are ours.
    With a `compute_factor` above 1 each agent emulates a machine that is so many times slower, asleep most of the time.
    """

    def __init__(self, models: Mapping[str, Path], compute_factor: float = 1.0) -> None:
        self._models = models
        self._compute_factor = compute_factor
        self._notices: dict[str, DeploymentNotice] = {}
        self._profiles: dict[str, NodeProfile] = {}
        self._ready: set[tuple[str, str]] = set()
        self._news = threading.Condition()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        nodes = tuple(
            EmulatedNode(name, tier, self._compute_factor, NOT_METERED, "emulated: one of three on this machine")
            for name, tier in NODES
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

    def chain(self, model: str, first_cut: int, second_cut: int) -> None:
        """Let the ops of a model run on the three nodes, cut before these two ops, and wait until all are ready."""
        notice = self._notice(model)
        name = CHAINED + model
        ends = (0, first_cut, second_cut, notice.model.ops)
        stages = tuple(
            PlanStage(node=node, start=start, stop=stop)
            for node, start, stop in zip(NAMES, ends, ends[1:], strict=False)
        )
        plan = Plan(
            deployment=name,
            epoch=FIXED_EPOCH,
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
        self._session.publish(DEPLOYMENT, msgspec.structs.replace(notice, deployment=name), name)
        self._session.publish(PLAN, plan, name)
        self._wait("all three agents", lambda: all((name, node) in self._ready for node in NAMES))

    def infer(self, model: str, image: bytes) -> InferenceReport:
        """Send an image through the model's chain; what the origin reports of it."""
        request = InferRequest(request_id=uuid.uuid4().hex, image=image)
        reply = self._session.request(INFER, request, CHAINED + model, timeout_s=60.0)
        # That the output is no classifier's does not matter here.
        if reply.report is None or reply.report.error is not None:
            raise SystemExit(f"a request failed: {reply.error}")
        return reply.report

    def stream(self, model: str, frames: Iterable[bytes], *, in_flight: int) -> Iterator[FrameAnswer]:
        """Send images through the model's chain as a stream that keeps every frame."""
        notice = msgspec.structs.replace(self._notice(model), deployment=CHAINED + model)
        return self._client.stream(notice, frames, in_flight=in_flight)

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
        if report.epoch == FIXED_EPOCH and report.ready:
            with self._news:
                self._ready.add((report.deployment, report.node))
                self._news.notify_all()
