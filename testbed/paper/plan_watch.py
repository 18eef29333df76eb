"""Which plan the requests of a deployment run under, as its nodes reckon it from what the broker carries."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.messages import LinkReading, NodeProfile, Plan, PlanReady
from broker.session import Incoming, Session
from broker.topics import LINK, PLAN, PROFILE, READY
from coordinator.status_report import StatusReport
from edge_agent import epochs
from edge_agent.epochs import Epochs
from testbed.errors import ExperimentError
from testbed.paper.records import PlanRecord

READY_TIMEOUT_S = 180.0
TICK_S = 0.2


@dataclass(frozen=True, slots=True)
class _InForce:
    """A plan and when, on this process's monotonic clock, its last node was ready for it."""

    plan: Plan
    since_s: float


class PlanWatch:
    """Hears of one deployment's plans on a session that is not yet started; its methods may be called by any thread.

    Nodes report once that they are ready, perhaps before the session is there: `site` asks the coordinator who was.
    """

    def __init__(self, session: Session, deployment: str, site: Callable[[], StatusReport]) -> None:
        self._deployment = deployment
        self._site = site
        self._changed = threading.Condition()
        self._epochs = Epochs()
        self._in_force: list[_InForce] = []
        self._refusal: PlanReady | None = None
        self._news_s = time.monotonic()
        self._profiled: set[str] = set()
        self._linked: set[tuple[str, str]] = set()
        for topic in (PLAN, READY, PROFILE, LINK):
            session.on(topic, self._hear)

    @property
    def in_force(self) -> Plan:
        """The plan that new requests run under, once there is one."""
        with self._changed:
            return self._in_force[-1].plan

    def records(self, start_s: float) -> tuple[PlanRecord, ...]:
        """All plans that came into force; `start_s` is when the trace began, on the monotonic clock."""
        with self._changed:
            return tuple(
                PlanRecord(
                    at_s=round(each.since_s - start_s, 3),
                    epoch=each.plan.epoch,
                    stages=each.plan.stages,
                    reason=each.plan.reason,
                )
                for each in self._in_force
            )

    def wait_until_settled(self, nodes: int, links: int, quiet_s: float, alive: Callable[[], None]) -> None:
        """Return once all nodes have profiled, all links are measured, a plan is in force, and nothing new has come
        for `quiet_s`.

        `alive` raises if a process has died; ExperimentError says what is missing after a long while.
        """

        def settled() -> bool:
            if not self._is_newest_in_force():
                self._catch_up()
            return (
                self._is_newest_in_force()
                and len(self._profiled) >= nodes
                and len(self._linked) >= links
                and time.monotonic() - self._news_s >= quiet_s
            )

        self._wait(settled, alive)

    def wait_for(self, epoch: int, alive: Callable[[], None]) -> None:
        """Return once the plan of this epoch is in force."""
        self._wait(lambda: bool(self._in_force) and self._in_force[-1].plan.epoch >= epoch, alive)

    def _wait(self, condition: Callable[[], bool], alive: Callable[[], None]) -> None:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        with self._changed:
            while not condition():
                alive()
                if time.monotonic() > deadline_s:
                    raise ExperimentError(f"after {READY_TIMEOUT_S:g} s {self._missing()}")
                self._changed.wait(TICK_S)

    def _hear(self, incoming: Incoming[Any]) -> None:
        message, now_s = incoming.message, time.monotonic()
        with self._changed:
            match message:
                case Plan() if message.deployment == self._deployment:
                    self._news_s = now_s
                    self._fold(message, now_s)
                case PlanReady() if message.deployment == self._deployment:
                    self._refusal = None if message.ready else message
                    self._fold(message, now_s)
                case NodeProfile() if message.node not in self._profiled:
                    self._news_s = now_s
                    self._profiled.add(message.node)
                case LinkReading() if (message.src, message.dst) not in self._linked:
                    self._news_s = now_s
                    self._linked.add((message.src, message.dst))
            self._changed.notify_all()

    def _catch_up(self) -> None:
        """Take in who is ready by the coordinator's word."""
        for deployment in self._site().deployments:
            plan = deployment.plan
            if deployment.name == self._deployment and plan is not None:
                for node in plan.ready:
                    ready = PlanReady(deployment=deployment.name, epoch=plan.epoch, node=node, ready=True)
                    self._fold(ready, time.monotonic())

    def _fold(self, event: Plan | PlanReady, now_s: float) -> None:
        self._epochs = epochs.apply(event, self._epochs)
        active = self._epochs.active
        if active is not None and (not self._in_force or self._in_force[-1].plan.epoch < active.epoch):
            self._in_force.append(_InForce(active, now_s))

    def _is_newest_in_force(self) -> bool:
        return self._epochs.newest is not None and self._epochs.active is self._epochs.newest

    def _missing(self) -> str:
        if self._epochs.newest is None:
            return "there is no plan"
        if self._is_newest_in_force():
            return f"{len(self._profiled)} nodes have profiled the model and {len(self._linked)} links are measured"
        reason = f"{self._refusal.node}: {self._refusal.reason}" if self._refusal else "a node still loads it"
        return f"plan {self._epochs.newest.epoch} is not ready: {reason}"
