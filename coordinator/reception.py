"""What comes in from a site: checked for whom it speaks of, stored if it is telemetry, and queued as events.

What the events do to the state is `coordinator.state`'s; the topic `leader` is `coordinator.election`'s.
"""

import logging
import queue
import time
from collections.abc import Callable
from typing import Any, Final

from broker.messages import DeploymentNotice, NodeProfile, NodeStatus, Plan, PlanReady, ProfileFailure, Telemetry
from broker.session import Incoming, Session
from broker.topics import (
    DEPLOYMENT,
    ENERGY,
    INFERENCE,
    LINK,
    LOAD,
    MACHINE,
    MISS,
    PLAN,
    PROFILE,
    READY,
    SPOOL,
    STATUS,
    UNPROFILED,
    M,
    Topic,
)
from coordinator.state import Connected, Received
from coordinator.telemetry.point_time import arrival_of_kept
from coordinator.telemetry.store import TelemetryStore

MAX_QUEUED: Final = 10_000
MAX_BATCH: Final = 500
TICK_S: Final = 0.25
BURST_S: Final = 0.05
QUEUE_TIMEOUT_S: Final = 1.0
"""How long what comes in waits for room in the queue, and the broker's connection with it; then it is dropped."""
NEWS_S: Final = 5.0
"""Telemetry that waited in a spool for longer is stored and says nothing of the present."""

Recorded: Final = Telemetry | NodeProfile | ProfileFailure | PlanReady
"""What is stored as it comes; of plans and of who comes and goes, the service stores what counts."""

log = logging.getLogger("splitrail.coordinator")


class Reception:
    """Subscribes to a site's topics; what the broker has kept arrives in this order after every connection.

    `on_term` is called with the term of each plan and notice, `on_notice` with each notice that was published just now,
    both on the network thread.
    """

    def __init__(
        self,
        session: Session,
        store: TelemetryStore,
        *,
        clock: Callable[[], float],
        on_term: Callable[[int], None],
        on_notice: Callable[[DeploymentNotice], None],
    ) -> None:
        self._session = session
        self._store = store
        self._clock = clock
        self._on_term = on_term
        self._on_notice = on_notice
        self._events: queue.Queue[Received | Connected] = queue.Queue(MAX_QUEUED)
        self._lost = 0
        self._on(STATUS, lambda message: (message.node,))
        self._on(PROFILE, lambda message: (message.node, message.model))
        self._on(UNPROFILED, lambda message: (message.node, message.model))
        self._on(LINK, lambda message: (message.src, message.dst))
        self._on(LOAD, lambda message: (message.node,))
        self._on(MACHINE, lambda message: (message.node,))
        self._on(SPOOL, lambda message: (message.node,))
        self._on(READY, lambda message: (message.deployment, message.node))
        self._on(INFERENCE, lambda message: (message.deployment, message.origin))
        self._on(MISS, lambda message: (message.node,))
        self._on(ENERGY, lambda message: (message.node,))
        self._on(PLAN, lambda message: (message.deployment,))
        session.on(DEPLOYMENT, self._hear_notice)
        session.on_connected(lambda: self._queue(Connected(self._clock())))

    @property
    def lost(self) -> int:
        """How many events were dropped because too many waited; what of them was telemetry is stored all the same."""
        return self._lost

    @property
    def waiting(self) -> int:
        """How many events have come and were not taken yet."""
        return self._events.qsize()

    def next_events(self) -> list[Received | Connected]:
        """What has come since the last call: a burst is taken whole, so that it makes one plan and not many."""
        events: list[Received | Connected] = []
        try:
            events.append(self._events.get(timeout=TICK_S))
            if self._events.qsize() < MAX_BATCH:
                time.sleep(BURST_S)  # to be woken for each would cost more than to take them
            while len(events) < MAX_BATCH:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return events

    def _on(self, topic: Topic[M], owner: Callable[[M], tuple[str, ...]]) -> None:
        def hear(incoming: Incoming[Any]) -> None:
            # A message counts only under the topic of whom it speaks of.
            message, now = incoming.message, self._clock()
            if owner(message) != incoming.levels:
                return
            if isinstance(message, Plan | NodeStatus):
                # A birth tells of it where the broker and our store have lost it: agents follow nobody below.
                self._on_term(message.term)
            if isinstance(message, Recorded) and not (isinstance(message, PlanReady) and message.ready):
                self._store.record(message, arrival_of_kept(message, now) if incoming.retained else now)
            if isinstance(message, Telemetry) and message.mark is not None and message.mark.age_s > NEWS_S:
                return
            self._queue(Received(message, now, incoming.retained))

        self._session.on(topic, hear)

    def _hear_notice(self, incoming: Incoming[DeploymentNotice]) -> None:
        self._on_term(incoming.message.term)
        if not incoming.retained:
            self._on_notice(incoming.message)

    def _queue(self, event: Received | Connected) -> None:
        try:
            self._events.put(event, timeout=QUEUE_TIMEOUT_S)
        except queue.Full:
            if not self._lost:
                log.warning("messages come in faster than they are taken: some are dropped, `splitrail status` counts")
            self._lost += 1
