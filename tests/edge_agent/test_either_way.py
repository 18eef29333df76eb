"""The way to a peer changes while messages flow: none is lost, told twice or overtaken, whichever way breaks."""

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from eventually import eventually
from received import Received

from broker.mosquitto import PrivateMosquitto, free_port
from edge_agent.mqtt_way import MqttWay
from edge_agent.transport import Transport
from edge_agent.wire import Route, TensorsMessage

pytestmark = pytest.mark.usefixtures("nothing_left")

PATIENCE_S = 30
AFTER_S = 0.5


def tensors(number: int) -> TensorsMessage:
    """A message that holds its number, large enough to come in chunks."""
    return TensorsMessage(Route("faces", 1, number.to_bytes(16, "little"), 0), (np.full(80_000, number, np.float32),))


class Door:
    """A port that leads to another one while it is open; shutting it breaks what goes through."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self._to_port = to_port
        self._listener: socket.socket | None = None
        self._through: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let through whoever calls."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._let_in, self._listener)

    def shut(self) -> None:
        """Refuse who calls, and end what went through."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for thread in list(self._threads):
            for end in self._through:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            thread.join()
        for end in self._through:
            end.close()
        self._through, self._threads = [], []

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # any of ours
        self._threads.append(thread)
        thread.start()

    def _let_in(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                called = socket.create_connection(("127.0.0.1", self._to_port))
                self._through += [caller, called]
                self._start(self._carry, caller, called)
                self._start(self._carry, called, caller)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Pair:
    """An edge that reaches a fog node through a door, or the broker; the fog reaches the edge by the broker alone."""

    def __init__(self, broker: PrivateMosquitto, closing: contextlib.ExitStack) -> None:
        self.transports: dict[str, Transport] = {}
        self.received = {"edge": Received(), "fog": Received()}
        for name in ("edge", "fog"):
            mqtt = MqttWay(
                name,
                "home",
                broker.settings,
                client_id=f"tensors-{name}",
                call=lambda callee, name=name: self.transports[callee].called(name),  # type: ignore[misc]
            )
            transport = Transport(name, "tcp://127.0.0.1:0", mqtt=mqtt, fallback_after_s=AFTER_S)
            self.transports[name] = transport
            closing.callback(transport.close)
        for name, transport in self.transports.items():
            transport.start(self.received[name])
        self.edge, self.fog = self.transports["edge"], self.transports["fog"]
        self.door = Door(int(self.fog.endpoint.rpartition(":")[2]))
        closing.callback(self.door.shut)
        self.edge.connect("fog", self.door.endpoint, takes_mqtt=True)
        self.fog.connect("edge", f"tcp://127.0.0.1:{free_port()}", takes_mqtt=True)

    def goes(self, way: str) -> bool:
        """Wait until what the edge sends goes this way."""
        return eventually(lambda: self.edge.way("fog") == way)

    def arrived(self, count: int) -> list[int]:
        """The numbers of so many messages, as they came to the fog node."""
        got = self.received["fog"].tensors
        return [int(got.get(timeout=PATIENCE_S)[0].tensors[0][0]) for _ in range(count)]

    def nothing_else_arrives(self) -> bool:
        """Whether all has been told."""
        try:
            self.received["fog"].tensors.get(timeout=0.5)
        except queue.Empty:
            return True
        return False


@pytest.fixture
def pair(own_mosquitto: PrivateMosquitto) -> Iterator[Pair]:
    """Both nodes, and a door that is shut."""
    with contextlib.ExitStack() as closing:
        yield Pair(own_mosquitto, closing)


def test_a_peer_that_can_be_connected_to_is_not_sent_to_by_the_broker(pair: Pair) -> None:
    """Whatever goes the other way: one direction may be direct, and the other not."""
    pair.door.open()
    pair.edge.send("fog", tensors(1))
    assert pair.arrived(1) == [1]
    assert eventually(lambda: pair.fog.way("edge") == "mqtt")
    pair.fog.send("edge", tensors(2))
    message, src = pair.received["edge"].tensors.get(timeout=PATIENCE_S)
    assert (src, int(message.tensors[0][0])) == ("fog", 2)
    assert pair.edge.way("fog") == "direct"
    for name in ("edge", "fog"):
        assert pair.received[name].deliveries.get(timeout=PATIENCE_S).elapsed_ms > 0


def test_what_waited_for_a_connection_goes_by_the_broker(pair: Pair) -> None:
    """In its order, and ahead of what is sent then."""
    for number in range(5):
        pair.edge.send("fog", tensors(number))
    assert pair.goes("mqtt")
    pair.edge.send("fog", tensors(5))
    assert pair.arrived(6) == [0, 1, 2, 3, 4, 5]
    for _ in range(6):
        pair.received["edge"].deliveries.get(timeout=PATIENCE_S)


def test_the_direct_way_is_taken_again_while_messages_flow(pair: Pair) -> None:
    """To and fro, and every one arrives once, in order, and is acknowledged."""
    sent = 0
    stop = threading.Event()

    def send() -> None:
        nonlocal sent
        while not stop.wait(0.005):
            pair.edge.send("fog", tensors(sent))
            sent += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert pair.goes("mqtt")
        pair.door.open()
        assert pair.goes("direct")
        at_least = sent + 10
        assert eventually(lambda: sent > at_least)
    finally:
        stop.set()
        thread.join()
    assert pair.arrived(sent) == list(range(sent))
    assert pair.nothing_else_arrives()
    for _ in range(sent):
        pair.received["edge"].deliveries.get(timeout=PATIENCE_S)
    assert pair.edge.counters.undelivered == 0


def test_a_connection_that_breaks_is_replaced_by_the_broker(pair: Pair) -> None:
    """What had arrived does not come again."""
    pair.door.open()
    pair.edge.send("fog", tensors(0))
    assert pair.arrived(1) == [0]
    pair.door.shut()
    assert eventually(lambda: pair.edge.way("fog") == "mqtt")
    pair.edge.send("fog", tensors(1))
    assert pair.arrived(1) == [1]
    assert pair.nothing_else_arrives()


def test_a_broker_that_is_killed_holds_up_no_direct_way(pair: Pair, own_mosquitto: PrivateMosquitto) -> None:
    """What waited for it goes directly, ahead of what follows."""
    pair.edge.send("fog", tensors(0))
    assert pair.arrived(1) == [0]
    pair.received["edge"].deliveries.get(timeout=PATIENCE_S)
    own_mosquitto.kill()
    pair.edge.send("fog", tensors(1))
    pair.edge.send("fog", tensors(2))
    pair.door.open()
    assert pair.goes("direct")
    pair.edge.send("fog", tensors(3))
    assert pair.arrived(3) == [1, 2, 3]


def test_a_broker_that_comes_back_goes_on(pair: Pair, own_mosquitto: PrivateMosquitto) -> None:
    """Where there is no other way, what was sent meanwhile arrives then, once."""
    pair.edge.send("fog", tensors(0))
    assert pair.arrived(1) == [0]
    pair.received["edge"].deliveries.get(timeout=PATIENCE_S)
    own_mosquitto.kill()
    for number in range(1, 4):
        pair.edge.send("fog", tensors(number))
    own_mosquitto.start()
    assert pair.arrived(3) == [1, 2, 3]
    assert pair.nothing_else_arrives()


def test_a_peer_that_takes_nothing_by_the_broker_is_waited_for(pair: Pair) -> None:
    """It said so, or does not say."""
    pair.edge.connect("fog", pair.door.endpoint, takes_mqtt=False)
    pair.edge.send("fog", tensors(0))
    assert pair.nothing_else_arrives()
    pair.edge.connect("fog", pair.door.endpoint, takes_mqtt=False)
    assert pair.edge.way("fog") == "direct"
    pair.door.open()
    assert pair.arrived(1) == [0]


def test_a_peer_that_takes_it_no_more_is_not_sent_to_there(pair: Pair) -> None:
    """An agent may be started anew with other settings."""
    assert pair.goes("mqtt")
    pair.edge.connect("fog", pair.door.endpoint, takes_mqtt=False)
    assert pair.edge.way("fog") == "direct"
    pair.edge.send("fog", tensors(0))
    pair.door.open()
    assert pair.arrived(1) == [0]
