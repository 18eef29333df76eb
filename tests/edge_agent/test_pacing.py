"""Pacing as a specification: it follows the link, and never takes its own pace for the link's rate."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.lines import InFlight
from edge_agent.links import LinkEstimator, Slope
from edge_agent.pacing import PACED_BELOW_MBPS, Pace, is_of_the_link
from edge_agent.probes import LinkSettings, LinkWatch
from edge_agent.transport import Delivery, ProbeResult
from edge_agent.wire import Route

SHARE = 0.9
TICK_S = 0.2
RTT_MS = 5.0
TENSOR_BYTES = 600_000
ROUTE = Route("d", 1, bytes(16), 0)


class PacedLink:
    """A watched link of a known rate that is filled with tensors, always or now and then, held to the watch's pace."""

    def __init__(self, mbps: float, *, saturated: bool, noise: float, seed: int, drain_s: float = 0.0) -> None:
        """Its samples differ by `noise`; probes see the whole link, tensors its paced part.

        On a busy line a probe waits for `drain_s` until what was sent before it is there; others are not sent then.
        """
        self.watch = LinkWatch(LinkSettings(), pacing=SHARE)
        self.mbps, self._saturated, self._noise = mbps, saturated, noise
        self._random = random.Random(seed)
        self._at = self._spare_s = 0.0
        self._drain_s = drain_s
        self._probed: ProbeResult | None = None
        self._answered_at = 0.0

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / TICK_S)):
            self._at += TICK_S
            self._answer_probe()
            pace_mbps = self.watch.pace_mbps()
            busy = self._saturated or self._random.random() < 0.3
            if busy:
                self._transfer(pace_mbps)
            is_probed = self._probed is not None
            due = self.watch.due(self._at, InFlight(TENSOR_BYTES, 10.0, is_probed) if busy or is_probed else None)
            if due.ping or self._at < 1.0:
                self.watch.round_trip(RTT_MS)
            if due.probe is not None and not is_probed:
                self._answered_at = self._at + self._drain_s * busy
                self._send_probe(due.probe.chunks * due.probe.chunk_bytes)

    @property
    def known_mbps(self) -> float:
        """What is believed of the whole link."""
        pace_mbps = self.watch.pace_mbps()
        left = self.watch.estimate()
        assert left is not None
        return left.mbps if pace_mbps is None else pace_mbps / SHARE

    def _seen(self, mbps: float) -> float:
        return mbps * max(0.5, self._random.gauss(1.0, self._noise))

    def _transfer(self, pace_mbps: float | None) -> None:
        mbps = min(self._seen(self.mbps), pace_mbps or self.mbps)
        self._spare_s += TICK_S
        elapsed_ms = 8 * TENSOR_BYTES / (1_000 * mbps)
        while self._spare_s * 1_000 >= elapsed_ms:
            self._spare_s -= elapsed_ms / 1_000
            delivery = Delivery("b", ROUTE, TENSOR_BYTES, elapsed_ms + RTT_MS, None, pace_mbps)
            self.watch.delivered(delivery, self._at)

    def _send_probe(self, size_bytes: int) -> None:
        mbps = self._seen(self.mbps)
        elapsed_ms = RTT_MS + 8 * size_bytes / (1_000 * mbps)
        self._probed = ProbeResult(
            "b", size_bytes, elapsed_ms, Slope(size_bytes // 2, round(4_000 * size_bytes / mbps))
        )

    def _answer_probe(self) -> None:
        if self._probed is not None and self._at >= self._answered_at:
            self.watch.probed(self._probed, self._at)
            self._probed = None


@given(
    st.lists(st.sampled_from([2.0, 5.0, 9.0, 12.0, 20.0, 26.0, 60.0, 200.0]), min_size=2, max_size=5),
    st.booleans(),
    st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=60)
def test_a_paced_sender_knows_the_true_rate(levels: list[float], saturated: bool, seed: int) -> None:
    """However the link goes up and down, twenty seconds later it is known within some per cent, and stays so."""
    link = PacedLink(levels[0], saturated=saturated, noise=0.02, seed=seed)
    for mbps in levels:
        link.mbps = mbps
        link.run(20)
        for _ in range(5):
            link.run(4)
            assert link.known_mbps == pytest.approx(mbps, rel=0.09)


@pytest.mark.parametrize("saturated", [True, False])
def test_an_hour_of_pacing_does_not_spiral(saturated: bool) -> None:
    """Where transfers differ by 10 %, the slow ones among them do not talk the sender down."""
    link = PacedLink(20.0, saturated=saturated, noise=0.1, seed=1)
    link.run(60)
    known = []
    for _ in range(180):
        link.run(20)
        known.append(link.known_mbps)
    assert sum(known) / len(known) == pytest.approx(20.0, rel=0.05)
    assert min(known) > 12.0


def test_a_probe_that_waits_is_paid_for_once() -> None:
    """On a line where each has to wait for tensors, asking again and again would leave no bytes to see a rise with."""
    link = PacedLink(5.0, saturated=True, noise=0.02, seed=1, drain_s=3.0)
    for mbps in (5.0, 60.0, 15.0, 30.0):
        link.mbps = mbps
        link.run(12)
        assert link.known_mbps == pytest.approx(mbps, rel=0.15)


def test_what_is_told_of_the_link_is_what_tensors_get() -> None:
    """The estimate that goes to the cost model is the pace, not the link's whole rate."""
    link = PacedLink(20.0, saturated=False, noise=0.0, seed=1)
    link.run(10)
    left = link.watch.estimate()
    assert left is not None
    assert left.mbps == pytest.approx(SHARE * 20.0, rel=0.01)


def test_a_fast_link_is_not_paced() -> None:
    """Nor one that nothing is known of; near the bound the pace does not come and go."""
    pace = Pace(SHARE)
    pace.follow(None)
    assert pace.mbps is None
    pace.follow(PACED_BELOW_MBPS * 1.1)
    assert (pace.mbps, pace.left(330.0)) == (None, 330.0)
    pace.follow(PACED_BELOW_MBPS * 0.95)
    assert pace.mbps == pytest.approx(SHARE * PACED_BELOW_MBPS * 0.95)
    pace.follow(PACED_BELOW_MBPS * 1.1)
    assert pace.mbps is not None
    pace.follow(PACED_BELOW_MBPS * 1.5)
    assert pace.mbps is None


def test_the_pace_changes_by_more_than_a_twentieth_or_not_at_all() -> None:
    """Small moves of the estimate are not worth a call to the kernel."""
    pace = Pace(SHARE)
    pace.follow(20.0)
    pace.follow(20.9)
    assert pace.mbps == pytest.approx(18.0)
    pace.follow(21.2)
    assert pace.mbps == pytest.approx(SHARE * 21.2)


def test_nothing_is_paced_without_a_share() -> None:
    """The setting is null."""
    pace = Pace(None)
    pace.follow(5.0)
    assert (pace.mbps, pace.left(5.0)) == (None, 5.0)


def test_a_transfer_at_its_pace_tells_of_the_pace() -> None:
    """Only one that was clearly slower shows the link."""
    assert not is_of_the_link(17.9, 18.0)
    assert not is_of_the_link(15.0, 18.0)
    assert is_of_the_link(9.0, 18.0)
    assert is_of_the_link(17.9, None)


def test_a_transfer_at_its_pace_changes_nothing_but_doubts() -> None:
    """It confirms that the link carries that much: a single low probe before it is forgotten."""
    estimator = LinkEstimator()
    estimator.ping(RTT_MS)
    for at in range(10):
        estimator.probe(20.0, float(at))
    estimator.probe(2.0, 10.0)
    assert estimator.suspected_mbps == pytest.approx(2.0)
    estimator.transfer(TENSOR_BYTES, 8 * TENSOR_BYTES / 18_000 + RTT_MS, None, 11.0, 18.0)
    assert estimator.suspected_mbps is None
    assert estimator.mbps == pytest.approx(20.0)
    assert estimator.sampled_at == 10.0


def test_a_transfer_at_its_pace_lifts_a_bound() -> None:
    """After a stall the link was believed to be thin; it has carried more since."""
    estimator = LinkEstimator()
    estimator.ping(RTT_MS)
    estimator.probe(20.0, 1.0)
    estimator.ceiling(1.0, 2.0)
    assert estimator.sampled_mbps == pytest.approx(20.0)
    estimator.transfer(TENSOR_BYTES, 8 * TENSOR_BYTES / 18_000 + RTT_MS, None, 3.0, 18.0)
    assert estimator.mbps == pytest.approx(18.0)


def test_low_probes_among_transfers_at_their_pace_are_not_believed() -> None:
    """Two machines that are busy make every probe look slow; a link that dropped makes the transfers slow too."""
    estimator = LinkEstimator()
    estimator.ping(RTT_MS)
    estimator.probe(20.0, 1.0)
    at_pace_ms = 8 * TENSOR_BYTES / 18_000 + RTT_MS
    for at in range(2, 20):
        estimator.transfer(TENSOR_BYTES, at_pace_ms, None, float(at), 18.0)
        estimator.probe(6.0, at + 0.2)
        estimator.probe(6.0, at + 0.4)
    assert estimator.mbps == pytest.approx(20.0)
    estimator.transfer(TENSOR_BYTES, 8 * TENSOR_BYTES / 6_000 + RTT_MS, None, 20.0, 18.0)
    assert estimator.mbps == pytest.approx(6.0, rel=0.02)
