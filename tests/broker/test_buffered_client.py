"""The MQTT client that reads ahead: against a real broker, and through a socket that gives only parts."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from eventually import eventually
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from broker.buffered_client import BufferedClient
from broker.messages import LinkReading
from broker.mosquitto import PrivateMosquitto
from broker.session import Incoming, Session
from broker.topics import LINK

ACK = b"\x40\x02"


def publish(number: int, payload: bytes, properties: bytes = b"") -> bytes:
    """A PUBLISH packet at QoS 1."""
    body = b"\x00\x05a/b/c" + number.to_bytes(2) + bytes([len(properties)]) + properties + payload
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 128, len(body) // 128])
    return b"\x32" + length + body


@contextmanager
def connected() -> Iterator[tuple[BufferedClient, socket.socket, list[MQTTMessage]]]:
    """A client whose connection ends in our hand, and what it hears."""
    ours, theirs = socket.socketpair()
    client = BufferedClient(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    heard: list[MQTTMessage] = []
    client.on_message = lambda _client, _data, message: heard.append(message)
    client.on_socket_register_write = lambda *_: None
    client._sock = theirs
    theirs.setblocking(False)
    try:
        yield client, ours, heard
    finally:
        client._sock = None
        ours.close()
        theirs.close()


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), min_size=1, max_size=8),
    st.lists(st.integers(1, 1_000), max_size=10),
)
def test_messages_are_whole_wherever_the_stream_is_cut(contents: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    """With and without properties; each is acknowledged once, in order."""
    properties = b"\x08\x00\x01r"  # the response topic `r`
    stream = b"".join(
        publish(number, payload, properties if has_some else b"")
        for number, (payload, has_some) in enumerate(contents, 1)
    )
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    with connected() as (client, ours, heard):
        for first, last in itertools.pairwise(places):
            ours.sendall(stream[first:last])
            client.take(100)
        client.loop_write()
        client.flush()
        assert [bytes(message.payload) for message in heard] == [payload for payload, _ in contents]
        assert [message.topic for message in heard] == ["a/b/c"] * len(contents)
        topics = [getattr(message.properties, "ResponseTopic", None) for message in heard]
        assert topics == ["r" if has_some else None for _, has_some in contents]
        acknowledged = b"".join(ACK + number.to_bytes(2) for number in range(1, len(contents) + 1))
        assert ours.recv(1_000) == acknowledged


def test_it_takes_no_more_at_once_than_asked() -> None:
    """So that what is to be sent has its turn; the rest is known to be there."""
    with connected() as (client, ours, heard):
        ours.sendall(publish(1, b"a") + publish(2, b"b") + publish(3, b"c"))
        client.take(2)
        assert len(heard) == 2
        assert client.has_read_ahead
        client.take(2)
        assert len(heard) == 3
        assert not client.has_read_ahead


def test_what_follows_an_acknowledgement_is_sent_after_it() -> None:
    """Though the acknowledgement was held back."""
    with connected() as (client, ours, _heard):
        ours.sendall(publish(7, b"a"))
        client.take(1)
        client.publish("x", b"later", qos=0)
        client.loop_write()
        client.flush()
        sent = ours.recv(1_000)
        assert sent.startswith(ACK + b"\x00\x07")
        assert sent.endswith(b"later")
        assert not client.want_write()


def test_of_another_connection_nothing_is_left() -> None:
    """Neither half a packet nor an acknowledgement."""
    with connected() as (client, ours, heard):
        ours.sendall(publish(1, b"a") + publish(2, b"b"))
        client.take(1)
        client.loop_write()
        client.begin_anew()
        assert not client.has_read_ahead
        assert not client.want_write()
        assert len(heard) == 1


def test_a_burst_arrives_whole_and_in_order_through_a_real_broker(mosquitto: PrivateMosquitto, site: str) -> None:
    """More than may be under way at once."""
    heard: list[float] = []
    count = 3_000
    done = threading.Event()
    taker = Session(mosquitto.settings, site=site, client_id=f"{site}-taker")
    giver = Session(mosquitto.settings, site=site, client_id=f"{site}-giver")

    def hear(incoming: Incoming[LinkReading]) -> None:
        heard.append(incoming.message.at)
        if len(heard) == count:
            done.set()

    # Before it starts, so that the broker has taken the subscription when the first message is sent.
    taker.on(LINK, hear)
    with taker, giver:
        for number in range(count):
            reading = LinkReading(
                src="a", dst="b", at=number, rtt_ms=1.0, rtt_ms_std=0.0, mbps=1.0, mbps_std=0.0, method="probe"
            )
            assert eventually(lambda reading=reading: giver.publish(LINK, reading, "a", "b"))
        assert done.wait(60.0)
    assert heard == list(range(count))
