"""Pacing over real sockets: tensors are held to it, probes are not, and nothing is lost or overtaken meanwhile."""

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from eventually import eventually
from received import Received

from edge_agent.transport import Transport
from edge_agent.wire import FailureMessage, Route, TensorsMessage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux paces a connection")

PATIENCE_S = 30
LOOPBACK = "tcp://127.0.0.1:0"
PACE_MBPS = 40.0


def tensors(number: int, size_bytes: int) -> TensorsMessage:
    """A message of one tensor that holds its number."""
    route = Route("faces", 1, number.to_bytes(16, "little"), 0)
    return TensorsMessage(route, (np.full(size_bytes // 4, number, np.float32),))


class Pair:
    """A transport that sends to another one."""

    def __init__(self) -> None:
        """Both listen on loopback and are connected."""
        self.edge, self.fog = Transport("edge", LOOPBACK), Transport("fog", LOOPBACK)
        self.sent, self.seen, self.arrived = Received(), Received(), Received()
        self.edge.start(self.sent, self.seen)
        self.fog.start(self.arrived)
        self.edge.connect("fog", self.fog.endpoint)

    def mbps(self, size_bytes: int = 1_500_000) -> float:
        """How fast a tensor gets there."""
        self.edge.send("fog", tensors(0, size_bytes))
        self.arrived.tensors.get(timeout=PATIENCE_S)
        return 8 * size_bytes / (1_000 * self.sent.deliveries.get(timeout=PATIENCE_S).elapsed_ms)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected transports."""
    both = Pair()
    yield both
    both.edge.close()
    both.fog.close()


def test_tensors_are_held_to_the_pace(pair: Pair) -> None:
    """And the delivery says so, so that nobody takes the pace for the link's rate."""
    pair.mbps()
    pair.edge.pace("fog", PACE_MBPS)
    pair.mbps()
    pair.edge.send("fog", tensors(1, 1_500_000))
    delivery = pair.sent.deliveries.get(timeout=PATIENCE_S)
    assert delivery.pace_mbps == PACE_MBPS
    assert 8 * 1_500_000 / (1_000 * delivery.elapsed_ms) < 1.2 * PACE_MBPS


def test_the_pace_holds_on_the_next_connection_too(pair: Pair) -> None:
    """A peer that restarted is not sent to any faster."""
    pair.edge.pace("fog", PACE_MBPS)
    endpoint = pair.fog.endpoint
    pair.mbps()
    pair.fog.close()
    pair.fog = Transport("fog", endpoint)
    pair.arrived = Received()
    pair.fog.start(pair.arrived)
    assert pair.mbps() < 1.2 * PACE_MBPS


def test_a_probe_is_not_paced(pair: Pair) -> None:
    """It sees the whole line, though tensors were sent before and after it at their pace."""
    pair.edge.pace("fog", PACE_MBPS)
    pair.mbps()
    best = 0.0
    for _ in range(5):
        pair.edge.probe("fog", 8, 16_384)
        result = pair.seen.probes.get(timeout=PATIENCE_S)
        best = max(best, result.slope.mbps or 0.0)
        assert pair.mbps() < 1.2 * PACE_MBPS
    assert best > 3 * PACE_MBPS


def test_a_busy_line_is_probed_between_its_tensors(pair: Pair) -> None:
    """What was sent before the probe goes first, what was sent after it comes behind it, in order and whole."""
    pair.edge.pace("fog", PACE_MBPS)
    for number in range(3):
        pair.edge.send("fog", tensors(number, 400_000))
    pair.edge.probe("fog", 8, 4_096)
    pair.edge.probe("fog", 8, 4_096)
    for number in range(3, 6):
        pair.edge.send("fog", tensors(number, 400_000))
    failure = FailureMessage(Route("faces", 1, bytes(16), 0), "the segment is not loaded")
    pair.edge.send("fog", failure)
    numbers = [int(pair.arrived.tensors.get(timeout=PATIENCE_S)[0].tensors[0][0]) for _ in range(6)]
    assert numbers == list(range(6))
    assert pair.arrived.failures.get(timeout=PATIENCE_S)[0] == failure
    assert pair.seen.probes.get(timeout=PATIENCE_S).slope.mbps
    assert pair.seen.probes.empty()
    assert eventually(lambda: pair.edge.in_flight("fog") is None, PATIENCE_S)
    assert pair.edge.counters.undelivered == 0


def test_what_waits_for_a_probe_does_not_wait_for_ever(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that dies while it is probed gets what was held back once it is there again."""
    monkeypatch.setattr("edge_agent.looks.PATIENCE_NS", 300_000_000)
    pair.edge.pace("fog", PACE_MBPS)
    pair.mbps()
    endpoint = pair.fog.endpoint
    pair.fog.close()
    pair.edge.probe("fog", 8, 4_096)
    pair.edge.send("fog", tensors(9, 4_000))
    time.sleep(0.5)
    pair.fog = Transport("fog", endpoint)
    arrived = Received()
    pair.fog.start(arrived)
    assert arrived.tensors.get(timeout=PATIENCE_S)[0].route == tensors(9, 4_000).route


def test_a_pace_may_be_lifted(pair: Pair) -> None:
    """The next tensors go as fast as they can, and a peer that is not known has no pace."""
    pair.edge.pace("cloud", PACE_MBPS)
    pair.edge.pace("fog", PACE_MBPS)
    pair.mbps()
    pair.edge.pace("fog", None)
    assert max(pair.mbps(4_000_000) for _ in range(5)) > 2 * PACE_MBPS
