"""What becomes of a request whose plan cannot carry it: the origin finishes it alone, another plan does, or it waits.

That it cannot, `edge_agent.origin` finds; its lock is held wherever nothing else is said.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Literal, Protocol

from broker.messages import Plan, PowerModel, StageReport
from edge_agent.errors import ExecutorBusyError
from edge_agent.executor import Outcome
from edge_agent.packing import Arrays, Packing, packed_inputs, packing_between
from edge_agent.request import (
    Finished,
    Request,
    answered_report,
    failed_report,
    leading_records,
    stage_reports,
)
from edge_agent.request_book import RequestBook
from edge_agent.routes import leading_stop, named_nodes, ops_of, route
from edge_agent.watch import Watch
from edge_agent.wire import TensorsMessage
from models.errors import ModelError
from models.runtime import Segment
from models.runtime_memory import own

MOST_ATTEMPTS: Final = 6

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

    def submit(
        self,
        segment: Segment,
        inputs: Arrays,
        arrived_ns: int,
        done: Callable[[Outcome], None],
        *,
        packing: Packing | None = None,
    ) -> None:
        """As Executor.submit."""


class Rescuer:
    """Knows which segments are loaded (`segment_of`) and which plans are ready; `start` begins a request's attempt."""

    def __init__(
        self,
        node: str,
        *,
        lock: threading.Lock,
        requests: RequestBook,
        watch: Watch,
        plans: Plans,
        compute: LocalCompute,
        segment_of: Callable[[str, int, int], Segment | None],
        power: Callable[[], Mapping[str, PowerModel]],
        emulated: Callable[[], Collection[str]],
        longest_wait_s: float,
        start: Callable[[Request], Then],
    ) -> None:
        self._node = node
        self._lock = lock
        self._requests = requests
        self._watch = watch
        self._plans = plans
        self._compute = compute
        self._segment_of = segment_of
        self._power = power
        self._emulated = emulated
        self._longest_wait_s = longest_wait_s
        self._start = start

    def rescue(self, request: Request, reason: str) -> tuple[Rescue, Then]:
        """What becomes of a request whose plan cannot carry it now."""
        request.trouble = reason
        local = self._finish_here(request)
        if local is not None:
            return "finished at the origin", local
        others = [plan for plan in self._plans.ready_plans(request.plan.deployment) if self.may_move(request, plan)]
        if others:
            return "moved to another plan", self.move(request, others[0])
        if request.phase != "stranded":
            self._strand(request)
        return "waits for a plan", _nothing

    def _finish_here(self, request: Request) -> Then | None:
        """Finish with what the origin has loaded: from where its leading stage ended, else from the inputs."""
        if self._compute.backlog_s > self._longest_wait_s:
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
        request.phase = "at the origin"
        self._requests.abandon(request)
        kept = request.leading if leading is not None else None

        def done(outcome: Outcome) -> None:
            self._finished_here(request, begun, stop, outcome)

        return self._run_here(request, segment, kept, done)

    def _run_here(
        self, request: Request, segment: Segment, leading: TensorsMessage | None, done: Callable[[Outcome], None]
    ) -> Then:
        # What was handed on is packed for the stage that was to take it.
        hop = route(request.plan)[leading.route.hop] if leading is not None else None
        packing = packing_between(hop, None, lambda: None) if hop is not None else None

        def run() -> None:
            try:
                inputs = leading.tensors if leading is not None else packed_inputs(request.inputs, "raw")
                self._compute.submit(segment, inputs, time.monotonic_ns(), done, packing=packing)
            except ExecutorBusyError:
                with self._lock:
                    self._strand(request)
            except ModelError as error:
                done(Outcome((), 0, 0, str(error)))

        return run

    def _strand(self, request: Request) -> None:
        request.phase, request.stranded_ns = "stranded", time.monotonic_ns()
        self._requests.abandon(request)

    def move(self, request: Request, plan: Plan) -> Then:
        """Begin a request anew under a plan."""
        self._requests.renew(request, plan)
        return self._start(request)

    def may_move(self, request: Request, plan: Plan) -> bool:
        """Whether a request may be tried under a plan: it names nobody to be avoided, and the tries are bounded."""
        return request.attempts < MOST_ATTEMPTS and not self._watch.avoided & named_nodes(plan)

    def _finished_here(self, request: Request, begun: tuple[StageReport, ...], start: int, outcome: Outcome) -> None:
        now_ns = time.monotonic_ns()
        with self._lock:
            if not self._requests.end(request):
                return
            if outcome.error is None:
                self._requests.answered(request, now_ns)
        request.finished_ns = now_ns
        if outcome.error is not None:
            reason = f"{request.trouble}; and finishing it at {self._node} failed: {outcome.error}"
            request.finish(Finished(None, failed_report(request, reason, self._emulated())))
            return
        here = StageReport(
            node=self._node,
            start=start,
            stop=ops_of(request.plan),
            compute_ms=outcome.compute_ns / 1e6,
            wait_ms=max(0, outcome.wait_ns) / 1e6,
            codec_ms=outcome.codec_ns / 1e6,
            energy=outcome.energy,
            batch=outcome.batch,
        )
        report = answered_report(request, (*begun, here), self._power(), self._emulated(), fallback=request.trouble)
        request.finish(Finished(own(outcome.outputs), report))


def do_all(thens: Iterable[Then]) -> None:
    """What is to be done without the lock, in order."""
    for then in thens:
        then()


def _nothing() -> None:
    """Nothing is to be done now."""
