"""A session over a real Mosquitto: what is delivered, what is dropped, and that nothing stops it."""

import logging
import math
import queue
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eventually import eventually
from messages_to_send import REQUEST, energy
from paho.mqtt import publish as paho_publish

from broker import client_setup
from broker.drops import DroppedCounts
from broker.errors import ConnectionFailedError, MalformedMessageError
from broker.messages import EnergyReading, InferReply, InferRequest, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Incoming, Session
from broker.topics import ENERGY, INFER, REPLY, STATUS
from splitrail.errors import SplitrailError

pytestmark = pytest.mark.usefixtures("nothing_left")


def send_raw(mosquitto: PrivateMosquitto, address: str, payload: bytes, *, retain: bool = False) -> None:
    paho_publish.single(address, payload, qos=1, retain=retain, hostname="127.0.0.1", port=mosquitto.port)


def test_a_message_arrives_typed_with_the_levels_of_its_topic(mosquitto: PrivateMosquitto, site: str) -> None:
    """A handler gets the decoded message and the variable levels of its address."""
    received: queue.Queue[Incoming[EnergyReading]] = queue.Queue()
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:
        session.on(ENERGY, received.put)
        assert session.publish(ENERGY, energy(7), "pi")
        incoming = received.get(timeout=20)
    assert (incoming.message, incoming.levels, incoming.retained) == (energy(7), ("pi",), False)


def test_sites_do_not_see_each_other(mosquitto: PrivateMosquitto, site: str) -> None:
    """What one site publishes does not reach a session of another."""
    received: queue.Queue[Incoming[EnergyReading]] = queue.Queue()
    with (
        Session(mosquitto.settings, site=site, client_id=f"{site}-a") as ours,
        Session(mosquitto.settings, site=f"{site}-other", client_id=f"{site}-b") as theirs,
    ):
        ours.on(ENERGY, received.put)
        ours.publish(ENERGY, energy(0), "pi")
        assert received.get(timeout=20).message.sequence == 0
        theirs.publish(ENERGY, energy(1), "pi")
        ours.publish(ENERGY, energy(2), "pi")
        assert received.get(timeout=20).message.sequence == 2
    assert received.empty()


def test_one_handler_for_a_family_and_one_for_an_address_each_get_a_message_once(
    mosquitto: PrivateMosquitto, site: str
) -> None:
    """Subscriptions that overlap deliver nothing twice, in whichever order they were made."""
    family: queue.Queue[Incoming[EnergyReading]] = queue.Queue()
    address: queue.Queue[Incoming[EnergyReading]] = queue.Queue()
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:
        session.on(ENERGY, address.put, levels=("pi",))
        session.on(ENERGY, family.put)
        for sequence, node in enumerate(["pi", "laptop", "pi"]):
            session.publish(ENERGY, msgspec.structs.replace(energy(sequence), node=node), node)
        assert [family.get(timeout=20).message.sequence for _ in range(3)] == [0, 1, 2]
    assert [incoming.message.sequence for incoming in address.queue] == [0, 2]
    assert family.empty()


def test_a_message_speaks_of_nobody_else_than_its_topic(mosquitto: PrivateMosquitto, site: str) -> None:
    """What the broker lets a node say in its own name cannot be about another: it is dropped and counted."""
    heard: queue.Queue[Incoming[NodeStatus]] = queue.Queue()
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:
        session.on(STATUS, heard.put)
        session.publish(STATUS, NodeStatus(node="laptop", session="s1", state="offline"), "pi")
        session.publish(STATUS, NodeStatus(node="pi", session="s1", state="offline"), "pi")
        assert heard.get(timeout=20).message.node == "pi"
        assert session.dropped.malformed == 1


def test_a_late_subscriber_gets_what_is_retained_and_sees_that_it_was(mosquitto: PrivateMosquitto, site: str) -> None:
    """Retained state reaches whoever comes later, marked as retained."""
    received: queue.Queue[Incoming[NodeStatus]] = queue.Queue()
    status = NodeStatus(node="pi", session="s1", state="offline")
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as early:
        early.publish(STATUS, status, "pi")
    with Session(mosquitto.settings, site=site, client_id=f"{site}-b") as late:
        late.on(STATUS, received.put)
        incoming = received.get(timeout=20)
    assert incoming.message == status
    assert incoming.retained


def test_what_does_not_fit_is_counted_and_dropped(
    mosquitto: PrivateMosquitto, site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Malformed, unknown and oversized messages are counted, logged once for each topic, and hurt nothing."""
    monkeypatch.setattr("broker.limits.MAX_PAYLOAD_BYTES", 1_000_000)
    received: queue.Queue[Incoming[EnergyReading]] = queue.Queue()
    address = ENERGY.address(site, "pi")
    valid = ENERGY.encode(energy(0))
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-a")
    session.on(ENERGY, received.put)
    with caplog.at_level(logging.WARNING, "splitrail.broker"), session:
        bottomless = b'{"more":' * 100_000
        for payload in (
            b"{",
            b"null",
            b"\xff\xfe",
            b"{}",
            bottomless,
            valid.replace(b'"power_w":3.0', b'"power_w":-3.0'),
        ):
            send_raw(mosquitto, address, payload)
        send_raw(mosquitto, address, valid + b" " * 1_000_000)
        send_raw(mosquitto, ENERGY.address(site, "no node"), valid)
        send_raw(mosquitto, address, b"")
        session.publish(ENERGY, energy(1), "pi")
        assert received.get(timeout=20).message.sequence == 1
        assert session.dropped == DroppedCounts(malformed=6, unknown=1, oversized=1)
    assert len([record for record in caplog.records if "malformed" in record.message or "not a" in record.message]) == 1


def test_a_number_beyond_a_floats_range_is_malformed(mosquitto: PrivateMosquitto, site: str) -> None:
    """No infinity comes in, not even as 1e999."""
    received: queue.Queue[Incoming[EnergyReading]] = queue.Queue()
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-a")
    session.on(ENERGY, received.put)
    with session:
        payload = ENERGY.encode(energy(0)).replace(b'"power_w":3.0', b'"power_w":1e999')
        send_raw(mosquitto, ENERGY.address(site, "pi"), payload)
        assert eventually(lambda: session.dropped.malformed == 1)
    assert received.empty()


@pytest.mark.parametrize("figure", [math.nan, math.inf, -math.inf])
def test_a_figure_that_json_does_not_have_is_refused_at_the_sender(
    mosquitto: PrivateMosquitto, site: str, figure: float
) -> None:
    """NaN and infinity raise where they arise, with the field's name, instead of travelling as null."""
    with (
        Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session,
        pytest.raises(MalformedMessageError, match=r"power_w is not a finite number"),
    ):
        session.publish(ENERGY, energy(1, power_w=figure), "pi")


@pytest.mark.parametrize("level", ["a/b", "+", "#", "", "a b", "x" * 65])
def test_a_level_that_would_change_the_topic_is_refused(mosquitto: PrivateMosquitto, site: str, level: str) -> None:
    """A name with MQTT's own signs cannot reach another topic."""
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-a")
    with pytest.raises(MalformedMessageError, match="not a topic"):
        session.publish(ENERGY, energy(1), level)
    session.close()


def test_a_message_larger_than_the_broker_admits_is_refused_at_the_sender(tmp_path: Path, site: str) -> None:
    """The broker's own bound is respected, since it hangs up on whoever does not."""
    with (
        PrivateMosquitto(tmp_path, extra_configuration="max_packet_size 10000\n") as small,
        Session(small.settings, site=site, client_id="a") as session,
    ):
        with pytest.raises(MalformedMessageError, match="more than this topic or the broker admits"):
            session.publish(INFER, InferRequest(request_id="r", image=bytes(10_000)), "d")
        assert session.connected


def test_a_handler_that_fails_is_logged_and_the_next_message_still_comes(
    mosquitto: PrivateMosquitto, site: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a SplitrailError nor any other exception of a handler ends the session."""
    received: queue.Queue[int] = queue.Queue()

    def fail(incoming: Incoming[EnergyReading]) -> None:
        received.put(incoming.message.sequence)
        raise SplitrailError("the store is full") if incoming.message.sequence == 0 else ZeroDivisionError

    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:
        session.on(ENERGY, fail)
        for sequence in range(3):
            session.publish(ENERGY, energy(sequence), "pi")
        assert [received.get(timeout=20) for _ in range(3)] == [0, 1, 2]
        assert session.connected
    assert "the store is full" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_request_gets_its_own_reply(mosquitto: PrivateMosquitto, site: str) -> None:
    """A reply finds the request that it answers, also among several."""
    server = Session(mosquitto.settings, site=site, client_id=f"{site}-a")

    def answer(incoming: Incoming[InferRequest]) -> None:
        server.reply(incoming, REPLY, InferReply(request_id=incoming.message.request_id))

    server.on(INFER, answer)
    with server, Session(mosquitto.settings, site=site, client_id=f"{site}-b") as client:
        assert [ask(client, f"r{number}") for number in range(5)] == [f"r{number}" for number in range(5)]


def ask(client: Session, request_id: str) -> str:
    request = InferRequest(request_id=request_id, image=b"image")
    return client.request(INFER, request, "deployment", timeout_s=20.0).request_id


def test_a_request_that_nobody_answers_times_out(mosquitto: PrivateMosquitto, site: str) -> None:
    """NoReplyError, which is a TimeoutError, names the topic that was asked."""
    with (
        Session(mosquitto.settings, site=site, client_id=f"{site}-a") as client,
        pytest.raises(TimeoutError, match=r"infer/deployment: no reply within 0.05 s"),
    ):
        client.request(INFER, REQUEST, "deployment", timeout_s=0.05)


def test_a_handler_may_not_wait_for_a_reply(mosquitto: PrivateMosquitto, site: str) -> None:
    """A request on the network thread would wait for itself; it says so instead."""
    errors: queue.Queue[Exception] = queue.Queue()
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:

        def wait_for_itself(_: Incoming[EnergyReading]) -> None:
            try:
                session.request(INFER, REQUEST, "deployment", timeout_s=1.0)
            except RuntimeError as error:
                errors.put(error)

        session.on(ENERGY, wait_for_itself)
        session.publish(ENERGY, energy(0), "pi")
        assert "must not wait" in str(errors.get(timeout=20))


@pytest.mark.parametrize("response_topic", [None, "", "$SYS/x", "a/+", "splitrail/v1/any/plans/d"])
def test_no_reply_goes_where_it_could_do_harm(
    mosquitto: PrivateMosquitto, site: str, response_topic: str | None
) -> None:
    """A requester cannot have its reply sent to a topic of ours that means something else."""
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:
        incoming: Incoming[Any] = Incoming(REQUEST, ("d",), False, response_topic, None)
        assert not session.reply(incoming, REPLY, InferReply(request_id="r1"))


def test_a_handler_may_close_its_session(mosquitto: PrivateMosquitto, site: str) -> None:
    """Closing from a handler ends the session in order, and closing again does no harm."""
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-a")
    session.on(ENERGY, lambda _: session.close())
    session.start()
    session.publish(ENERGY, energy(0), "pi")
    assert eventually(lambda: not session.connected)
    session.close()


def test_the_socket_does_not_wait_to_fill_its_packets(mosquitto: PrivateMosquitto, site: str) -> None:
    """TCP_NODELAY is set; without it every acknowledged message costs 44 ms."""
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as session:
        opened = session._connection._client.socket()
        assert isinstance(opened, socket.socket)
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_state_is_republished_and_the_queue_delivered_after_the_broker_was_killed(tmp_path: Path, site: str) -> None:
    """A killed and restarted broker is found again, owners publish their state anew, and what waited arrives."""
    connections: queue.Queue[None] = queue.Queue()
    heard: list[int] = []
    with (
        PrivateMosquitto(tmp_path) as own,
        Session(own.settings, site=site, client_id="a") as sender,
        Session(own.settings, site=site, client_id="b") as receiver,
    ):
        receiver.on(ENERGY, lambda incoming: heard.append(incoming.message.sequence))
        sender.on_connected(lambda: connections.put(None))
        own.kill()
        assert eventually(lambda: not sender.connected and not receiver.connected)
        assert sender.publish(ENERGY, energy(5), "pi")
        own.start()
        connections.get(timeout=60)
        # Again and again, for the receiver may be connected and its subscription not yet taken.
        assert eventually(lambda: sender.publish(ENERGY, energy(6), "pi") and 6 in heard, 60)
    assert connections.empty()


def test_a_queue_that_is_full_refuses_and_counts(tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the broker is away messages wait up to a bound; beyond it publish says no and counts."""
    monkeypatch.setattr(client_setup, "MAX_QUEUED_MESSAGES", 5)
    with PrivateMosquitto(tmp_path) as own, Session(own.settings, site=site, client_id="a") as session:
        own.kill()
        assert eventually(lambda: not session.connected)
        assert [session.publish(ENERGY, energy(number), "pi") for number in range(7)] == [True] * 5 + [False] * 2
        assert session.dropped.unsent == 2
        with pytest.raises(ConnectionFailedError, match="cannot send"):
            session.request(INFER, REQUEST, "deployment", timeout_s=60)
