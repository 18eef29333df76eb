"""When and how links are probed, on a simulated line; and that a prober with real sockets publishes what it finds."""

import queue
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from received import Received

from broker.messages import LinkReading
from edge_agent.lines import InFlight
from edge_agent.links import RAMP_BYTES, Slope
from edge_agent.prober import LinkProber
from edge_agent.probes import (
    PING_BYTES,
    SMALLEST_PROBE_BYTES,
    ByteBudget,
    Due,
    LinkSettings,
    LinkWatch,
    Probe,
    probe_bytes,
)
from edge_agent.transport import Delivery, ProbeResult, Transport
from edge_agent.wire import Route

TICK_S = 0.2
ROUTE = Route("d", 1, bytes(16), 0)


@dataclass
class SimulatedLink:
    """A watched link whose replies come exactly when its bandwidth allows; 5 ms of round trip."""

    watch: LinkWatch
    mbps: float
    at: float = 0.0
    spent_bytes: int = 0
    probes: int = 0
    busy_until: float = 0.0
    awaited: tuple[float, int] | None = None

    def run(self, seconds: float) -> None:
        """Let time pass, one tick after the other."""
        until = self.at + seconds
        while self.at < until:
            self.tick()

    def tick(self) -> Due:
        """One look at the link, as the prober's thread takes it."""
        self.at += TICK_S
        if self.awaited is not None and self.at >= self.busy_until:
            sent_at, size_bytes = self.awaited
            counted = size_bytes // 2
            slope = Slope(counted, round(8_000 * counted / self.mbps))
            self.watch.probed(ProbeResult("b", size_bytes, (self.busy_until - sent_at) * 1e3, slope), self.at)
            self.awaited = None
        in_flight = InFlight(self.awaited[1], (self.at - self.awaited[0]) * 1e3) if self.awaited else None
        due = self.watch.due(self.at, in_flight)
        if due.ping:
            self.spent_bytes += PING_BYTES
            self.watch.round_trip(5.0)
        if due.probe:
            size_bytes = due.probe.chunks * due.probe.chunk_bytes
            self.spent_bytes += size_bytes
            self.probes += 1
            self.awaited = (self.at, size_bytes)
            self.busy_until = self.at + 0.005 + 8 * size_bytes / (self.mbps * 1e6)
        return due


def known(link: SimulatedLink) -> float:
    """The bandwidth that the watch believes in."""
    estimate = link.watch.estimate()
    assert estimate is not None
    return estimate.mbps


def test_a_receiver_that_was_late_does_not_make_its_link_look_fast() -> None:
    """Kept from its socket while a probe came in, it takes them at once; the whole probe's time tells the truth."""
    watch = LinkWatch(LinkSettings())
    watch.round_trip(4.0)
    size_bytes, true_mbps, late_ms = 65_536, 40.0, 5.0
    elapsed_ms = 4.0 + 8 * size_bytes / (1_000 * true_mbps) + late_ms
    at_once = Slope(45_000, 100_000)  # 45 kB in 0.1 ms: 3,600 Mbit/s
    watch.probed(ProbeResult("b", size_bytes, elapsed_ms, at_once), 1.0)
    estimate = watch.estimate()
    assert estimate is not None
    assert estimate.mbps < 2 * true_mbps


@pytest.mark.parametrize("mbps", [0.05, 0.3, 1, 5, 20, 100, 1_000])
def test_any_link_is_known_after_seconds(mbps: float) -> None:
    """From a thin line to a fast one, the first estimate is there within ten seconds and right."""
    link = SimulatedLink(LinkWatch(LinkSettings()), mbps)
    link.run(10)
    assert known(link) == pytest.approx(mbps, rel=0.05)


@given(
    st.lists(st.sampled_from([0.05, 0.2, 1.0, 8.0, 50.0, 500.0]), min_size=1, max_size=6),
    st.sampled_from([200_000, 300_000, 1_000_000]),
)
def test_the_budget_of_a_minute_holds(levels: list[float], max_bytes: int) -> None:
    """However the link changes, no minute sees more bytes than the settings allow."""
    link = SimulatedLink(LinkWatch(LinkSettings(max_probe_bytes_per_minute=max_bytes)), levels[0])
    spent: list[tuple[float, int]] = []
    for mbps in levels:
        link.mbps = mbps
        for _ in range(100):
            before = link.spent_bytes
            link.tick()
            spent.append((link.at, link.spent_bytes - before))
    for start, _ in spent:
        assert sum(size for at, size in spent if start <= at < start + 59.9) <= max_bytes


@given(st.lists(st.sampled_from([1.0, 8.0, 20.0, 50.0, 200.0]), min_size=200, max_size=400))
@settings(deadline=None, max_examples=30)
def test_a_link_that_swings_is_not_lost_from_sight(levels: list[float]) -> None:
    """However many bytes its jumps have cost, with the usual budget it is looked at again within ten seconds."""
    link = SimulatedLink(LinkWatch(LinkSettings()), levels[0])
    link.run(2)
    looked_at = link.at
    for mbps in levels:
        link.mbps = mbps
        if link.tick().probe is not None:
            looked_at = link.at
        assert link.at - looked_at < 10.5


@pytest.mark.parametrize(("before", "after"), [(20.0, 2.0), (20.0, 0.05), (2.0, 20.0), (100.0, 1.0)])
def test_a_step_is_seen_by_probes_alone(before: float, after: float) -> None:
    """A suspected change is probed again at once, so a step is known soon after the next probe."""
    link = SimulatedLink(LinkWatch(LinkSettings()), before)
    link.run(30)
    link.mbps = after
    link.run(20)
    assert known(link) == pytest.approx(after, rel=0.1)


def test_a_thin_line_is_not_held_up() -> None:
    """On 0.05 Mbit/s probes are of the smallest size and take a sixth of the line at most."""
    link = SimulatedLink(LinkWatch(LinkSettings()), 0.05)
    link.run(20)
    before, probes = link.spent_bytes, link.probes
    link.run(120)
    assert link.probes - probes >= 5
    assert (link.spent_bytes - before) * 8 / 120 < 0.05e6 / 5
    assert probe_bytes(0.05, 5.0) == SMALLEST_PROBE_BYTES


def test_a_peer_that_answers_no_ping_gets_no_probe() -> None:
    """Bandwidth probes wait for a sign of life."""
    watch = LinkWatch(LinkSettings())
    assert watch.due(1.0, None) == Due(ping=True)
    assert watch.due(1.2, None) == Due()
    watch.round_trip(4.0)
    assert watch.due(1.4, None) == Due(probe=Probe(8, 2_048))


def test_a_busy_line_is_left_alone() -> None:
    """While something is in flight neither pings nor probes are added."""
    watch = LinkWatch(LinkSettings())
    assert watch.due(1.0, InFlight(600_000, 12.0)) == Due()


def test_fresh_transfers_replace_probes() -> None:
    """As long as real transfers show the bandwidth, no probe is sent; when they end, probes return."""
    link = SimulatedLink(LinkWatch(LinkSettings()), 20.0)
    link.run(10)
    probes = link.probes
    for _ in range(20):
        link.watch.delivered(Delivery("b", ROUTE, 600_000, 245.0, None), link.at)
        link.run(1)
    assert link.probes == probes
    link.run(12)
    assert link.probes > probes


def test_a_stuck_transfer_lowers_the_estimate_before_it_ends() -> None:
    """A transfer that takes far longer than the estimate allows is news while it is still under way."""
    link = SimulatedLink(LinkWatch(LinkSettings()), 20.0)
    link.run(10)
    link.watch.news(link.at)
    link.watch.due(link.at, InFlight(600_000, 3_000.0))
    assert known(link) == pytest.approx(1.6)
    news = link.watch.news(link.at)
    assert news is not None
    assert news.mbps == pytest.approx(1.6)


def test_only_news_is_published() -> None:
    """A steady link is published at its interval, a changed one at once, a silent one not at all."""
    link = SimulatedLink(LinkWatch(LinkSettings(publish_interval_s=10)), 20.0)
    link.run(5)
    assert link.watch.news(link.at) is not None
    assert link.watch.news(link.at) is None
    link.run(8)
    assert link.watch.news(link.at) is None
    link.run(3)
    assert link.watch.news(link.at) is not None
    link.mbps = 5.0
    link.run(6)
    changed = link.watch.news(link.at)
    assert changed is not None
    assert changed.mbps == pytest.approx(5.0, rel=0.1)
    assert link.watch.news(link.at + 100) is None


def test_a_budget_refills_after_a_minute() -> None:
    """What was spent more than 60 s ago no longer counts."""
    budget = ByteBudget(1_000)
    assert budget.take(600, 0.0)
    assert not budget.take(600, 59.0)
    assert budget.take(400, 59.0)
    assert budget.take(600, 60.0)
    assert not budget.take(1, 61.0)


@pytest.mark.parametrize(("max_bytes", "part_bytes", "part_s"), [(1_200_000, 200_000, 10.0), (20_000, 20_000, 60.0)])
def test_a_minute_is_spent_in_parts(max_bytes: int, part_bytes: int, part_s: float) -> None:
    """What is left is there ten seconds later, where a part of the minute is worth a probe."""
    budget = ByteBudget.of_a_minute(max_bytes)
    assert budget.take(part_bytes, 0.0)
    assert budget.left_bytes(part_s - 0.1) == 0
    assert budget.left_bytes(part_s) == part_bytes


@given(st.floats(0.001, 100_000), st.floats(0.1, 500))
def test_a_probe_is_large_enough_and_bounded(mbps: float, rtt_ms: float) -> None:
    """Above 1 Mbit/s a probe goes clearly beyond the ramp; no probe is larger than 256 KB."""
    size_bytes = probe_bytes(mbps, rtt_ms)
    assert SMALLEST_PROBE_BYTES <= size_bytes <= 262_144
    if mbps >= 1:
        assert size_bytes >= RAMP_BYTES * 3 // 2


def test_a_prober_publishes_its_link() -> None:
    """Over two real transports a reading with a round trip and a bandwidth comes out, and transfers are timed."""
    readings: queue.Queue[LinkReading] = queue.Queue()
    with Transport("edge", "tcp://127.0.0.1:0") as edge, Transport("fog", "tcp://127.0.0.1:0") as fog:
        prober = LinkProber("edge", edge, LinkSettings(), is_loading=lambda _: False, publish=readings.put)
        edge.start(Received(), prober)
        fog.start(Received())
        prober.start()
        edge.connect("fog", fog.endpoint)
        reading = readings.get(timeout=30)
        assert (reading.src, reading.dst, reading.method) == ("edge", "fog", "probe")
        assert reading.mbps > 1
        assert prober.estimate("fog") is not None
        assert prober.estimate("cloud") is None
        delivery = Delivery("fog", ROUTE, 1_000, reading.rtt_ms + 100, None)
        assert 0 < prober.transfer_ms(delivery) < reading.rtt_ms + 100
        prober.close()


def test_nothing_is_learnt_of_a_node_that_loads() -> None:
    """Its process may stand still: it is not asked, and what comes in late is no news of its link."""
    loading = {"fog"}
    with Transport("edge", "tcp://127.0.0.1:0") as edge, Transport("fog", "tcp://127.0.0.1:0") as fog:
        readings: queue.Queue[LinkReading] = queue.Queue()
        prober = LinkProber("edge", edge, LinkSettings(), is_loading=loading.__contains__, publish=readings.put)
        edge.start(Received(), prober)
        fog.start(Received())
        prober.start()
        edge.connect("fog", fog.endpoint)
        prober.on_round_trip("fog", 4_000.0)
        prober.on_probe(ProbeResult("fog", 32_768, 4_000.0, Slope(32_768, 4_000_000)))
        prober.on_delivered(Delivery("fog", ROUTE, 1_000_000, 4_000.0, None))
        with pytest.raises(queue.Empty):
            readings.get(timeout=1.0)
        loading.clear()
        assert readings.get(timeout=30).rtt_ms < 1_000
        prober.close()
