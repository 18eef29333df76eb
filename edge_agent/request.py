"""One request at its origin: under which plan it is, which leg is awaited and since when, and what its report will say.

What is done with it is decided in `edge_agent.origin`.
"""

import itertools
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from broker.messages import InferenceReport, NodeEnergy, Plan, PowerModel, StageReport, TransferReport
from edge_agent.accounting import compute_energy, inference_energy
from edge_agent.packing import Arrays, Inputs, inputs_bytes
from edge_agent.patience import Leg, legs
from edge_agent.routes import crossings, named_nodes, plan_digest, route
from edge_agent.wire import Route, StageRecord, TensorsMessage
from models.runtime_memory import own

Phase = Literal["under way", "at the origin", "stranded", "answered"]
"""On its way through a plan; being finished by the origin alone; waiting for a plan; complete but for its timing."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A request's end: its outputs and report, or None and a report that carries the error."""

    outputs: Arrays | None
    report: InferenceReport
    busy_ms: float | None = None
    """Set where it was refused, and never began: how long it would have waited."""


@dataclass(slots=True)
class Request:
    """Mutable; `edge_agent.origin` guards it with its lock. An attempt has a name of its own on the wire."""

    identity: bytes
    plan: Plan
    inputs: Inputs
    finish: Callable[[Finished], None]
    started_ns: int
    started_at: float
    phase: Phase = "under way"
    attempt: bytes = field(default_factory=lambda: os.urandom(16))
    attempts: int = 1
    transfers: dict[int, TransferReport] = field(default_factory=dict)
    awaited: int = 0
    """The index of the leg whose sign comes next."""
    since_ns: int | None = None
    """When that leg began; None while the origin itself computes."""
    patient_from_ns: int = 0
    """From when on its time counts: when it began, or when one before it in the same line came through."""
    asked_ns: int | None = None
    """When the ends of that leg were asked for a sign of life."""
    leading: TensorsMessage | None = None
    """What the origin computed before it first handed on, as long as there is room to keep it."""
    result: TensorsMessage | None = None
    finished_ns: int = 0
    trouble: str = ""
    """Why it is finished by the origin alone, or waits for another plan."""
    stranded_ns: int = 0

    @property
    def leg(self) -> Leg | None:
        """The leg that is awaited; None while the origin computes, and when all are done."""
        whole = legs(self.plan)
        return whole[self.awaited] if self.since_ns is not None and self.awaited < len(whole) else None

    @property
    def kept_bytes(self) -> int:
        """What it holds of the origin's memory."""
        return inputs_bytes(self.inputs) + inputs_bytes(self.leading.tensors if self.leading else ())

    @property
    def is_complete(self) -> bool:
        """Whether its result and the times of all its legs are there."""
        return self.result is not None and len(self.transfers) >= crossings(self.plan)

    def first_route(self) -> Route:
        """Where the pipeline begins."""
        return Route(self.plan.deployment, self.plan.epoch, self.attempt, 0, plan_digest(self.plan))

    def still_needs(self, node: str) -> bool:
        """Whether it has yet to pass through a node, or to be handed on by it."""
        whole = legs(self.plan)
        behind = whole[min(self.awaited, len(whole)) - 1].hop if self.awaited and whole else 0
        return any(hop.node == node for hop in route(self.plan)[behind:])

    def handed_on(self, hop: int, now_ns: int) -> None:
        """The origin's tensors leave for a hop: its leg begins."""
        for number, leg in enumerate(legs(self.plan)):
            if leg.hop == hop:
                self._await(number, now_ns)

    def passed(self, hop: int, now_ns: int) -> None:
        """Tensors have reached `hop`, so the legs up to it are done."""
        whole = legs(self.plan)
        done = sum(leg.hop <= hop for leg in whole)
        if done > self.awaited:
            computing_here = done < len(whole) and whole[done].src == self.plan.origin
            self._await(done, None if computing_here or done == len(whole) else now_ns)

    def renew(self, plan: Plan) -> None:
        """Begin anew under a plan; what is still under way of the attempt before will not be known by its name."""
        self.plan = plan
        self.attempts += 1
        self.transfers = {}
        self.phase, self.leading = "under way", None
        self.abandon()
        self._await(0, None)

    def abandon(self) -> None:
        """Give the attempt up: what still comes of it belongs to no request."""
        self.attempt = os.urandom(16)
        self.own_leading()

    def own_leading(self) -> None:
        """Copy what is kept of the runtime's memory, before that is used for another."""
        if self.leading is not None:
            self.leading = TensorsMessage(self.leading.route, own(self.leading.tensors), self.leading.stages)

    def _await(self, number: int, since_ns: int | None) -> None:
        self.awaited, self.since_ns, self.asked_ns = number, since_ns, None
        self.patient_from_ns = since_ns or 0


def new_request(plan: Plan, inputs: Inputs, finish: Callable[[Finished], None], at: float) -> Request:
    """A request that begins now, at `at` on the wall's clock."""
    return Request(os.urandom(16), plan, inputs, finish, time.monotonic_ns(), at)


def stage_reports(plan: Plan, records: tuple[StageRecord, ...]) -> tuple[StageReport, ...]:
    """What the stages of a plan took, by the records that came with the tensors."""
    hops = route(plan)
    return tuple(
        StageReport(
            node=hops[record.hop].node,
            start=hops[record.hop].start,
            stop=hops[record.hop].stop,
            compute_ms=record.compute_ns / 1e6,
            wait_ms=record.wait_ns / 1e6,
            codec_ms=record.codec_ns / 1e6,
            energy=record.energy,
            batch=record.batch,
        )
        for record in records
    )


def answered_report(
    request: Request,
    stages: tuple[StageReport, ...],
    power: Mapping[str, PowerModel],
    emulated: Collection[str],
    fallback: str | None,
) -> InferenceReport:
    """The report of a request that has its result; `emulated` names the nodes that are.

    The origin's and the total energy are modelled; that of the stages is as their nodes say.
    """
    latency_ms = (request.finished_ns - request.started_ns) / 1e6
    transfers = tuple(transfer for _, transfer in sorted(request.transfers.items()))
    energy = inference_energy(
        origin=request.plan.origin, latency_ms=latency_ms, stages=stages, transfers=transfers, power=power
    )
    return InferenceReport(
        deployment=request.plan.deployment,
        epoch=request.plan.epoch,
        request_id=request.identity.hex(),
        origin=request.plan.origin,
        at=request.started_at,
        latency_ms=latency_ms,
        stages=stages,
        transfers=transfers,
        origin_energy_j=_joules(energy[0]),
        total_energy_j=max(0.0, sum(map(_joules, energy))),
        node_energy=energy,
        fallback=fallback[:2_000] if fallback is not None else None,
        model=request.plan.model.name,
        compute_energy=compute_energy(stages),
        emulated=_is_emulated(request, emulated),
    )


def failed_report(request: Request, reason: str, emulated: Collection[str]) -> InferenceReport:
    """The report of a request that failed now; `emulated` names the nodes that are."""
    return InferenceReport(
        deployment=request.plan.deployment,
        epoch=request.plan.epoch,
        request_id=request.identity.hex(),
        origin=request.plan.origin,
        at=request.started_at,
        latency_ms=(time.monotonic_ns() - request.started_ns) / 1e6,
        error=reason[:2_000],
        model=request.plan.model.name,
        emulated=_is_emulated(request, emulated),
    )


def last_seen(request: Request) -> str:
    """Where the request was heard of last, in words."""
    if not request.transfers:
        return f"it never left {request.plan.origin}"
    last = request.transfers[max(request.transfers)]
    return f"last seen when it reached {last.dst} from {last.src}"


def same_plan(one: Plan, other: Plan) -> bool:
    """Whether two plans of a deployment are one to the tensors that run under them."""
    return one is other or (one.epoch == other.epoch and plan_digest(one) == plan_digest(other))


def leading_records(request: Request) -> tuple[StageRecord, ...]:
    """What the origin's own leading stages took."""
    leading = itertools.takewhile(lambda hop: hop[1].node == request.plan.origin, enumerate(route(request.plan)))
    numbers = {number for number, _ in leading}
    records = request.leading.stages if request.leading is not None else ()
    return tuple(record for record in records if record.hop in numbers)


def _is_emulated(request: Request, emulated: Collection[str]) -> bool:
    return not named_nodes(request.plan).isdisjoint(emulated)


def _joules(energy: NodeEnergy) -> float:
    return energy.compute_j + energy.waiting_j + energy.radio_j
