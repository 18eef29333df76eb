"""A closed loop of requests in virtual time: each runs through its plan's hops and is accounted for, then the next."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.messages import InferenceReport, Plan, PowerModel, StageReport, TransferReport
from coordinator.problem import BYTES_PER_MB
from edge_agent.accounting import inference_energy
from edge_agent.routes import crossings, route
from edge_agent.wire import Route, TransferRecord, encode
from testbed.paper.model_profile import ModelProfile
from testbed.paper.records import NodeCompute, RequestRecord
from testbed.simulation.errors import SimulationError
from testbed.simulation.network import WALL_CLOCK_S, Network
from testbed.simulation.timeline import Timeline

REPORT_GRACE_S: Final = 1.0
TIMEOUT_S: Final = 30.0
LEAST_SHARE: Final = 0.2  # of its mean that a noisy compute takes at least: a normal's tail must not run backwards
TRANSFER_RECORD_BYTES: Final = len(encode(TransferRecord(Route("d", 1, bytes(16), 1), 1, 1))[0])


@dataclass(frozen=True, slots=True)
class Leg:
    """One hop of a plan: what its node computes unloaded (0 where it relays), and the bytes that it hands on.

    `codec_ms` is what of the compute goes into unpacking and packing; at the origin's relay, all there is.
    """

    node: str
    start: int
    stop: int
    compute_ms: float
    compute_ms_std: float
    codec_ms: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Itinerary:
    """A plan as its requests travel it."""

    plan: Plan
    legs: tuple[Leg, ...]
    crossings: int


def itinerary(plan: Plan, profile: ModelProfile) -> Itinerary:
    """The hops of a plan with their times and bytes; op times are independent of each other."""
    times = {node.node: node for node in profile.nodes}
    codecs = {(each.k, each.codec): each for each in profile.codecs.cuts} if profile.codecs is not None else {}
    hops = route(plan)
    legs = []
    for index, hop in enumerate(hops):
        # A relay hands on what it was sent; the input is packed by the origin, even where it computes nothing.
        given = codecs.get((hop.stop, hops[index + 1].codec)) if index + 1 < len(hops) else None
        taken = None if hop.relays else codecs.get((hop.start, hop.codec))
        codec_ms = 0.0
        if taken is not None:
            codec_ms += taken.decode_ms_per_mb * profile.cut_bytes[hop.start] / BYTES_PER_MB
        if given is not None and (index == 0 or not hop.relays):
            codec_ms += given.encode_ms_per_mb * profile.cut_bytes[hop.stop] / BYTES_PER_MB
        codec_ms *= times[hop.node].codec_factor
        legs.append(
            Leg(
                hop.node,
                hop.start,
                hop.stop,
                sum(times[hop.node].op_ms[hop.start : hop.stop]) + codec_ms,
                math.hypot(*times[hop.node].op_ms_std[hop.start : hop.stop]),
                codec_ms,
                round(profile.cut_bytes[hop.stop] * (given.ratio if given is not None else 1.0)),
            )
        )
    return Itinerary(plan, tuple(legs), crossings(plan))


@dataclass(slots=True)
class _Request:
    number: int
    way: Itinerary
    started_s: float
    stages: list[StageReport] = field(default_factory=list)
    transfers: dict[int, TransferReport] = field(default_factory=dict)
    finished_s: float | None = None
    is_over: bool = False

    @property
    def identity(self) -> bytes:
        return self.number.to_bytes(16, "big")


class ClosedLoop:
    """Asks for `duration_s` seconds, and `least` times at least, then calls `done`.

    `way_now` gives what a new request runs under, `load_of(node)` a node's true load; `report` gets each report.
    """

    def __init__(
        self,
        timeline: Timeline,
        network: Network,
        power: Mapping[str, PowerModel],
        *,
        deployment: str,
        origin: str,
        way_now: Callable[[], Itinerary | None],
        load_of: Callable[[str], float],
        report: Callable[[InferenceReport], None],
        generator: random.Random | None,
        pause_s: float,
        duration_s: float,
        least: int,
        done: Callable[[], None],
    ) -> None:
        self._timeline, self._network, self._power = timeline, network, power
        self._deployment, self._origin = deployment, origin
        self._way_now, self._load_of, self._report = way_now, load_of, report
        self._generator, self._pause_s = generator, pause_s
        self._duration_s, self._least, self._done = duration_s, least, done
        self._start_s = 0.0
        self._free_at_s: dict[str, float] = {}
        self._count = 0
        self.records: list[RequestRecord] = []

    def begin(self) -> None:
        """Ask from now on."""
        self._start_s = self._timeline.now_s
        self._ask()

    def _ask(self) -> None:
        """Begin the next request now, or end."""
        now_s = self._timeline.now_s
        if now_s - self._start_s >= self._duration_s and self._count >= self._least:
            self._done()
            return
        way = self._way_now()
        if way is None:
            raise SimulationError("a request began while no plan was in force")
        self._count += 1
        request = _Request(self._count, way, now_s)
        self._timeline.at(now_s + TIMEOUT_S, self._time_out, request)
        self._carry(request, 0)

    def _carry(self, request: _Request, hop: int) -> None:
        """Do what the node of a hop does."""
        leg = request.way.legs[hop]
        now_s = self._timeline.now_s
        if leg.start == leg.stop:
            if leg.codec_ms:
                packed_s = now_s + leg.codec_ms / (1.0 - self._load_of(leg.node)) / 1e3
                self._timeline.at(packed_s, self._hand_on, request, hop)
            else:
                self._hand_on(request, hop)
            return
        start_s = max(now_s, self._free_at_s.get(leg.node, 0.0))
        stretch = 1.0 / (1.0 - self._load_of(leg.node))
        compute_ms = self._drawn_ms(leg) * stretch
        self._free_at_s[leg.node] = start_s + compute_ms / 1e3
        stage = StageReport(
            node=leg.node,
            start=leg.start,
            stop=leg.stop,
            compute_ms=compute_ms,
            wait_ms=(start_s - now_s) * 1e3,
            codec_ms=leg.codec_ms * stretch,
        )
        self._timeline.at(start_s + compute_ms / 1e3, self._computed, request, hop, stage)

    def _drawn_ms(self, leg: Leg) -> float:
        if self._generator is None:
            return leg.compute_ms
        return max(LEAST_SHARE * leg.compute_ms, self._generator.gauss(leg.compute_ms, leg.compute_ms_std))

    def _computed(self, request: _Request, hop: int, stage: StageReport) -> None:
        request.stages.append(stage)
        self._hand_on(request, hop)

    def _hand_on(self, request: _Request, hop: int) -> None:
        legs = request.way.legs
        if hop + 1 == len(legs):
            request.finished_s = self._timeline.now_s
            if not self._end_if_complete(request):
                self._timeline.at(self._timeline.now_s + REPORT_GRACE_S, self._end, request)
            return
        src, dst = legs[hop].node, legs[hop + 1].node
        if src == dst:
            self._carry(request, hop + 1)
            return
        size_bytes = legs[hop].sent_bytes
        where = Route(self._deployment, request.way.plan.epoch, request.identity, hop + 1)

        def timed(transfer_ms: float) -> None:
            told_s = self._network.tell_s(src, self._origin, TRANSFER_RECORD_BYTES)
            transfer = TransferReport(src=src, dst=dst, size_bytes=size_bytes, transfer_ms=transfer_ms)
            self._timeline.at(told_s, self._transferred, request, hop + 1, transfer)

        self._network.send(src, dst, where, size_bytes, arrived=lambda: self._carry(request, hop + 1), timed=timed)

    def _transferred(self, request: _Request, hop: int, transfer: TransferReport) -> None:
        request.transfers[hop] = transfer
        self._end_if_complete(request)

    def _end_if_complete(self, request: _Request) -> bool:
        is_complete = request.finished_s is not None and len(request.transfers) >= request.way.crossings
        if is_complete:
            self._end(request)
        return is_complete

    def _end(self, request: _Request) -> None:
        if request.is_over or request.finished_s is None:
            return
        latency_ms = (request.finished_s - request.started_s) * 1e3
        stages = tuple(request.stages)
        transfers = tuple(transfer for _, transfer in sorted(request.transfers.items()))
        energy = inference_energy(
            origin=self._origin, latency_ms=latency_ms, stages=stages, transfers=transfers, power=self._power
        )
        joules = [each.compute_j + each.waiting_j + each.radio_j for each in energy]
        self._over(
            request,
            InferenceReport(
                deployment=self._deployment,
                epoch=request.way.plan.epoch,
                request_id=str(request.number),
                origin=self._origin,
                at=WALL_CLOCK_S + request.started_s,
                latency_ms=latency_ms,
                stages=stages,
                transfers=transfers,
                origin_energy_j=joules[0],
                total_energy_j=sum(joules),
                node_energy=energy,
            ),
        )

    def _time_out(self, request: _Request) -> None:
        if request.is_over or request.finished_s is not None:
            return
        report = InferenceReport(
            deployment=self._deployment,
            epoch=request.way.plan.epoch,
            request_id=str(request.number),
            origin=self._origin,
            at=WALL_CLOCK_S + request.started_s,
            latency_ms=TIMEOUT_S * 1e3,
            error=f"no answer within {TIMEOUT_S:g} s",
        )
        self._over(request, report)

    def _over(self, request: _Request, report: InferenceReport) -> None:
        request.is_over = True
        compute: dict[str, float] = {}
        for stage in report.stages:
            compute[stage.node] = compute.get(stage.node, 0.0) + stage.compute_ms
        self.records.append(
            RequestRecord(
                sent_s=request.started_s - self._start_s,
                latency_ms=report.latency_ms if report.error is None else None,
                origin_energy_j=report.origin_energy_j,
                total_energy_j=report.total_energy_j,
                compute=tuple(NodeCompute(node, ms) for node, ms in compute.items()),
                epoch=report.epoch,
                error=report.error,
            )
        )
        self._report(report)
        self._timeline.at(self._timeline.now_s + self._pause_s, self._ask)
