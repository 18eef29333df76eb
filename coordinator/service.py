"""The coordinator's shell: messages become events, the state follows them, and what is decided is published.

State, decisions, telemetry and HTTP are each their own module; this one only joins them, on one thread.
"""

import hashlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from broker.messages import DeploymentNotice, LinkReading, NodeLoad, NodeStatus, Telemetry, TelemetryStored
from broker.session import Incoming, Session
from broker.topics import (
    DEPLOYMENT,
    ENERGY,
    INFERENCE,
    LINK,
    LOAD,
    MISS,
    PLAN,
    PROFILE,
    READY,
    STATUS,
    STORED,
    UNPROFILED,
    M,
    Topic,
)
from coordinator.configuration import CoordinatorSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.declaring import declare
from coordinator.errors import DeclarationError
from coordinator.http_server import HttpServer, application
from coordinator.membership import presumed_dead
from coordinator.site import EMPTY, State
from coordinator.state import Connected, DeploymentDeclared, Event, Received, apply
from coordinator.status_report import RECENT_S, StatusReport, status_report
from coordinator.store_sqlite import SqliteTelemetryStore
from coordinator.telemetry import StoredUpTo
from models.cache import ModelCache

MAX_QUEUED = 10_000
MAX_BATCH = 500
TICK_S = 0.25
BURST_S = 0.05
QUEUE_TIMEOUT_S = 1.0
CATCH_UP_TIMEOUT_S = 10.0
SECONDS_PER_DAY = 86_400.0
_ANYWHERE = ("0.0.0.0", "::")  # compared with, never bound to

log = logging.getLogger("splitrail.coordinator")


class _CaughtUp:
    """All that the broker had retained when we subscribed has arrived."""


class Coordinator:
    """Runs one site: `with Coordinator(settings, on_change) as coordinator: coordinator.run(stop)`.

    `on_change(before, after)` is called on the running thread whenever the state has changed. Entering raises
    ConnectionFailedError, ModelError, StoreError, ListenError or DeclarationError, and leaves nothing open then.
    """

    def __init__(
        self,
        settings: CoordinatorSettings,
        on_change: Callable[[State, State], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._clock = clock
        self._events: queue.Queue[Received | Connected | _CaughtUp] = queue.Queue(MAX_QUEUED)
        self._state = EMPTY
        self._caught_up = False
        self._lost_events = 0
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._open(opened)
            self._exit = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @property
    def url(self) -> str:
        """The base URL of the HTTP interface, with the port that was taken."""
        return self._http.url

    @property
    def state(self) -> State:
        """The state as of now; a frozen value."""
        return self._state

    def run(self, stop: threading.Event) -> None:
        """Follow the site until `stop` is set."""
        started = time.monotonic()
        while not stop.is_set():
            before = self._state
            for event in self._next_events():
                self._take(event)
            if not self._caught_up and time.monotonic() - started > CATCH_UP_TIMEOUT_S:
                log.warning("the broker does not return our own notices: planning without waiting for retained plans")
                self._caught_up = True
            if self._caught_up:
                self._act()
            if self._state is not before:
                self._on_change(before, self._state)

    def status(self) -> StatusReport:
        """The site's report; may be called from any thread."""
        now = self._clock()
        state = self._state
        return status_report(
            self._settings.site,
            state,
            now=now,
            power=self._store.summarise_power(now - RECENT_S),
            inferences={name: self._store.summarise_inferences(name, now - RECENT_S) for name in state.deployments},
            lost_telemetry=self._store.lost + self._lost_events,
        )

    def _open(self, opened: ExitStack) -> None:
        settings = self._settings
        self._http = HttpServer(settings.http.host, settings.http.port)
        opened.callback(self._http.close)
        declarations = declare(settings.deployments, ModelCache(settings.cache), self._base_url())
        self._store = SqliteTelemetryStore(settings.store, retention_s=settings.retention_days * SECONDS_PER_DAY)
        opened.callback(self._store.close)
        for deployment in declarations.deployments:
            self._state = apply(DeploymentDeclared(deployment, self._store.last_epoch(deployment.name)), self._state)
        self._http.start(application(declarations.files, self.status))
        # One identity for each store, and a store has one coordinator.
        identity = hashlib.sha256(f"{uuid.getnode()} {settings.store.resolve()}".encode()).hexdigest()[:16]
        self._session = Session(settings.broker, site=settings.site, client_id=f"coordinator-{identity}")
        self._store.on_stored(self._acknowledge)
        self._subscribe()
        opened.callback(self._session.close)
        self._session.start()

    def _base_url(self) -> str:
        http = self._settings.http
        if http.advertise is not None:
            return http.advertise
        if http.host in _ANYWHERE:
            raise DeclarationError(
                f"http.host {http.host} listens on every interface, so agents cannot guess the address: "
                "give http.advertise, for instance http://192.168.1.10:8484"
            )
        return self._http.url

    def _subscribe(self) -> None:
        self._on(STATUS, lambda message: (message.node,))
        self._on(PROFILE, lambda message: (message.node, message.model))
        self._on(UNPROFILED, lambda message: (message.node, message.model))
        self._on(LINK, lambda message: (message.src, message.dst))
        self._on(LOAD, lambda message: (message.node,))
        self._on(READY, lambda message: (message.deployment, message.node))
        self._on(INFERENCE, lambda message: (message.deployment, message.origin))
        self._on(PLAN, lambda message: (message.deployment,))
        self._keep(ENERGY, lambda message: (message.node,))
        self._keep(MISS, lambda message: (message.node,))
        self._session.on(DEPLOYMENT, self._hear_notice)
        self._session.on_connected(lambda: self._queue(Connected(self._clock())))

    def _on(self, topic: Topic[M], owner: Callable[[M], tuple[str, ...]]) -> None:
        def hear(incoming: Incoming[Any]) -> None:
            # A message counts only under the topic of whom it speaks of.
            message, now = incoming.message, self._clock()
            if owner(message) == incoming.levels:
                if isinstance(message, Telemetry):
                    self._store.record(message, now)
                # The broker may have kept an estimate for days: its age is told by the clock of its node.
                kept = incoming.retained and isinstance(message, LinkReading | NodeLoad)
                self._queue(Received(message, min(now, message.at) if kept else now))

        self._session.on(topic, hear)

    def _hear_notice(self, incoming: Incoming[DeploymentNotice]) -> None:
        # The broker sends in order: our own notice comes back after all that it had retained for us.
        if not incoming.retained:
            self._queue(_CaughtUp())

    def _keep(self, topic: Topic[M], owner: Callable[[M], tuple[str, ...]]) -> None:
        """Store what comes in on a topic, of which the state knows nothing."""

        def hear(incoming: Incoming[Any]) -> None:
            if owner(incoming.message) == incoming.levels:
                self._store.record(incoming.message, self._clock())

        self._session.on(topic, hear)

    def _acknowledge(self, stored: tuple[StoredUpTo, ...]) -> None:
        if not self._session.connected:
            return  # a node that is not told sends again, and is told then
        for each in stored:
            self._session.publish(
                STORED,
                TelemetryStored(node=each.node, session=each.session, sequence=each.sequence, term=0),
                each.node,
            )

    def _queue(self, event: Received | Connected | _CaughtUp) -> None:
        try:
            self._events.put(event, timeout=QUEUE_TIMEOUT_S)
        except queue.Full:
            self._lost_events += 1

    def _next_events(self) -> list[Received | Connected | _CaughtUp]:
        """What has come since the last call: a burst is taken whole, so that it makes one plan and not many."""
        events: list[Received | Connected | _CaughtUp] = []
        try:
            events.append(self._events.get(timeout=TICK_S))
            deadline = time.monotonic() + BURST_S
            while len(events) < MAX_BATCH:
                events.append(self._events.get(timeout=max(0.0, deadline - time.monotonic())))
        except queue.Empty:
            pass
        return events

    def _take(self, event: Received | Connected | _CaughtUp) -> None:
        match event:
            case Received(message, at):
                if isinstance(message, NodeStatus):
                    self._store.record(message, at)
                self._state = apply(event, self._state)
            case Connected():
                self._state = apply(event, self._state)
                self._republish()
            case _CaughtUp():
                self._caught_up = True

    def _republish(self) -> None:
        for deployment in self._state.deployments.values():
            declared = deployment.declared
            notice = DeploymentNotice(
                deployment=declared.name,
                model=declared.model.reference,
                origin=declared.origin,
                strategy=declared.strategy,
            )
            self._session.publish(DEPLOYMENT, notice, declared.name)
            if deployment.plan is not None:
                self._session.publish(PLAN, deployment.plan, declared.name)

    def _act(self) -> None:
        now = self._clock()
        for death in presumed_dead(self._state, now):
            self._take(Received(death, now))
        for instruction in decide(self._state, now, self._settings.planning):
            event: Event
            if isinstance(instruction, PublishPlan):
                plan = instruction.plan
                self._session.publish(PLAN, plan, plan.deployment)
                self._store.record(plan, now)
                event = Received(plan, now)
            else:
                event = instruction
            self._state = apply(event, self._state)
