"""The requests that begin at this node: each is answered once, or failed with a reason, whatever becomes of its stages.

The pipeline carries tensors; what is done about those that are overdue is decided in `edge_agent.misses`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from broker.messages import InferenceReport, Plan, PowerModel, StageMiss, TransferReport
from edge_agent.clock import MACHINE_CLOCK
from edge_agent.misses import Misses
from edge_agent.packing import Inputs, input_fault, inputs_bytes, packed_inputs
from edge_agent.patience import grace_ns
from edge_agent.request import (
    Finished,
    Request,
    answered_report,
    failed_report,
    last_seen,
    new_request,
    same_plan,
    stage_reports,
)
from edge_agent.request_book import Busy, Limits, RequestBook
from edge_agent.rescue import LocalCompute, Plans, Rescuer, Then, do_all
from edge_agent.routes import leading_stop, named_nodes, route
from edge_agent.watch import Watch
from edge_agent.wire import Route, TensorsMessage
from models.errors import ModelError
from models.runtime import Segment

log = logging.getLogger("splitrail.agent")

PATIENT_SHARE: Final = 0.5  # of a request's time is spent on its plan at most; in the rest it is finished otherwise
PATIENCE_NS: Final = 5_000_000_000  # how long a request that nobody can finish now waits for another plan


class Origin:
    """Keeps each request until its result and the timing of all its legs are there, or it has failed.

    A stage that does not go on in the time that `edge_agent.patience` allows, fails, or is of a node that has gone, is
    missed: the origin finishes the request with a segment of its own that is loaded (`segment_of`), or moves it to
    another plan that is ready, or lets it wait a while for one. `missed` hears of each such node at once, and new
    requests avoid it until it is heard from. `begin(plan, message, may_compute)` starts the pipeline at hop 0; it may
    compute on the thread that submits a request. `ask(node)` asks for a sign of life. `finish` callbacks run on the
    thread that brought the end. May be used by several threads.
    """

    def __init__(
        self,
        node: str,
        *,
        plans: Plans,
        begin: Callable[[Plan, TensorsMessage, bool], None],
        compute: LocalCompute,
        segment_of: Callable[[str, int, int], Segment | None],
        power: Callable[[], Mapping[str, PowerModel]],
        limits: Limits,
        missed: Callable[[StageMiss], None],
        ask: Callable[[str], None],
        is_loading: Callable[[str], bool],
        round_trip_ms: Callable[[str], float | None] = lambda _: None,
        clock: Callable[[], float] = MACHINE_CLOCK.now,
        emulated: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`emulated` names the nodes that are, for the reports; `round_trip_ms` to a node is None where not known."""
        self._node = node
        self._plans = plans
        self._begin = begin
        self._power = power
        self._emulated = emulated
        self._limits = limits
        self._round_trip_ms = round_trip_ms
        self._clock = clock
        self._lock = threading.Lock()
        self._requests = RequestBook(limits)
        self._watch = Watch(
            node,
            is_loading,
            time.monotonic_ns(),
            longest_ns=round(limits.timeout_s * PATIENT_SHARE * 1e9),
            is_patient=not limits.failover,
        )
        self._rescuer = Rescuer(
            node,
            lock=self._lock,
            requests=self._requests,
            watch=self._watch,
            plans=plans,
            compute=compute,
            segment_of=segment_of,
            power=power,
            emulated=emulated,
            longest_wait_s=limits.longest_wait_s,
            start=self._start,
        )
        self._misses = Misses(
            node,
            requests=self._requests,
            watch=self._watch,
            rescuer=self._rescuer,
            missed=missed,
            ask=ask,
            clock=clock,
        )

    @property
    def in_flight(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._requests)

    def in_flight_under(self, plan: Plan) -> int:
        """How many of them run under a plan."""
        with self._lock:
            return self._requests.under(plan)

    def refusal(self, deployment: str, waiting: int = 0, size_bytes: int = 0) -> Busy | None:
        """Why a request of `size_bytes` that comes after `waiting` others is not taken now; None if it is."""
        with self._lock:
            return self._requests.refusal(deployment, waiting, size_bytes)

    def wait_ms(self, deployment: str, waiting: int) -> float:
        """How long a request would wait that comes after `waiting` others and those that are in flight."""
        with self._lock:
            return self._requests.wait_ms(deployment, waiting)

    def submit(self, deployment: str, inputs: Inputs, finish: Callable[[Finished], None]) -> None:
        """Start a request under the active plan; without one, or where this node is busy, it fails at once."""
        plan = self._plans.active(deployment)
        if plan is None:
            reason = f"no plan of {deployment} is ready yet at {self._node}; `splitrail status` shows why"
            finish(Finished(None, self._never_begun(deployment, reason)))
            return
        with self._lock:
            busy = self._requests.refusal(deployment, 0, inputs_bytes(inputs))
            then = self._admit(new_request(plan, inputs, finish, self._clock())) if busy is None else None
        if busy is not None:
            finish(Finished(None, self._never_begun(deployment, busy.reason), busy.wait_ms))
        elif then is not None:
            then()

    def handing_on(self, message: TensorsMessage) -> None:
        """Tensors of a request leave the origin; the first are kept while there is room, for finishing it here."""
        with self._lock:
            request = self._requests.under_way(message.route.request)
            if request is None:
                return
            request.handed_on(message.route.hop, time.monotonic_ns())
            is_first = request.leading is None and leading_stop(request.plan) > 0
            if is_first and self._requests.has_room(sum(tensor.nbytes for tensor in message.tensors)):
                request.leading = message

    def handed_on(self, where: Route) -> None:
        """They have left: what is kept of them becomes the origin's own, for they may be the runtime's memory."""
        with self._lock:
            request = self._requests.get(where.request)
            if request is not None:
                request.own_leading()

    def arrived(self, where: Route) -> None:
        """Tensors of a request have come back to the origin."""
        with self._lock:
            self._passed(where)

    def delivered(self, message: TensorsMessage) -> None:
        """The result of a request has come; what has ended already, or belongs to another attempt, is ignored."""
        now_ns = time.monotonic_ns()
        with self._lock:
            request = self._requests.under_way(message.route.request)
            if request is None:
                self._passed(message.route)
                return
            if any(record.hop >= len(route(request.plan)) for record in message.stages):
                log.warning("a result of %s tells of a hop that its plan lacks: ignored", request.plan.deployment)
                return
            self._passed(message.route)
            request.result, request.finished_ns, request.phase = message, now_ns, "answered"
            self._requests.answered(request, now_ns)
            self._watch.answered(named_nodes(request.plan))
        self._end_if_complete(request)

    def transferred(self, where: Route, src: str, size_bytes: int, transfer_ms: float) -> None:
        """The hop `where` has been timed by its sender `src`; what is no hop of that node and request is ignored."""
        with self._lock:
            request = self._requests.get(where.request)
            hops = route(request.plan) if request is not None else ()
            if request is None:
                self._passed(where)
            if request is None or not 0 < where.hop < len(hops) or hops[where.hop - 1].node != src:
                return
            self._passed(where)
            request.transfers[where.hop] = TransferReport(
                src=src, dst=hops[where.hop].node, size_bytes=size_bytes, transfer_ms=transfer_ms
            )
        self._end_if_complete(request)

    def failed(self, where: Route, reason: str) -> None:
        """A request cannot go on under its plan: the newest takes it over, else the stage that failed is missed.

        One whose image cannot be read, which a stage may be the first to see, fails, and no stage is missed.
        """
        with self._lock:
            request = self._requests.under_way(where.request)
        fault = input_fault(request.inputs) if request is not None else None
        with self._lock:
            request = self._requests.under_way(where.request)
            if request is None:
                return
            hops = route(request.plan)
            node = hops[where.hop].node if where.hop < len(hops) else self._node
            newest = self._plans.active(request.plan.deployment)
            if fault is not None:
                then = self._fail(request, fault)
            elif newest is not None and not same_plan(newest, request.plan) and self._rescuer.may_move(request, newest):
                then = self._rescuer.move(request, newest)
            elif node == self._node:
                then = self._fail(request, reason)
            else:
                then = self._misses.failed(request, where.hop, node, reason)
        then()

    def lose(self, node: str) -> None:
        """A node has gone: the requests that still need it are finished otherwise at once."""
        with self._lock:
            self._watch.lose(node)
            needing = [each for each in self._requests if each.phase == "under way" and each.still_needs(node)]
            thens = [self._rescuer.rescue(request, self._watch.fault_of(node))[1] for request in needing]
        do_all(thens)

    def reborn(self, node: str) -> None:
        """A node that had gone is there again; it takes tensors when it is regained, or has had its time to load."""
        with self._lock:
            self._watch.reborn(node, time.monotonic_ns())

    def regain(self, node: str) -> None:
        """A node has its segments, so nothing is held against it."""
        with self._lock:
            self._watch.regain(node)

    def heard(self, node: str) -> None:
        """A sign of life has come from a node."""
        with self._lock:
            self._watch.heard(node, time.monotonic_ns())

    def sweep(self) -> float:
        """End what has waited too long, try anew what waits for a plan; the seconds until the next is due."""
        now_ns = time.monotonic_ns()
        with self._lock:
            self._watch.look(self._requests, now_ns)
            thens = [then for request in self._requests if (then := self._due(request, now_ns))]
            left_ms = [left for request in self._requests if (left := self._left_ms(request, now_ns)) is not None]
        do_all(thens)
        return min(left_ms, default=1e3) / 1e3

    # --- with the lock held

    def _passed(self, where: Route) -> None:
        now_ns = time.monotonic_ns()
        request = self._requests.under_way(where.request)
        if request is None:
            self._watch.passed_late(where.request, where.hop, now_ns)
        else:
            self._watch.passed(request, where.hop, self._requests, now_ns)

    def _admit(self, request: Request) -> Then:
        self._requests.add(request)
        avoided = self._watch.avoided & named_nodes(request.plan)
        if not avoided:
            return self._start(request)
        outcome, then = self._rescuer.rescue(request, self._watch.fault_of(min(avoided)))
        if outcome == "waits for a plan" and not avoided & self._watch.gone:
            # Nobody else can do it, so it may as well show whether the suspect goes on again.
            request.phase = "under way"
            return self._start(request)
        return then

    def _due(self, request: Request, now_ns: int) -> Then | None:
        """What the time that has passed asks for."""
        if request.phase == "answered":
            return self._answer(request) if now_ns - request.finished_ns > self._grace_ns(request) else None
        if now_ns - request.started_ns > self._limits.timeout_s * 1e9:
            cause = request.trouble or last_seen(request)
            return self._fail(request, f"no answer within {self._limits.timeout_s:g} s; {cause}")
        if request.phase == "stranded":
            outcome, then = self._rescuer.rescue(request, request.trouble)
            if outcome == "waits for a plan" and now_ns - request.stranded_ns > PATIENCE_NS:
                return self._fail(request, f"{request.trouble}, and no other plan is ready")
            return then
        return self._misses.overdue(request, now_ns)

    def _left_ms(self, request: Request, now_ns: int) -> float | None:
        """How long it has until something is due; None where that is not known."""
        if request.phase == "answered":
            return max(0.0, (request.finished_ns + self._grace_ns(request) - now_ns) / 1e6)
        return self._watch.left_ms(request, now_ns)

    def _grace_ns(self, request: Request) -> int:
        """How long the answer waits for the times of its transfers."""
        return grace_ns([self._round_trip_ms(node) for node in named_nodes(request.plan) - {self._node}])

    def _fail(self, request: Request, reason: str) -> Then:
        self._requests.end(request)
        return lambda: request.finish(Finished(None, failed_report(request, reason, self._emulated())))

    def _answer(self, request: Request) -> Then | None:
        result = request.result
        if result is None or not self._requests.end(request):
            return None
        stages = stage_reports(request.plan, result.stages)
        return lambda: request.finish(
            Finished(result.tensors, answered_report(request, stages, self._power(), self._emulated(), fallback=None))
        )

    def _start(self, request: Request) -> Then:
        plan, here, inputs = request.plan, request.first_route(), request.inputs
        is_submitting = request.attempts == 1
        return lambda: self._begin_packed(plan, here, inputs, may_compute=is_submitting)

    # --- without

    def _begin_packed(self, plan: Plan, here: Route, inputs: Inputs, *, may_compute: bool) -> None:
        first = route(plan)[0]
        try:
            message = TensorsMessage(here, packed_inputs(inputs, first.codec, first.scales))
        except ModelError as error:
            self.failed(here, f"{self._node}: {error}")
        else:
            self._begin(plan, message, may_compute)

    def _end_if_complete(self, request: Request) -> None:
        with self._lock:
            then = self._answer(request) if request.is_complete else None
        if then is not None:
            then()

    def _never_begun(self, deployment: str, reason: str) -> InferenceReport:
        return InferenceReport(
            deployment=deployment,
            epoch=0,
            request_id=os.urandom(16).hex(),
            origin=self._node,
            at=self._clock(),
            latency_ms=0.0,
            error=reason,
            emulated=self._node in self._emulated(),
        )
