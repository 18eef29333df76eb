"""Stages that did not go on: who is to blame, what becomes of the requests that waited for them, and who hears of it.

Not locked: `edge_agent.origin` does that. What is overdue, and who is silent, `edge_agent.watch` says; what becomes of
a request is `edge_agent.rescue`'s part.
"""

import logging
import time
from collections.abc import Callable, Iterable

from broker.messages import StageMiss
from edge_agent.patience import Leg
from edge_agent.request import Request
from edge_agent.request_book import RequestBook
from edge_agent.rescue import Rescuer, Then, do_all
from edge_agent.watch import Blame, Watch, line, way_to

log = logging.getLogger("splitrail.agent")


class Misses:
    """What it returns is to be called without the lock: `missed` hears of each miss, `ask(node)` asks for a sign."""

    def __init__(
        self,
        node: str,
        *,
        requests: RequestBook,
        watch: Watch,
        rescuer: Rescuer,
        missed: Callable[[StageMiss], None],
        ask: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._requests = requests
        self._watch = watch
        self._rescuer = rescuer
        self._missed = missed
        self._ask = ask
        self._clock = clock

    def overdue(self, request: Request, now_ns: int) -> Then | None:
        """Give a leg up when its time is over; in the middle of it, ask its ends for a sign of life."""
        left_ms, leg = self._watch.left_ms(request, now_ns), request.leg
        if leg is None or left_ms is None:
            return None
        if left_ms <= 0.0:
            return self._miss_line(request, leg)
        if request.asked_ns is None and left_ms < self._watch.allowed_ms(leg) / 2:
            request.asked_ns = now_ns
            ends = {leg.src, leg.dst} - {self._node}
            return lambda: self._ask_all(ends)
        return None

    def failed(self, request: Request, hop: int, node: str, reason: str) -> Then:
        """The node of a hop has the tensors, and says why it cannot go on."""
        leg = way_to(request, hop)
        return self._miss(request, leg, Blame(node, leg.src, delivered=True), reason)

    def _miss_line(self, request: Request, leg: Leg) -> Then:
        """The first in a line has been missed, and those behind it with it."""
        blame = self._watch.blame(request, leg)
        did = "has the tensors and does not go on" if blame.delivered else f"does not get the tensors from {leg.src}"
        reason = f"{blame.suspect} {did} within {self._watch.allowed_ms(leg):.0f} ms"
        behind = line(self._requests, leg, request.since_ns or 0)
        first = self._miss(request, leg, blame, reason)
        others = [self._rescuer.rescue(other, reason)[1] for other in behind if other is not request]
        return lambda: do_all([first, *others])

    def _miss(self, request: Request, leg: Leg, blame: Blame, reason: str) -> Then:
        now_ns, plan = time.monotonic_ns(), request.plan
        waited_ms = (now_ns - request.patient_from_ns) / 1e6 if request.since_ns is not None else 0.0
        allowed_ms = self._watch.allowed_ms(leg)
        self._watch.missed(request, leg, blame.suspect, now_ns)
        outcome, then = self._rescuer.rescue(request, reason)
        log.warning("%s, plan %d of %s: %s", reason, plan.epoch, plan.deployment, outcome)
        miss = StageMiss(
            node=self._node,
            deployment=plan.deployment,
            epoch=plan.epoch,
            at=self._clock(),
            src=blame.src,
            suspect=blame.suspect,
            delivered=blame.delivered,
            waited_ms=max(0.0, waited_ms),
            allowed_ms=allowed_ms,
            outcome=outcome,
        )
        return lambda: do_all([lambda: self._missed(miss), then])

    def _ask_all(self, nodes: Iterable[str]) -> None:
        for node in nodes:
            self._ask(node)
