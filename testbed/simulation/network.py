"""The tensor plane in virtual time: each node's watch over its links, fed as the real prober and transport feed it.

Bytes leave by `testbed.serialiser`; small replies slip in between the turns of others, as on the emulated links.
"""

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from broker.messages import LinkReading
from edge_agent.companions import WatchedLinks
from edge_agent.deliveries import Delivery, ProbeResult
from edge_agent.lines import Line
from edge_agent.links import ArrivalTimeline, LinkEstimate
from edge_agent.prober import TICK_S
from edge_agent.probes import LinkWatch, Probe
from edge_agent.wire import Acknowledgement, Ping, Pong, ProbeChunk, ProbeReply, Route, WireMessage, encode
from testbed.serialiser import LinkState, departure_s
from testbed.shaping import LinkShape
from testbed.simulation.settings import Ablation, SimulationSettings
from testbed.simulation.timeline import Timeline

WALL_CLOCK_S: Final = 1_600_000_000.0
"""What the nodes' clocks show when virtual time is 0."""
SHORTEST_STEP_S: Final = 1e-6
TRUTH_INTERVAL_S: Final = 1.0
"""The truth is told as often even where it stays, or it would seem to age."""


def _wire_bytes(message: WireMessage) -> int:
    return sum(len(frame) for frame in encode(message))


_ROUTE = Route("d", 1, bytes(16), 1)
PING_BYTES: Final = _wire_bytes(Ping(1))
PONG_BYTES: Final = _wire_bytes(Pong(1))
ACKNOWLEDGEMENT_BYTES: Final = _wire_bytes(Acknowledgement(_ROUTE))
PROBE_REPLY_BYTES: Final = _wire_bytes(ProbeReply(1, 1, 1))
CHUNK_HEADER_BYTES: Final = _wire_bytes(ProbeChunk(1, 0, 1, b"\0")) - 1


class Lateness:
    """By how many seconds a host notices a message late."""

    def __init__(self, generator: random.Random, mean_ms: float) -> None:
        self._generator, self._rate = generator, 1e3 / mean_ms if mean_ms else 0.0

    def draw_s(self) -> float:
        """One message's."""
        return self._generator.expovariate(self._rate) if self._rate else 0.0


class Standstill(Protocol):
    """What is known of nodes that load, and so stand still."""

    def is_loading(self, node: str) -> bool:
        """Whether agents take it for loading, so that nothing that they time against it counts."""

    def notices_s(self, node: str) -> float:
        """When a node notices what comes to it now."""


class DirectedLink:
    """One direction between two nodes: what it carries waits for what it took before."""

    def __init__(self, shape: LinkShape, trace_start_s: float) -> None:
        self.shape = shape
        self._state = LinkState(shape.trace, shape.delay_ms, trace_start_s)
        self._delay_s = shape.delay_ms / 1e3
        self._free_at_s = 0.0
        self._step_s = (0.0, 0.0)
        self._bits_per_s = 0.0

    def begin_at(self, time_s: float) -> None:
        """Let the trace begin at this moment."""
        self._state = replace(self._state, trace_start_s=time_s)
        self._step_s = (0.0, 0.0)

    def carry(self, size_bytes: int, at_s: float) -> float:
        """When bytes that are sent at `at_s` have arrived."""
        self._free_at_s = self._leaves_s(size_bytes, max(at_s, self._free_at_s))
        return self._free_at_s + self._delay_s

    def reply(self, size_bytes: int, at_s: float) -> float:
        """When a small reply that is sent at `at_s` has arrived."""
        return self._leaves_s(size_bytes, at_s) + self._delay_s

    def _leaves_s(self, size_bytes: int, at_s: float) -> float:
        """`departure_s`, at a tenth of its price where bytes leave within the step of the trace that was last met."""
        start_s, end_s = self._step_s
        if not start_s <= at_s < end_s:
            self._step_s = (at_s, self.next_step_s(at_s))
            self._bits_per_s = self._state.mbps_at(at_s) * 1e6
        if self._bits_per_s > 0:
            leaves_s = at_s + 8.0 * size_bytes / self._bits_per_s
            if leaves_s <= self._step_s[1]:
                return leaves_s
        return departure_s(self._state, size_bytes, at_s)

    def next_step_s(self, at_s: float) -> float:
        """When its rate changes next."""
        start_s = self._state.trace_start_s
        return start_s + self.shape.trace.next_step_s(at_s - start_s)

    def mbps_at(self, at_s: float) -> float:
        """What it truly carries."""
        return self._state.mbps_at(at_s)


@dataclass(slots=True)
class _Watched:
    """A link as its sender knows it, the way there and the way back."""

    there: DirectedLink
    back: DirectedLink
    line: Line
    watch: LinkWatch


class Network:
    """All links of a site, watched by their senders; `publish` gets each reading when it is made."""

    def __init__(
        self,
        timeline: Timeline,
        shapes: Iterable[LinkShape],
        *,
        settings: SimulationSettings,
        ablation: Ablation,
        lateness: Lateness,
        publish: Callable[[LinkReading], None],
        standstill: Standstill | None,
    ) -> None:
        self._timeline, self._settings, self._ablation = timeline, settings, ablation
        self._late, self._publish, self._standstill = lateness, publish, standstill
        self._tokens = itertools.count(1)
        links = {(shape.src, shape.dst): DirectedLink(shape, settings.warm_up_s) for shape in shapes}
        nodes = list(dict.fromkeys(src for src, _ in links))
        watches = {node: WatchedLinks(settings.links) for node in nodes}
        self._links = {
            (src, dst): _Watched(link, links[dst, src], Line(0), watches[src].of(dst))
            for (src, dst), link in links.items()
        }
        for number, node in enumerate(nodes):
            watched = [(dst, link) for (src, dst), link in self._links.items() if src == node]
            # The nodes' looks are as far apart as they can be, as those of processes that started one by one.
            timeline.at(TICK_S * number / len(nodes), self._look, node, watched)
            if ablation.perfect_estimates:
                timeline.at(0.0, self._tell_truth, node, watched)

    def begin_at(self, time_s: float) -> None:
        """Let the links' traces begin at this moment; before it they stay at their first rate."""
        for link in self._links.values():
            link.there.begin_at(time_s)

    def send(
        self,
        src: str,
        dst: str,
        route: Route,
        size_bytes: int,
        *,
        arrived: Callable[[], None],
        timed: Callable[[float], None],
    ) -> None:
        """Send tensors; `arrived` is called at their arrival, `timed` with the hop's ms once the sender knows them."""
        link, timeline = self._links[src, dst], self._timeline
        link.line.send(route, size_bytes, _ns(timeline.now_s))
        at_s = link.there.carry(size_bytes, timeline.now_s) + self._late.draw_s()
        timeline.at(at_s, self._arrive, link, route, arrived, timed)

    def tell_s(self, src: str, dst: str, size_bytes: int) -> float:
        """When a small message that is sent now has arrived."""
        if src == dst:
            return self._timeline.now_s
        return self._links[src, dst].there.reply(size_bytes, self._timeline.now_s) + self._late.draw_s()

    def _arrive(
        self, link: _Watched, route: Route, arrived: Callable[[], None], timed: Callable[[float], None]
    ) -> None:
        now_s = self._timeline.now_s
        dst = link.there.shape.dst
        notices_s = now_s if self._standstill is None else self._standstill.notices_s(dst)
        if notices_s > now_s:
            self._timeline.at(notices_s, self._arrive, link, route, arrived, timed)
            return
        back_s = link.back.reply(ACKNOWLEDGEMENT_BYTES, now_s) + self._late.draw_s()
        self._timeline.at(back_s, self._acknowledged, link, dst, route, timed)
        arrived()

    def _stands_still(self, link: _Watched) -> bool:
        shape, loads = link.there.shape, self._standstill
        return loads is not None and (loads.is_loading(shape.src) or loads.is_loading(shape.dst))

    def _acknowledged(self, link: _Watched, dst: str, route: Route, timed: Callable[[float], None]) -> None:
        now_s = self._timeline.now_s
        settled = link.line.settle(route, _ns(now_s))
        if settled is None:
            return
        elapsed_ms = settled.elapsed_ns / 1e6
        gap_ms = None if settled.gap_ns is None else settled.gap_ns / 1e6
        if not self._stands_still(link):
            link.watch.delivered(Delivery(dst, route, settled.size_bytes, elapsed_ms, gap_ms), now_s)
        timed(max(elapsed_ms - (link.watch.rtt_ms or 0.0) / 2, 0.0))

    def _look(self, node: str, watched: list[tuple[str, _Watched]]) -> None:
        """What the prober's thread of a node does at each of its ticks."""
        timeline = self._timeline
        now_s = timeline.now_s
        timeline.at(now_s + TICK_S, self._look, node, watched)
        for dst, link in watched:
            if self._stands_still(link):
                continue
            due = link.watch.due(now_s, link.line.in_flight(_ns(now_s)))
            estimate = link.watch.news(now_s)
            if estimate is not None and not self._ablation.perfect_estimates:
                self._publish(_reading(node, dst, estimate))
            if due.ping:
                self._ping(link)
            if due.probe is not None:
                self._probe(link, dst, due.probe)

    def _tell_truth(self, node: str, watched: list[tuple[str, _Watched]]) -> None:
        """Publish what the links of a node truly carry now, and do so again when one of them changes."""
        now_s = self._timeline.now_s
        for dst, link in watched:
            mbps = link.there.mbps_at(now_s)
            if mbps > 0:
                rtt_ms = link.there.shape.delay_ms + link.back.shape.delay_ms
                self._publish(_reading(node, dst, LinkEstimate(rtt_ms, 0.0, mbps, 0.0, now_s, "probe")))
        next_s = min(link.there.next_step_s(now_s) for _, link in watched)
        # Virtual time is coarser than the trace's own, so a step may seem to end when it began.
        next_s = max(now_s + SHORTEST_STEP_S, min(next_s, now_s + TRUTH_INTERVAL_S))
        self._timeline.at(next_s, self._tell_truth, node, watched)

    def _ping(self, link: _Watched) -> None:
        now_s, token = self._timeline.now_s, next(self._tokens)
        link.line.send(token, PING_BYTES, _ns(now_s))
        at_s = link.there.carry(PING_BYTES, now_s) + self._late.draw_s()
        self._timeline.at(link.back.reply(PONG_BYTES, at_s) + self._late.draw_s(), self._ponged, link, token)

    def _ponged(self, link: _Watched, token: int) -> None:
        settled = link.line.settle(token, _ns(self._timeline.now_s))
        if settled is not None and settled.alone and not self._stands_still(link):
            link.watch.round_trip(settled.elapsed_ns / 1e6)

    def _probe(self, link: _Watched, dst: str, probe: Probe) -> None:
        now_s, token = self._timeline.now_s, next(self._tokens)
        chunk_bytes = probe.chunk_bytes + CHUNK_HEADER_BYTES
        link.line.send(token, probe.chunks * chunk_bytes, _ns(now_s))
        arrivals = ArrivalTimeline(probe.chunks * probe.chunk_bytes)
        at_s = now_s
        for _ in range(probe.chunks):
            at_s = max(at_s, link.there.carry(chunk_bytes, now_s) + self._late.draw_s())
            arrivals.arrive(probe.chunk_bytes, _ns(at_s))
        back_s = link.back.reply(PROBE_REPLY_BYTES, at_s) + self._late.draw_s()
        self._timeline.at(back_s, self._probed, link, dst, token, arrivals)

    def _probed(self, link: _Watched, dst: str, token: int, arrivals: ArrivalTimeline) -> None:
        now_s = self._timeline.now_s
        settled = link.line.settle(token, _ns(now_s))
        if settled is not None and not self._stands_still(link):
            result = ProbeResult(dst, settled.size_bytes, settled.elapsed_ns / 1e6, arrivals.slope())
            link.watch.probed(result, now_s)


def _ns(time_s: float) -> int:
    return round(time_s * 1e9)


def _reading(src: str, dst: str, estimate: LinkEstimate) -> LinkReading:
    return LinkReading(
        src=src,
        dst=dst,
        at=WALL_CLOCK_S + estimate.at,
        rtt_ms=estimate.rtt_ms,
        rtt_ms_std=estimate.rtt_ms_std,
        mbps=estimate.mbps,
        mbps_std=estimate.mbps_std,
        method=estimate.method,
    )
