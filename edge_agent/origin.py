"""The requests that begin at this node, from their tensors to their report; carrying them is the pipeline's."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from broker.messages import InferenceReport, NodeEnergy, Plan, PowerModel, StageReport, TransferReport
from edge_agent.accounting import inference_energy
from edge_agent.clock import MACHINE_CLOCK
from edge_agent.routes import Hop, crossings, named_nodes, route
from edge_agent.wire import Route, StageRecord, TensorsMessage

log = logging.getLogger("splitrail.agent")

Arrays = tuple[np.ndarray[Any, Any], ...]

REPORT_GRACE_NS = 1_000_000_000  # how long a report waits for the senders' records after its result
MOST_ATTEMPTS = 2
PATIENCE_NS = 5_000_000_000  # how long a request whose plan lost a node waits for another plan


@dataclass(frozen=True, slots=True)
class Finished:
    """A request's end: its outputs and report, or None and a report that carries the error."""

    outputs: Arrays | None
    report: InferenceReport


@dataclass(slots=True)
class _Request:
    identity: bytes
    plan: Plan
    inputs: Arrays
    finish: Callable[[Finished], None]
    started_ns: int
    started_at: float
    attempts: int = 1
    transfers: dict[int, TransferReport] = field(default_factory=dict)
    result: TensorsMessage | None = None
    finished_ns: int = 0
    stranded: str | None = None
    """Why it waits for another plan; None while it is on its way."""
    stranded_ns: int = 0


class Origin:
    """Keeps each request until its result and the timing of all its hops are there, or it has failed.

    A request that fails under a plan that has been replaced meanwhile is tried once more under the new one; so is
    one whose plan names a node that has gone, when the next plan comes.
    `begin(plan, message)` starts the pipeline at hop 0. `finish` callbacks run on the thread that brought the end.
    """

    def __init__(
        self,
        node: str,
        *,
        active: Callable[[str], Plan | None],
        begin: Callable[[Plan, TensorsMessage], None],
        power: Callable[[], Mapping[str, PowerModel]],
        timeout_s: float,
        clock: Callable[[], float] = MACHINE_CLOCK.now,
    ) -> None:
        self._node = node
        self._active = active
        self._begin = begin
        self._power = power
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: dict[bytes, _Request] = {}
        self._gone: set[str] = set()

    @property
    def in_flight(self) -> int:
        """How many requests have begun and not ended."""
        return len(self._requests)

    def submit(self, deployment: str, inputs: Arrays, finish: Callable[[Finished], None]) -> None:
        """Start a request under the active plan; without one it fails at once."""
        plan = self._active(deployment)
        now_ns, at = time.monotonic_ns(), self._clock()
        identity = os.urandom(16)
        if plan is None:
            reason = f"no plan of {deployment} is ready yet at {self._node}; `splitrail status` shows why"
            finish(Finished(None, self._failure(Route(deployment, 0, identity, 0), at, 0.0, reason)))
            return
        request = _Request(identity, plan, inputs, finish, now_ns, at)
        with self._lock:
            self._requests[identity] = request
        self._begin(plan, _first_message(request))

    def delivered(self, message: TensorsMessage) -> None:
        """The result of a request has come; what has ended already, or belongs to another attempt, is ignored."""
        with self._lock:
            request = self._current(message.route)
            if request is None or request.result is not None:
                return
            if any(record.hop >= len(route(request.plan)) for record in message.stages):
                log.warning(
                    "a result of %s tells of a hop that its plan does not have: ignored", request.plan.deployment
                )
                return
            request.result = message
            request.finished_ns = time.monotonic_ns()
        self._end_if_complete(request)

    def transferred(self, where: Route, src: str, size_bytes: int, transfer_ms: float) -> None:
        """The hop `where` has been timed by its sender `src`; what is no hop of a request of ours is ignored."""
        with self._lock:
            request = self._current(where)
            hops = route(request.plan) if request is not None else ()
            if request is None or not 0 < where.hop < len(hops):
                return
            request.transfers[where.hop] = TransferReport(
                src=src, dst=hops[where.hop].node, size_bytes=size_bytes, transfer_ms=transfer_ms
            )
        self._end_if_complete(request)

    def failed(self, where: Route, reason: str) -> None:
        """A request cannot go on under its plan."""
        with self._lock:
            request = self._current(where)
            if request is None or request.result is not None:
                return
            again = _turn_to(self._active(where.deployment), request)
            if not again and request.attempts < MOST_ATTEMPTS and self._gone & named_nodes(request.plan):
                _strand(request, reason)
                return
            if not again:
                del self._requests[request.identity]
        if again:
            self._begin(request.plan, _first_message(request))
        else:
            self._finish_failed(request, reason)

    def lose(self, node: str) -> None:
        """A node has gone: the requests whose plan names it wait for another plan, but not for long."""
        with self._lock:
            self._gone.add(node)
            for request in self._requests.values():
                if request.result is None and node in named_nodes(request.plan):
                    _strand(request, f"{node} has gone")

    def regain(self, node: str) -> None:
        """A node that had gone is there again."""
        with self._lock:
            self._gone.discard(node)

    def sweep(self) -> None:
        """End what has waited too long, try anew what waits for a plan that has come; called about every 100 ms."""
        now_ns = time.monotonic_ns()
        again: list[_Request] = []
        late: list[tuple[_Request, str]] = []
        complete_enough: list[tuple[_Request, TensorsMessage]] = []
        with self._lock:
            for request in list(self._requests.values()):
                if request.result is not None:
                    if now_ns - request.finished_ns > REPORT_GRACE_NS:
                        del self._requests[request.identity]
                        complete_enough.append((request, request.result))
                elif request.stranded is not None and _turn_to(self._active(request.plan.deployment), request):
                    again.append(request)
                elif request.stranded is not None and now_ns - request.stranded_ns > PATIENCE_NS:
                    del self._requests[request.identity]
                    late.append((request, f"{request.stranded}, and no other plan is ready"))
                elif now_ns - request.started_ns > self._timeout_s * 1e9:
                    del self._requests[request.identity]
                    late.append((request, f"no answer within {self._timeout_s:g} s; {_last_seen(request)}"))
        for request, result in complete_enough:
            self._finish_answered(request, result)
        for request, reason in late:
            self._finish_failed(request, reason)
        for request in again:
            self._begin(request.plan, _first_message(request))

    def _current(self, where: Route) -> _Request | None:
        request = self._requests.get(where.request)
        return request if request is not None and request.plan.epoch == where.epoch else None

    def _end_if_complete(self, request: _Request) -> None:
        with self._lock:
            result = request.result
            if result is None or len(request.transfers) < crossings(route(request.plan)):
                return
            if self._requests.pop(request.identity, None) is None:
                return
        self._finish_answered(request, result)

    def _finish_answered(self, request: _Request, result: TensorsMessage) -> None:
        latency_ms = (request.finished_ns - request.started_ns) / 1e6
        hops = route(request.plan)
        stages = tuple(_stage_report(hops[record.hop], record) for record in result.stages)
        transfers = tuple(transfer for _, transfer in sorted(request.transfers.items()))
        energy = inference_energy(
            origin=self._node, latency_ms=latency_ms, stages=stages, transfers=transfers, power=self._power()
        )
        report = InferenceReport(
            deployment=request.plan.deployment,
            epoch=request.plan.epoch,
            request_id=request.identity.hex(),
            origin=self._node,
            at=request.started_at,
            latency_ms=latency_ms,
            stages=stages,
            transfers=transfers,
            origin_energy_j=_joules(energy[0]),
            total_energy_j=max(0.0, sum(map(_joules, energy))),
            node_energy=energy,
        )
        request.finish(Finished(result.tensors, report))

    def _finish_failed(self, request: _Request, reason: str) -> None:
        latency_ms = (time.monotonic_ns() - request.started_ns) / 1e6
        where = Route(request.plan.deployment, request.plan.epoch, request.identity, 0)
        request.finish(Finished(None, self._failure(where, request.started_at, latency_ms, reason)))

    def _failure(self, where: Route, at: float, latency_ms: float, reason: str) -> InferenceReport:
        return InferenceReport(
            deployment=where.deployment,
            epoch=where.epoch,
            request_id=where.request.hex(),
            origin=self._node,
            at=at,
            latency_ms=latency_ms,
            error=reason[:2_000],
        )


def _turn_to(plan: Plan | None, request: _Request) -> bool:
    """Put a request under another plan than its own, if that is one and it has not been tried too often."""
    if plan is None or plan.epoch == request.plan.epoch or request.attempts >= MOST_ATTEMPTS:
        return False
    request.plan, request.attempts, request.transfers, request.stranded = plan, request.attempts + 1, {}, None
    return True


def _strand(request: _Request, reason: str) -> None:
    if request.stranded is None:
        request.stranded, request.stranded_ns = reason, time.monotonic_ns()


def _first_message(request: _Request) -> TensorsMessage:
    here = Route(request.plan.deployment, request.plan.epoch, request.identity, 0)
    return TensorsMessage(here, request.inputs)


def _stage_report(hop: Hop, record: StageRecord) -> StageReport:
    return StageReport(
        node=hop.node, start=hop.start, stop=hop.stop, compute_ms=record.compute_ns / 1e6, wait_ms=record.wait_ns / 1e6
    )


def _joules(energy: NodeEnergy) -> float:
    return energy.compute_j + energy.waiting_j + energy.radio_j


def _last_seen(request: _Request) -> str:
    if not request.transfers:
        return f"it never left {request.plan.origin}"
    last = request.transfers[max(request.transfers)]
    return f"last seen when it reached {last.dst} from {last.src}"
