"""What a transport promises holds by either way: straight from agent to agent, and through the broker."""

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from eventually import eventually
from open_nodes_fixture import route, tensors
from received import Received

from broker.messages import TensorWay
from broker.mosquitto import PrivateMosquitto
from edge_agent.errors import SendError
from edge_agent.mqtt_way import MqttWay
from edge_agent.outgoing import MAX_OWED_MESSAGES
from edge_agent.transport import Transport
from edge_agent.wire import FailureMessage, StageRecord, TensorsMessage, TransferRecord, encode

pytestmark = pytest.mark.usefixtures("nothing_left")

PATIENCE_S = 30


@dataclass
class Node:
    """A transport and what it has received."""

    name: str
    transport: Transport
    received: Received
    observed: Received


class Site:
    """Transports that reach each other by one of both ways."""

    def __init__(self, way: TensorWay, broker: PrivateMosquitto, name: str, closing: contextlib.ExitStack) -> None:
        """Nobody is there yet."""
        self.way, self._broker, self._name, self._closing = way, broker, name, closing
        # Bound and never listened on: who calls there is refused.
        blocked = closing.enter_context(socket.socket())
        blocked.bind(("127.0.0.1", 0))
        self._blocked = f"tcp://127.0.0.1:{blocked.getsockname()[1]}"
        self._nodes: dict[str, Node] = {}

    def start(self, name: str) -> Node:
        """A node, on a free port of the loopback."""
        mqtt = MqttWay(
            name,
            self._name,
            self._broker.settings,
            client_id=f"{self._name}-{name}",
            call=lambda callee: self._nodes[callee].transport.called(name),
        )
        transport = Transport(name, "tcp://127.0.0.1:0", mqtt=mqtt, fallback_after_s=0.5)
        self._closing.callback(transport.close)
        node = self._nodes[name] = Node(name, transport, Received(), Received())
        transport.start(node.received, node.observed)
        return node

    def join(self, *nodes: Node) -> None:
        """Let each reach every other one, by this site's way."""
        for node in nodes:
            for peer in nodes:
                if peer is not node:
                    endpoint = peer.transport.endpoint if self.way == "direct" else self._blocked
                    node.transport.connect(peer.name, endpoint, takes_mqtt=True)
        for node in nodes:
            others = [peer.name for peer in nodes if peer is not node]
            assert eventually(lambda node=node, others=others: all(node.transport.way(o) == self.way for o in others))


@pytest.fixture(params=["direct", "mqtt"])
def home(request: pytest.FixtureRequest, mosquitto: PrivateMosquitto, site: str) -> Iterator[Site]:
    """A site for each way."""
    with contextlib.ExitStack() as closing:
        yield Site(request.param, mosquitto, site, closing)


@pytest.fixture
def pair(home: Site) -> tuple[Node, Node]:
    """An edge and a fog node that reach each other."""
    edge, fog = home.start("edge"), home.start("fog")
    home.join(edge, fog)
    return edge, fog


def test_tensors_arrive_and_are_acknowledged(pair: tuple[Node, Node]) -> None:
    """The receiver gets the values and the sender's name, the sender learns size and time."""
    edge, fog = pair
    sent = TensorsMessage(route(1), (np.arange(6, dtype=np.int8).reshape(2, 3),), (StageRecord(0, 5, 6),))
    edge.transport.send("fog", sent)
    message, src = fog.received.tensors.get(timeout=PATIENCE_S)
    assert (src, message.route, message.stages) == ("edge", sent.route, sent.stages)
    assert message.tensors[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    delivery = edge.received.deliveries.get(timeout=PATIENCE_S)
    assert edge.observed.deliveries.get(timeout=PATIENCE_S) == delivery
    assert (delivery.dst, delivery.route) == ("fog", sent.route)
    assert delivery.size_bytes == sum(map(len, encode(sent)))
    assert delivery.elapsed_ms > 0
    assert edge.transport.in_flight("fog") is None


def test_a_large_tensor_arrives_whole(pair: tuple[Node, Node]) -> None:
    """12.8 MB, VGG16's largest activation, arrive bit for bit."""
    edge, fog = pair
    values = np.random.default_rng(1).standard_normal((1, 224, 224, 64), dtype=np.float32)
    edge.transport.send("fog", TensorsMessage(route(1), (values,)))
    message, _ = fog.received.tensors.get(timeout=PATIENCE_S)
    assert np.array_equal(message.tensors[0], values)


def test_arrays_may_change_once_they_were_sent(pair: tuple[Node, Node]) -> None:
    """Whether they have left or wait."""
    edge, fog = pair
    values = np.zeros(500_000, np.float32)
    for number in range(10):
        values[:] = number
        edge.transport.send("fog", TensorsMessage(route(number), (values,)))
    for number in range(10):
        message, _ = fog.received.tensors.get(timeout=PATIENCE_S)
        assert message.route == route(number)
        assert (message.tensors[0] == number).all()


def test_a_node_passes_on_what_it_got(home: Site) -> None:
    """A relay sends received tensors on as they are."""
    edge, fog, cloud = (home.start(name) for name in ("edge", "fog", "cloud"))
    home.join(edge, fog, cloud)
    for number in range(20):
        edge.transport.send("fog", tensors(number, 50_000))
    for number in range(20):
        message, _ = fog.received.tensors.get(timeout=PATIENCE_S)
        fog.transport.send("cloud", TensorsMessage(route(number, hop=1), message.tensors))
    for number in range(20):
        message, src = cloud.received.tensors.get(timeout=PATIENCE_S)
        assert (src, message.route) == ("fog", route(number, hop=1))
        assert message.tensors[0].tolist() == [number] * 50_000


def test_failures_and_records_find_their_way(pair: tuple[Node, Node]) -> None:
    """They are not acknowledged, and arrive as they were."""
    edge, fog = pair
    failure, record = FailureMessage(route(1), "no memory"), TransferRecord(route(2), 1_000, 5_000)
    edge.transport.send("fog", failure)
    fog.transport.send("edge", record)
    assert fog.received.failures.get(timeout=PATIENCE_S) == (failure, "edge")
    assert edge.received.records.get(timeout=PATIENCE_S) == (record, "fog")


def test_many_threads_may_send(pair: tuple[Node, Node]) -> None:
    """Each thread's messages stay in order, and none is lost or told twice."""
    edge, fog = pair

    def send(first: int) -> None:
        for number in range(first, first + 20):
            edge.transport.send("fog", tensors(number, 10))

    threads = [threading.Thread(target=send, args=(first,)) for first in range(0, 100, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [int(fog.received.tensors.get(timeout=PATIENCE_S)[0].tensors[0][0]) for _ in range(100)]
    assert sorted(numbers) == list(range(100))
    for first in range(0, 100, 20):
        assert [number for number in numbers if first <= number < first + 20] == list(range(first, first + 20))
    for _ in range(100):
        edge.received.deliveries.get(timeout=PATIENCE_S)
    with pytest.raises(queue.Empty):
        fog.received.tensors.get_nowait()


def test_pings_and_probes_come_back(pair: tuple[Node, Node]) -> None:
    """They tell what this way is like, so that plans reckon with it."""
    edge, _ = pair
    edge.transport.ping("fog")
    dst, rtt_ms = edge.observed.round_trips.get(timeout=PATIENCE_S)
    assert dst == "fog"
    assert rtt_ms > 0
    edge.transport.probe("fog", 8, 16_384)
    result = edge.observed.probes.get(timeout=PATIENCE_S)
    assert result.dst == "fog"
    assert result.size_bytes > 8 * 16_384
    assert result.slope.counted_bytes > 0


def test_a_peer_that_was_disconnected_is_not_sent_to(pair: tuple[Node, Node]) -> None:
    """By whatever way it was reached."""
    edge, _ = pair
    edge.transport.disconnect("fog")
    with pytest.raises(SendError, match="no such peer"):
        edge.transport.send("fog", tensors(1))


def test_what_is_under_way_is_bounded(pair: tuple[Node, Node]) -> None:
    """Who is too slow to answer is not sent more and more."""
    edge, fog = pair
    fog.transport.close()

    def flood() -> None:
        for number in range(MAX_OWED_MESSAGES + 1):
            edge.transport.send("fog", tensors(number, 10))

    with pytest.raises(SendError, match="queue is full"):
        flood()


def test_bytes_are_counted(pair: tuple[Node, Node]) -> None:
    """Since the radio's energy is reckoned by them."""
    edge, fog = pair
    before = edge.transport.counters.sent_bytes, fog.transport.counters.received_bytes
    edge.transport.send("fog", tensors(1, 25_000))
    fog.received.tensors.get(timeout=PATIENCE_S)
    assert edge.transport.counters.sent_bytes - before[0] > 100_000
    assert fog.transport.counters.received_bytes - before[1] > 100_000
