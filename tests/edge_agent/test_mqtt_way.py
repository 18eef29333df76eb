"""The way through the broker, with a real Mosquitto: whole, in order, once; bounded; and deaf to strangers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from eventually import eventually
from paho.mqtt.enums import CallbackAPIVersion

from broker.mosquitto import PrivateMosquitto
from broker.topics import TENSORS
from edge_agent import mqtt_way
from edge_agent.chunks import CHUNK_BYTES, WINDOW_BYTES, Heard, Sort, receipt
from edge_agent.errors import SendError
from edge_agent.mqtt_way import MqttWay
from edge_agent.ways import Caller
from edge_agent.wire import Hello, Ping, Pong, Route, TensorsMessage, WireMessage, encode
from edge_agent.wire_reading import decode
from edge_agent.wire_tensors import TensorSpec

pytestmark = pytest.mark.usefixtures("nothing_left")

SITE = "home"
ROUTE = Route("faces", 1, bytes(16), 1)
LARGE = 5 * CHUNK_BYTES + 17

Told = tuple[str, Sort, bytes]


class Node:
    """One end of the way, and what it has heard."""

    def __init__(self, name: str, broker: PrivateMosquitto, called: Callable[[str, str], None]) -> None:
        self.name = name
        self.told: list[Told] = []
        self.calls = 0
        self._called = called
        self.way = MqttWay(name, SITE, broker.settings, client_id=f"tensors-{name}", call=self._call)
        self.way.start(self)

    def _call(self, peer: str) -> None:
        self.calls += 1
        self._called(peer, self.name)

    def send(self, peer: str, sort: Sort, content: bytes) -> None:
        """Send a tensor of bytes."""
        self.way.send(peer, sort, encode(TensorsMessage(ROUTE, (np.frombuffer(content, np.uint8),))))

    def memory_for(self, _route: Route, _specs: tuple[TensorSpec, ...]) -> None:
        """New memory."""

    def take(self, caller: Caller, src: str, message: WireMessage, _at_ns: int) -> bool:
        """Keep tensors, and answer a ping."""
        match message:
            case TensorsMessage():
                self.told.append((src, "message", message.tensors[0].tobytes()))
            case Ping(token):
                caller.reply(Pong(token))
            case _:
                return False
        return True

    def take_reply(self, peer: str, message: WireMessage, _at_ns: int) -> bool:
        """Keep tensors and pongs."""
        match message:
            case TensorsMessage():
                self.told.append((peer, "reply", message.tensors[0].tobytes()))
            case Pong(token):
                self.told.append((peer, "reply", bytes([token])))
            case _:
                return False
        return True

    def attend(self) -> None:
        """Nothing is due."""


Pair = tuple[Node, Node]


@pytest.fixture
def pair(own_mosquitto: PrivateMosquitto) -> Iterator[Pair]:
    """Two nodes that are each other's peers; nothing is connected yet."""
    nodes: dict[str, Node] = {}

    def call(callee: str, caller: str) -> None:
        if callee in nodes:
            nodes[callee].way.called(caller)

    with ExitStack() as opened:
        for name, peer in (("pi", "laptop"), ("laptop", "pi")):
            nodes[name] = Node(name, own_mosquitto, call)
            opened.callback(nodes[name].way.close)
            nodes[name].way.admit(peer)
        yield nodes["pi"], nodes["laptop"]


class Stranger:
    """One who is let in by an open broker, and says what it likes under any name."""

    def __init__(self, broker: PrivateMosquitto) -> None:
        """Come in."""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()

    def say(self, dst: str, src: str, payload: bytes) -> None:
        """Publish to a node under the name of another."""
        self._client.publish(TENSORS.address(SITE, dst, src), payload).wait_for_publish(5.0)

    def overhear(self, dst: str, src: str) -> list[int]:
        """The sizes of what a node is told by another, in a list that grows."""
        heard_bytes: list[int] = []
        self._client.on_message = lambda _client, _data, message: heard_bytes.append(len(message.payload))
        self._client.subscribe(TENSORS.address(SITE, dst, src))
        return heard_bytes

    def close(self) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()
        del self._client  # which keeps a pair of sockets for as long as it is there


@pytest.fixture
def stranger(own_mosquitto: PrivateMosquitto) -> Iterator[Stranger]:
    """One at this broker."""
    with closing(Stranger(own_mosquitto)) as stranger:
        yield stranger


def test_nothing_is_connected_before_it_is_needed(pair: Pair) -> None:
    """A peer may be admitted and never sent to."""
    assert [node.way.is_open for node in pair] == [False, False]


def test_messages_arrive_in_order_though_the_reader_was_not_there(pair: Pair) -> None:
    """The peer is called, connects, and hears all of it."""
    pi, laptop = pair
    messages: list[Told] = [("pi", "message", bytes([number]) * 1_000) for number in range(20)]
    for _, sort, content in messages:
        pi.send("laptop", sort, content)
    assert eventually(lambda: laptop.told == messages)
    assert pi.calls == 1
    assert eventually(lambda: pi.way.is_empty("laptop"))


def test_answers_come_back_the_same_way(pair: Pair) -> None:
    """Both ends are called and answer on one connection each."""
    pi, laptop = pair
    pi.send("laptop", "message", b"question")
    assert eventually(lambda: len(laptop.told) == 1)
    laptop.send("pi", "reply", b"answer")
    assert eventually(lambda: pi.told == [("laptop", "reply", b"answer")])


def test_large_tensors_come_in_chunks(pair: Pair) -> None:
    """As they were, in both directions at once."""
    pi, laptop = pair
    here, there = bytes(range(256)) * (LARGE // 256), bytes(reversed(range(256))) * (LARGE // 256)
    pi.send("laptop", "message", here)
    laptop.send("pi", "message", there)
    assert eventually(lambda: laptop.told == [("pi", "message", here)])
    assert eventually(lambda: pi.told == [("laptop", "message", there)])


def test_a_broker_that_was_killed_loses_nothing(pair: Pair, own_mosquitto: PrivateMosquitto) -> None:
    """What it had not handed on is sent again, once, to both sides."""
    pi, laptop = pair
    pi.send("laptop", "message", b"before")
    assert eventually(lambda: len(laptop.told) == 1)
    for number in range(10):
        pi.send("laptop", "message", bytes([number]) * CHUNK_BYTES)
        laptop.send("pi", "reply", bytes([number]))
        if number == 3:
            own_mosquitto.kill()
        if number == 6:
            own_mosquitto.start()
    assert eventually(lambda: len(laptop.told) == 11 and len(pi.told) == 10, timeout_s=30.0)
    assert [content[:1] for _, _, content in laptop.told[1:]] == [bytes([number]) for number in range(10)]
    assert [content for _, _, content in pi.told] == [bytes([number]) for number in range(10)]


def test_a_broker_that_is_not_there_yet_is_waited_for(pair: Pair, own_mosquitto: PrivateMosquitto) -> None:
    """What was said meanwhile arrives when it comes."""
    pi, laptop = pair
    own_mosquitto.stop()
    pi.send("laptop", "message", b"early")
    own_mosquitto.start()
    assert eventually(lambda: laptop.told == [("pi", "message", b"early")], timeout_s=30.0)


def test_the_broker_keeps_no_more_than_a_window(pair: Pair, stranger: Stranger) -> None:
    """A peer that confirms nothing is not sent the rest, and what waits here is bounded."""
    pi, _ = pair
    pi.way.admit("silent")
    heard_bytes = stranger.overhear("silent", "pi")
    pi.way.called("silent")
    pi.send("silent", "message", bytes(mqtt_way.MAX_KEPT_BYTES - CHUNK_BYTES))
    with pytest.raises(SendError, match="wait for the broker"):
        pi.send("silent", "message", bytes(2 * CHUNK_BYTES))
    assert eventually(lambda: pi.way.is_open)
    stranger.say("pi", "silent", receipt(Heard(), asks_again=True))
    assert eventually(lambda: sum(heard_bytes) > WINDOW_BYTES / 2)
    for _ in range(20):
        stranger.say("pi", "silent", receipt(Heard()))
    assert sum(heard_bytes) <= WINDOW_BYTES + 1_000


def test_who_is_no_peer_is_not_heard(pair: Pair, stranger: Stranger) -> None:
    """It is counted, and cannot have this node connect or answer."""
    pi, laptop = pair
    pi.way.called("nobody")
    assert not pi.way.is_open
    laptop.send("pi", "message", b"so that it listens")
    assert eventually(lambda: len(pi.told) == 1)
    stranger.say("pi", "nobody", receipt(Heard(), asks_again=True))
    assert eventually(lambda: pi.way.counters.refused == 1)
    assert len(pi.told) == 1
    with pytest.raises(SendError):
        pi.send("nobody", "message", b"x")


def test_a_peer_that_was_dismissed_is_not_heard_any_more(pair: Pair) -> None:
    """Nor sent to."""
    pi, laptop = pair
    pi.send("laptop", "message", b"one")
    assert eventually(lambda: len(laptop.told) == 1)
    laptop.way.dismiss("pi")
    pi.send("laptop", "message", b"two")
    assert eventually(lambda: laptop.way.counters.refused > 0)
    assert len(laptop.told) == 1


def test_hostile_payloads_are_counted_and_change_nothing(
    pair: Pair, stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a peer's name at a broker that is open, none of which ends what the true peer says; one line is logged."""
    pi, laptop = pair
    laptop.send("pi", "message", b"first")
    assert eventually(lambda: len(pi.told) == 1)
    flood = [b"", b"SPLC", b"\xff" * 100, receipt(Heard()) + b"more", bytes(1_000)] * 20
    for payload in flood:
        stranger.say("pi", "laptop", payload)
    assert eventually(lambda: pi.way.counters.malformed == len(flood))
    assert len([record for record in caplog.records if "dropped what came from laptop" in record.message]) == 1
    laptop.send("pi", "message", b"second")
    assert eventually(lambda: [content for _, _, content in pi.told] == [b"first", b"second"])


def test_it_closes_when_it_is_not_needed_and_opens_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection costs the broker something, and so does each one kept alive."""
    monkeypatch.setattr(mqtt_way, "IDLE_S", 0.5)
    pi, laptop = pair
    for number in range(2):
        pi.send("laptop", "message", b"x")
        assert eventually(lambda number=number: len(laptop.told) == number + 1)
        assert eventually(lambda: not pi.way.is_open and not laptop.way.is_open)


def test_what_waits_can_be_taken_back(pair: Pair, own_mosquitto: PrivateMosquitto) -> None:
    """To go directly, once that is possible and the broker is away."""
    pi, _ = pair
    own_mosquitto.stop()
    pi.send("laptop", "message", b"tensor")
    (content,) = pi.way.withdraw("laptop", sent=True)
    message = decode(content)
    assert isinstance(message, TensorsMessage)
    assert message.tensors[0].tobytes() == b"tensor"
    assert pi.way.is_empty("laptop")


def test_what_has_to_be_answered_is_answered_there(pair: Pair) -> None:
    """By whoever takes it, with nothing but the message in hand."""
    pi, laptop = pair
    pi.way.send("laptop", "message", encode(Ping(7)))
    assert eventually(lambda: pi.told == [("laptop", "reply", bytes([7]))])
    assert laptop.told == []


@pytest.mark.parametrize("content", [b"SPLT" + bytes(200), encode(Pong(1))[0], b"".join(encode(Hello("pi")))])
def test_a_message_that_makes_no_sense_here_is_counted(pair: Pair, content: bytes) -> None:
    """Noise, a reply that nobody asked for, and what belongs to another way."""
    pi, laptop = pair
    pi.way.send("laptop", "message", [content])
    assert eventually(lambda: laptop.way.counters.malformed == 1)
    assert laptop.told == []


def test_a_broker_that_admits_no_chunk_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It would hang up on each; the log says which of its settings is in the way."""
    with PrivateMosquitto(tmp_path / "strict", extra_configuration="max_packet_size 100000\n") as strict:
        node = Node("pi", strict, lambda _callee, _caller: None)
        try:
            node.way.admit("laptop")
            node.way.called("laptop")
            node.send("laptop", "message", bytes(CHUNK_BYTES))
            assert eventually(lambda: "raise its max_packet_size" in caplog.text)
            assert node.way.counters.sent_bytes == 0
        finally:
            node.way.close()


def test_closing_ends_it_wherever_it_is(own_mosquitto: PrivateMosquitto) -> None:
    """Before anything was sent, or while the broker is not there; and nothing is sent any more."""
    own_mosquitto.stop()
    idle, busy = (Node(name, own_mosquitto, lambda _callee, _caller: None) for name in ("idle", "busy"))
    busy.way.admit("peer")
    busy.send("peer", "message", b"x")
    for node in (idle, busy):
        node.way.close()
        node.way.close()
    with pytest.raises(SendError):
        busy.send("peer", "message", b"x")
