"""The requests that begin at this node: each is answered once, or failed with a reason, whatever becomes of its stages.

The pipeline carries tensors; how long to wait is `edge_agent.patience`'s part, whom to avoid `edge_agent.suspicion`'s.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from broker.messages import InferenceReport, Plan, PowerModel, StageMiss, StageReport, TransferReport
from edge_agent.clock import MACHINE_CLOCK
from edge_agent.errors import ExecutorBusyError
from edge_agent.executor import Outcome
from edge_agent.overload import Paces
from edge_agent.patience import Experience, Leg
from edge_agent.request import (
    Arrays,
    Finished,
    Request,
    answered_report,
    failed_report,
    last_seen,
    leading_records,
    new_request,
    same_plan,
    stage_reports,
)
from edge_agent.routes import leading_stop, named_nodes, ops_of, route
from edge_agent.suspicion import Suspects
from edge_agent.wire import Route, TensorsMessage
from models.runtime import Segment

__all__ = ["Arrays", "Busy", "Finished", "Limits", "LocalCompute", "Origin", "Plans"]

log = logging.getLogger("splitrail.agent")

REPORT_GRACE_NS: Final = 1_000_000_000  # how long a report waits for the senders' records after its result
PATIENCE_NS: Final = 5_000_000_000  # how long a request that nobody can finish now waits for another plan
STOOD_STILL_NS: Final = 500_000_000  # a sweep that comes so much later than due: this process did not run meanwhile
MOST_ATTEMPTS: Final = 6
MOST_IN_FLIGHT: Final = 64  # as many as an executor lets wait
MOST_BYTES: Final = 256 * 2**20  # of the tensors that requests in flight hold here
LATE_KEPT: Final = 256

Then = Callable[[], None]
"""What is to be done once the lock is free."""
Rescue = Literal["finished at the origin", "moved to another plan", "waits for a plan"]


class Plans(Protocol):
    """What the origin asks of the plans that this node knows."""

    def active(self, deployment: str) -> Plan | None:
        """The plan that new requests start under."""

    def ready_plans(self, deployment: str) -> tuple[Plan, ...]:
        """All plans that requests can run under, the newest first."""


class LocalCompute(Protocol):
    """What the origin needs of its own executor to finish a request alone."""

    @property
    def backlog_s(self) -> float:
        """How long what waits already will take."""

    def submit(self, segment: Segment, inputs: Arrays, arrived_ns: int, done: Callable[[Outcome], None]) -> None:
        """As Executor.submit."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a request may take, and how long it may have to wait for others to be taken at all."""

    timeout_s: float
    longest_wait_s: float


@dataclass(frozen=True, slots=True)
class Busy:
    """Why a request is not taken: what waits before it, and for how long it would have."""

    reason: str
    wait_ms: float


@dataclass(frozen=True, slots=True)
class _Late:
    """A leg that was given up, should a sign of it come yet."""

    leg: Leg
    since_ns: int
    suspect: str


class Origin:
    """Keeps each request until its result and the timing of all its legs are there, or it has failed.

    A stage that does not go on in the time that `edge_agent.patience` allows, fails, or is of a node that has gone, is
    missed: the origin finishes the request with a segment of its own that is loaded (`segment_of`), or moves it to
    another plan that is ready, or lets it wait a while for one. `missed` hears of each such node at once, and new
    requests avoid it until it is heard from. `begin(plan, message)` starts the pipeline at hop 0; `ask(node)` asks
    for a sign of life. `finish` callbacks run on the thread that brought the end. May be used by several threads.
    """

    def __init__(
        self,
        node: str,
        *,
        plans: Plans,
        begin: Callable[[Plan, TensorsMessage], None],
        compute: LocalCompute,
        segment_of: Callable[[str, int, int], Segment | None],
        power: Callable[[], Mapping[str, PowerModel]],
        limits: Limits,
        missed: Callable[[StageMiss], None],
        ask: Callable[[str], None],
        is_loading: Callable[[str], bool],
        clock: Callable[[], float] = MACHINE_CLOCK.now,
    ) -> None:
        self._node = node
        self._plans = plans
        self._begin = begin
        self._compute = compute
        self._segment_of = segment_of
        self._power = power
        self._limits = limits
        self._missed = missed
        self._ask = ask
        self._is_loading = is_loading
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: dict[bytes, Request] = {}
        self._gone: set[str] = set()
        self._heard_ns: dict[str, int] = {}
        self._suspects = Suspects()
        self._experience = Experience()
        self._paces = Paces()
        self._late: dict[bytes, _Late] = {}
        self._swept_ns = time.monotonic_ns()

    @property
    def in_flight(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._requests)

    def in_flight_under(self, plan: Plan) -> int:
        """How many of them run under a plan."""
        with self._lock:
            return sum(
                request.plan.deployment == plan.deployment and same_plan(request.plan, plan)
                for request in self._requests.values()
            )

    def refusal(self, deployment: str, waiting: int = 0, size_bytes: int = 0) -> Busy | None:
        """Why a request of `size_bytes` that comes after `waiting` others is not taken now; None if it is."""
        with self._lock:
            wait_s = self._paces.wait_s(deployment, waiting + self._in_flight_of(deployment))
            in_flight = len(self._requests)
            held_bytes = sum(request.kept_bytes for request in self._requests.values())
        would = f"busy: it would have waited {wait_s:.1f} s"
        if wait_s > self._limits.longest_wait_s:
            return Busy(f"{would}, more than longest_wait_s {self._limits.longest_wait_s:g} s", wait_s * 1e3)
        if in_flight >= MOST_IN_FLIGHT:
            return Busy(f"{would}: {in_flight} requests are under way already", wait_s * 1e3)
        if in_flight and held_bytes + size_bytes > MOST_BYTES:
            return Busy(f"{would}: requests under way hold {held_bytes / 1e6:.0f} MB already", wait_s * 1e3)
        return None

    def wait_ms(self, deployment: str, waiting: int) -> float:
        """How long a request would wait that comes after `waiting` others and those that are in flight."""
        with self._lock:
            return self._paces.wait_s(deployment, waiting + self._in_flight_of(deployment)) * 1e3

    def submit(self, deployment: str, inputs: Arrays, finish: Callable[[Finished], None]) -> None:
        """Start a request under the active plan; without one, or where this node is busy, it fails at once."""
        plan = self._plans.active(deployment)
        if plan is None:
            reason = f"no plan of {deployment} is ready yet at {self._node}; `splitrail status` shows why"
            finish(Finished(None, self._never_begun(deployment, reason)))
            return
        busy = self.refusal(deployment, size_bytes=sum(tensor.nbytes for tensor in inputs))
        if busy is not None:
            finish(Finished(None, self._never_begun(deployment, busy.reason), busy.wait_ms))
            return
        request = new_request(plan, inputs, finish, self._clock())
        with self._lock:
            self._requests[request.attempt] = request
            avoided = self._avoided() & named_nodes(plan)
            then = self._rescue(request, f"{min(avoided)} {self._fault_of(min(avoided))}")[1] if avoided else None
            if request.phase == "stranded" and not avoided & self._gone:
                # Nobody else can do it, so it may as well show whether the suspect goes on again.
                request.phase, then = "under way", None
        (then or self._start(request))()

    def handed_on(self, message: TensorsMessage) -> None:
        """Tensors of a request leave the origin; the first are kept while there is room, for finishing it here."""
        with self._lock:
            request = self._current(message.route)
            if request is None:
                return
            request.handed_on(message, time.monotonic_ns())
            if request.leading is None and leading_stop(request.plan) > 0 and self._has_room(message):
                request.leading = message

    def arrived(self, where: Route) -> None:
        """Tensors of a request have come back to the origin."""
        self._sign(where)

    def delivered(self, message: TensorsMessage) -> None:
        """The result of a request has come; what has ended already, or belongs to another attempt, is ignored."""
        self._sign(message.route)
        now_ns = time.monotonic_ns()
        with self._lock:
            request = self._current(message.route)
            if request is None:
                return
            if any(record.hop >= len(route(request.plan)) for record in message.stages):
                log.warning("a result of %s tells of a hop that its plan lacks: ignored", request.plan.deployment)
                return
            request.result, request.finished_ns, request.phase = message, now_ns, "answered"
            self._paces.answered(request.plan.deployment, request.started_ns / 1e9, now_ns / 1e9)
            for node in named_nodes(request.plan):
                self._suspects.answered(node)
        self._end_if_complete(request)

    def transferred(self, where: Route, src: str, size_bytes: int, transfer_ms: float) -> None:
        """The hop `where` has been timed by its sender `src`; what is no hop of a request of ours is ignored."""
        self._sign(where)
        with self._lock:
            request = self._requests.get(where.request)
            hops = route(request.plan) if request is not None else ()
            if request is None or not 0 < where.hop < len(hops):
                return
            request.transfers[where.hop] = TransferReport(
                src=src, dst=hops[where.hop].node, size_bytes=size_bytes, transfer_ms=transfer_ms
            )
        self._end_if_complete(request)

    def failed(self, where: Route, reason: str) -> None:
        """A request cannot go on under its plan: the newest takes it over, else the stage that failed is missed."""
        with self._lock:
            request = self._current(where)
            if request is None:
                return
            hops = route(request.plan)
            node = hops[where.hop].node if where.hop < len(hops) else self._node
            newest = self._plans.active(request.plan.deployment)
            if newest is not None and not same_plan(newest, request.plan) and self._may_move(request, newest):
                then = self._move(request, newest)
            elif node == self._node:
                then = self._fail(request, reason)
            else:
                then = self._miss(request, self._leg_into(request, where.hop), node, delivered=True, reason=reason)
        then()

    def lose(self, node: str) -> None:
        """A node has gone: the requests that still need it are finished otherwise at once."""
        with self._lock:
            self._gone.add(node)
            self._heard_ns.pop(node, None)
            thens = [
                self._rescue(request, f"{node} has gone")[1]
                for request in list(self._requests.values())
                if request.phase == "under way" and request.still_needs(node)
            ]
        _do(thens)

    def regain(self, node: str) -> None:
        """A node that had gone is there again."""
        with self._lock:
            self._gone.discard(node)
            self._suspects.answered(node)

    def heard(self, node: str) -> None:
        """A sign of life has come from a node."""
        now_ns = time.monotonic_ns()
        with self._lock:
            if node not in self._gone:
                self._heard_ns[node] = now_ns
            self._suspects.heard(node, now_ns / 1e9)

    def sweep(self) -> float:
        """End what has waited too long, try anew what waits for a plan; the seconds until the next is due."""
        now_ns = time.monotonic_ns()
        with self._lock:
            still_ns, self._swept_ns = now_ns - self._swept_ns, now_ns
            if still_ns > STOOD_STILL_NS:
                # What came in meanwhile has not been looked at yet.
                for request in self._requests.values():
                    request.patient_from_ns += still_ns
            thens = [then for request in list(self._requests.values()) if (then := self._due(request, now_ns))]
            due_ms = [self._patience_ms(request, now_ns) for request in self._requests.values()]
        _do(thens)
        return min((ms for ms in due_ms if ms is not None), default=1e3) / 1e3

    # --- with the lock held

    def _due(self, request: Request, now_ns: int) -> Then | None:
        """What the time that has passed asks for; a stage is asked for a sign of life in the middle of its time."""
        if request.phase == "answered":
            return self._answer(request) if now_ns - request.finished_ns > REPORT_GRACE_NS else None
        if now_ns - request.started_ns > self._limits.timeout_s * 1e9:
            cause = request.trouble or last_seen(request)
            return self._fail(request, f"no answer within {self._limits.timeout_s:g} s; {cause}")
        return self._rescued(request, now_ns) if request.phase == "stranded" else self._overdue(request, now_ns)

    def _rescued(self, request: Request, now_ns: int) -> Then:
        outcome, then = self._rescue(request, request.trouble)
        if outcome == "waits for a plan" and now_ns - request.stranded_ns > PATIENCE_NS:
            return self._fail(request, f"{request.trouble}, and no other plan is ready")
        return then

    def _overdue(self, request: Request, now_ns: int) -> Then | None:
        left_ms, leg = self._patience_ms(request, now_ns), request.leg
        if leg is None or left_ms is None:
            return None
        if left_ms <= 0.0:
            return self._miss_line(request, leg)
        if not request.has_asked and left_ms < (self._experience.allowed_ms(leg) or 0.0) / 2:
            request.has_asked = True
            ends = {leg.src, leg.dst} - {self._node}
            return lambda: _do([lambda end=end: self._ask(end) for end in ends])  # type: ignore[misc]  # mypy cannot type a default in a lambda
        return None

    def _patience_ms(self, request: Request, now_ns: int) -> float | None:
        """How long the awaited leg may still take; None where nothing is awaited, or nothing of it predicted."""
        leg = request.leg
        if request.phase != "under way" or leg is None:
            return None
        if any(self._is_loading(node) for node in (leg.src, leg.dst, self._node)):
            # A process that loads stands still.
            request.patient_from_ns = now_ns
        allowed_ms = self._experience.allowed_ms(leg)
        return None if allowed_ms is None else allowed_ms - (now_ns - request.patient_from_ns) / 1e6

    def _sign(self, where: Route) -> None:
        """Tensors have reached a hop: those behind them in the same line wait from now on."""
        now_ns = time.monotonic_ns()
        with self._lock:
            request = self._current(where)
            if request is None:
                late = self._late.get(where.request)
                if late is not None and where.hop >= late.leg.hop:
                    del self._late[where.request]
                    self._experience.measured(late.leg, (now_ns - late.since_ns) / 1e6)
                    self._suspects.heard(late.suspect, now_ns / 1e9)
                return
            leg, since_ns = request.leg, request.since_ns
            request.passed(where.hop, now_ns)
            if leg is None or since_ns is None or leg.hop > where.hop:
                return
            if leg.hop == where.hop:
                self._experience.measured(leg, (now_ns - request.patient_from_ns) / 1e6)
            for behind in self._line(leg, since_ns):
                behind.patient_from_ns, behind.has_asked = now_ns, False

    def _line(self, leg: Leg, since_ns: int) -> list[Request]:
        """The requests that await the same way between the same nodes, and have done so from then on at most."""
        return [
            other
            for other in self._requests.values()
            if other.phase == "under way"
            and other.since_ns is not None
            and other.since_ns >= since_ns
            and other.leg is not None
            and other.leg.pair == leg.pair
        ]

    def _miss_line(self, request: Request, leg: Leg) -> Then:
        """The first in a line has been missed, and those behind it with it."""
        suspect, delivered = self._suspect(request, leg)
        allowed_ms = self._experience.allowed_ms(leg) or 0.0
        did = "has the tensors and does not go on" if delivered else f"does not get the tensors from {leg.src}"
        reason = f"{suspect} {did} within {allowed_ms:.0f} ms"
        behind = self._line(leg, request.since_ns or 0)
        first = self._miss(request, leg, suspect, delivered=delivered, reason=reason)
        others = [self._rescue(other, reason)[1] for other in behind if other is not request]
        return lambda: _do([first, *others])

    def _miss(self, request: Request, leg: Leg, suspect: str, *, delivered: bool, reason: str) -> Then:
        now_ns = time.monotonic_ns()
        waited_ms = (now_ns - request.patient_from_ns) / 1e6 if request.since_ns is not None else 0.0
        self._suspects.missed(suspect, now_ns / 1e9)
        src = self._before(request, leg) if delivered and suspect == leg.src else leg.src
        if request.leg is not None:
            self._remember_late(request.attempt, _Late(leg, request.patient_from_ns, suspect))
        plan = request.plan
        outcome, then = self._rescue(request, reason)
        log.warning("%s, plan %d of %s: %s", reason, plan.epoch, plan.deployment, outcome)
        miss = StageMiss(
            node=self._node,
            deployment=plan.deployment,
            epoch=plan.epoch,
            at=self._clock(),
            src=src,
            suspect=suspect,
            delivered=delivered,
            waited_ms=max(0.0, waited_ms),
            allowed_ms=self._experience.allowed_ms(leg) or 0.0,
            outcome=outcome,
        )
        return lambda: _do([lambda: self._missed(miss), then])

    def _suspect(self, request: Request, leg: Leg) -> tuple[str, bool]:
        """Who is silent, and whether it has the tensors: the sender, unless it is alive and the receiver is not."""
        if leg.src == self._node:
            return leg.dst, False
        since_ns = request.patient_from_ns
        src_ns, dst_ns = self._heard_ns.get(leg.src, 0), self._heard_ns.get(leg.dst)
        if leg.dst != self._node and dst_ns is not None and dst_ns < since_ns <= src_ns:
            return leg.dst, False
        return leg.src, True

    def _rescue(self, request: Request, reason: str) -> tuple[Rescue, Then]:
        """What becomes of a request whose plan cannot carry it now."""
        request.trouble = reason
        local = self._finish_here(request)
        if local is not None:
            return "finished at the origin", local
        others = [plan for plan in self._plans.ready_plans(request.plan.deployment) if self._may_move(request, plan)]
        if others:
            return "moved to another plan", self._move(request, others[0])
        if request.phase != "stranded":
            request.phase, request.stranded_ns = "stranded", time.monotonic_ns()
            self._rename(request)
        return "waits for a plan", _nothing

    def _finish_here(self, request: Request) -> Then | None:
        """Finish with what the origin has loaded: from where its leading stage ended, else from the inputs."""
        if self._compute.backlog_s > self._limits.longest_wait_s:
            return None
        model, ops, stop = request.plan.model.sha256, ops_of(request.plan), leading_stop(request.plan)
        leading = request.leading
        segment = self._segment_of(model, stop, ops) if leading is not None and stop < ops else None
        if segment is None or leading is None:
            stop, leading = 0, None
            segment = self._segment_of(model, 0, ops)
        if segment is None:
            return None
        begun = stage_reports(request.plan, leading_records(request)) if leading is not None else ()
        inputs = leading.tensors if leading is not None else request.inputs
        request.phase = "at the origin"
        self._rename(request)
        chosen, attempt = segment, request.attempt

        def run() -> None:
            try:
                self._compute.submit(
                    chosen,
                    inputs,
                    time.monotonic_ns(),
                    lambda outcome: self._finished_here(attempt, begun, stop, outcome),
                )
            except ExecutorBusyError:
                with self._lock:
                    request.phase, request.stranded_ns = "stranded", time.monotonic_ns()

        return run

    def _move(self, request: Request, plan: Plan) -> Then:
        self._requests.pop(request.attempt, None)
        request.renew(plan)
        self._requests[request.attempt] = request
        return self._start(request)

    def _rename(self, request: Request) -> None:
        """Let no message of the attempt so far be taken for one of the request's."""
        self._requests.pop(request.attempt, None)
        request.abandon()
        self._requests[request.attempt] = request

    def _may_move(self, request: Request, plan: Plan) -> bool:
        return request.attempts < MOST_ATTEMPTS and not self._avoided() & named_nodes(plan)

    def _fail(self, request: Request, reason: str) -> Then:
        self._requests.pop(request.attempt, None)
        return lambda: request.finish(Finished(None, failed_report(request, reason)))

    def _answer(self, request: Request) -> Then | None:
        result = request.result
        if result is None or self._requests.pop(request.attempt, None) is None:
            return None
        stages = stage_reports(request.plan, result.stages)
        return lambda: request.finish(
            Finished(result.tensors, answered_report(request, stages, self._power(), fallback=None))
        )

    def _current(self, where: Route) -> Request | None:
        """The request whose attempt this is, as long as it is on its way."""
        request = self._requests.get(where.request)
        return request if request is not None and request.phase == "under way" else None

    def _in_flight_of(self, deployment: str) -> int:
        return sum(request.plan.deployment == deployment for request in self._requests.values())

    def _avoided(self) -> frozenset[str]:
        return self._suspects.avoided | self._gone

    def _fault_of(self, node: str) -> str:
        return "has gone" if node in self._gone else "missed a stage and has not been heard from since"

    def _has_room(self, message: TensorsMessage) -> bool:
        held_bytes = sum(request.kept_bytes for request in self._requests.values())
        return held_bytes + sum(tensor.nbytes for tensor in message.tensors) <= MOST_BYTES

    def _leg_into(self, request: Request, hop: int) -> Leg:
        """The leg by which tensors came to the node of a hop."""
        hops = route(request.plan)
        first = next(number for number in range(hop, -1, -1) if number == 0 or hops[number - 1].node != hops[hop].node)
        return Leg(first, hops[max(0, first - 1)].node, hops[hop].node, None, 0.0)

    def _before(self, request: Request, leg: Leg) -> str:
        """The node that handed the tensors to a leg's sender."""
        return self._leg_into(request, leg.hop - 1).src

    def _remember_late(self, attempt: bytes, late: _Late) -> None:
        if len(self._late) >= LATE_KEPT:
            del self._late[next(iter(self._late))]
        self._late[attempt] = late

    # --- without

    def _start(self, request: Request) -> Then:
        plan, message = request.plan, request.first_message()
        return lambda: self._begin(plan, message)

    def _end_if_complete(self, request: Request) -> None:
        with self._lock:
            then = self._answer(request) if request.is_complete else None
        if then is not None:
            then()

    def _finished_here(self, attempt: bytes, begun: tuple[StageReport, ...], start: int, outcome: Outcome) -> None:
        now_ns = time.monotonic_ns()
        with self._lock:
            request = self._requests.get(attempt)
            if request is None:
                return
            request.finished_ns = now_ns
            if outcome.error is not None:
                reason = f"{request.trouble}; and finishing it at {self._node} failed: {outcome.error}"
                then = self._fail(request, reason)
            else:
                del self._requests[attempt]
                self._paces.answered(request.plan.deployment, request.started_ns / 1e9, now_ns / 1e9)
                here = StageReport(
                    node=self._node,
                    start=start,
                    stop=ops_of(request.plan),
                    compute_ms=outcome.compute_ns / 1e6,
                    wait_ms=max(0, outcome.wait_ns) / 1e6,
                )
                report = answered_report(request, (*begun, here), self._power(), fallback=request.trouble)
                finished = Finished(tuple(outcome.outputs), report)

                def then() -> None:
                    request.finish(finished)

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
        )


def _do(thens: Iterable[Then]) -> None:
    for then in thens:
        then()


def _nothing() -> None:
    """Nothing is to be done now."""
