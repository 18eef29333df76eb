"""The tensor transport over real sockets: delivery, acknowledgement, bounds, restarts, and nothing left behind."""

import contextlib
import logging
import queue
import socket
import threading
from collections.abc import Callable

import numpy as np
import pytest
from eventually import eventually
from open_nodes_fixture import Node, route, tensors
from received import Received
from wire_speaker import WireSpeaker, packed

from edge_agent.errors import SendError, TransportError
from edge_agent.outgoing import MAX_OWED_MESSAGES
from edge_agent.transport import Transport
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Hello,
    Ping,
    Pong,
    Route,
    TensorsMessage,
    TransferRecord,
    Welcome,
)
from edge_agent.wire_layout import MAGIC, WIRE_VERSION
from edge_agent.wire_tensors import Tensor, TensorSpec

PATIENCE_S = 30


def test_failures_and_records_find_their_way(start: Callable[..., Node]) -> None:
    """A failure and a transfer record arrive as they were sent, with their sender's name."""
    edge, cloud = start("edge"), start("cloud")
    cloud.transport.connect("edge", edge.transport.endpoint)
    failure = FailureMessage(route(1), "the segment is not loaded")
    record = TransferRecord(route(1), 600_000, 12_000_000)
    cloud.transport.send("edge", failure)
    cloud.transport.send("edge", record)
    assert edge.received.failures.get(timeout=PATIENCE_S) == (failure, "cloud")
    assert edge.received.records.get(timeout=PATIENCE_S) == (record, "cloud")


def test_many_threads_may_send(start: Callable[..., Node]) -> None:
    """Messages from several threads all arrive, each thread's in order."""
    edge, fog = start("edge"), start("fog")
    edge.transport.connect("fog", fog.transport.endpoint)

    def send(first: int) -> None:
        for number in range(first, first + 50):
            edge.transport.send("fog", tensors(number))

    threads = [threading.Thread(target=send, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = [int(fog.received.tensors.get(timeout=PATIENCE_S)[0].tensors[0][0]) for _ in range(150)]
    for first in (0, 100, 200):
        assert [number for number in arrived if first <= number < first + 100] == list(range(first, first + 50))


def test_pings_and_probes_come_back(start: Callable[..., Node]) -> None:
    """A ping on an idle line tells the round trip, a probe what its receiver saw of it."""
    edge, fog = start("edge"), start("fog")
    edge.transport.connect("fog", fog.transport.endpoint)
    edge.transport.ping("fog")
    dst, rtt_ms = edge.observed.round_trips.get(timeout=PATIENCE_S)
    assert (dst, rtt_ms > 0) == ("fog", True)
    edge.transport.probe("fog", 8, 4_096)
    result = edge.observed.probes.get(timeout=PATIENCE_S)
    assert (result.dst, result.slope.counted_bytes) == ("fog", 3 * 4_096)
    assert result.size_bytes > 32_768


def test_what_a_restart_lost_is_noticed(start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that a peer took with it when it died do not keep the line busy: the next one's answer settles them."""
    monkeypatch.setattr("edge_agent.lines.HEARTBEAT_NS", 500_000_000)
    edge = start("edge")
    with socket.create_server(("127.0.0.1", 0)) as dying:
        dying.settimeout(PATIENCE_S)
        port = dying.getsockname()[1]
        edge.transport.connect("fog", f"tcp://127.0.0.1:{port}")
        edge.transport.send("fog", tensors(1, 1_000_000))
        taken, _ = dying.accept()
        # A welcome, by which the tensors are let out; then the peer dies with them.
        with taken:
            taken.settimeout(PATIENCE_S)
            taken.sendall(packed(Welcome()))
            received = 0
            with contextlib.suppress(TimeoutError):
                while data := taken.recv(1_000_000):
                    received += len(data)
                    taken.settimeout(PATIENCE_S if received < 4_000_000 else 0.2)
    fog = start("fog", f"tcp://127.0.0.1:{port}")
    assert eventually(lambda: edge.transport.in_flight("fog") is None)
    assert edge.transport.counters.undelivered == 1
    assert fog.received.tensors.empty()


def test_two_agents_of_one_name_do_not_clash(start: Callable[..., Node]) -> None:
    """A second agent of the same name is served as well as the first."""
    first, second, fog = start("edge"), start("edge"), start("fog")
    for number, node in enumerate((first, second)):
        node.transport.connect("fog", fog.transport.endpoint)
        node.transport.send("fog", tensors(number))
        assert node.received.deliveries.get(timeout=PATIENCE_S).route == route(number)
    assert {fog.received.tensors.get(timeout=PATIENCE_S)[1] for _ in range(2)} == {"edge"}


def test_an_unknown_peer_is_refused(start: Callable[..., Node]) -> None:
    """Sending to a peer that was never connected, or was disconnected, says so."""
    edge, fog = start("edge"), start("fog")
    with pytest.raises(SendError, match="cannot send to fog: no such peer"):
        edge.transport.send("fog", tensors(1))
    edge.transport.connect("fog", fog.transport.endpoint)
    edge.transport.disconnect("fog")
    edge.transport.disconnect("fog")
    assert edge.transport.peers == ()
    with pytest.raises(SendError):
        edge.transport.send("fog", tensors(1))


def test_a_queue_is_bounded(start: Callable[..., Node]) -> None:
    """What is under way to a peer that never answers is bounded in number, and another peer is not touched by it."""
    edge, fog = start("edge"), start("fog")
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        edge.transport.connect("cloud", f"tcp://127.0.0.1:{never_answers.getsockname()[1]}")
        edge.transport.connect("fog", fog.transport.endpoint)
        for number in range(MAX_OWED_MESSAGES):
            edge.transport.send("cloud", tensors(number))
        with pytest.raises(SendError, match="its queue is full"):
            edge.transport.send("cloud", tensors(999))
        edge.transport.send("fog", tensors(5))
        assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == route(5)


def test_a_queue_is_bounded_in_bytes(start: Callable[..., Node]) -> None:
    """However few the messages are, their bytes are bounded too."""
    edge = start("edge")
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        edge.transport.connect("cloud", f"tcp://127.0.0.1:{never_answers.getsockname()[1]}")
        large = TensorsMessage(route(1), (np.zeros(60_000_000, np.int8),))
        with pytest.raises(SendError, match="its queue is full"):
            for number in range(10):
                edge.transport.send("cloud", TensorsMessage(route(number), large.tensors))


def test_arrays_may_change_once_they_are_sent(start: Callable[..., Node]) -> None:
    """Before the peer is reached, while the kernel takes them, and after: what arrives is what they were."""
    edge, fog = start("edge"), start("fog")
    values = np.full(1_500_000, 7, np.int32)
    edge.transport.connect("fog", fog.transport.endpoint)
    for number in range(8):
        values[:] = number
        edge.transport.send("fog", TensorsMessage(route(number), (values,)))
    values[:] = -1
    for number in range(8):
        message, _ = fog.received.tensors.get(timeout=PATIENCE_S)
        assert message.route == route(number)
        assert set(np.unique(message.tensors[0])) == {number}


def test_tensors_come_into_the_memory_that_the_receiver_gives() -> None:
    """Large ones, each into its own array; where it gives none, and for small ones, new ones are made."""

    class Giving(Received):
        def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> "list[Tensor] | None":
            asked.append((route, specs))
            return places.get(route.request)

    asked: list[tuple[Route, tuple[TensorSpec, ...]]] = []
    sizes = (100_000, 100, 1_000_000)
    places = {route(n).request: [np.zeros(size, np.float32), np.zeros(3, np.int8)] for n, size in enumerate(sizes[:1])}
    receiver = Giving()
    with Transport("fog", "tcp://127.0.0.1:0") as fog, Transport("edge", "tcp://127.0.0.1:0") as edge:
        fog.start(receiver)
        edge.start(Received())
        edge.connect("fog", fog.endpoint)
        for number, size in enumerate(sizes):
            values = np.arange(size, dtype=np.float32)
            edge.send("fog", TensorsMessage(route(number), (values, np.arange(3, dtype=np.int8))))
            message, _ = receiver.tensors.get(timeout=PATIENCE_S)
            assert np.array_equal(message.tensors[0], values)
            assert message.tensors[1].tolist() == [0, 1, 2]
            given = places.get(route(number).request)
            assert given is None or all(a is b for a, b in zip(given, message.tensors, strict=True))
    assert asked == [
        (route(number), (TensorSpec((size,), np.dtype(np.float32), 4 * size), TensorSpec((3,), np.dtype(np.int8), 3)))
        for number, size in enumerate(sizes)
        if size > 100
    ]


def test_memory_that_does_not_fit_is_a_fault_of_the_receiver(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the tensors get memory of their own."""

    class Wrong(Received):
        def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> "list[Tensor]":
            return [np.zeros(1, np.int8)]

    receiver = Wrong()
    with Transport("fog", "tcp://127.0.0.1:0") as fog, Transport("edge", "tcp://127.0.0.1:0") as edge:
        fog.start(receiver)
        edge.start(Received())
        edge.connect("fog", fog.endpoint)
        edge.send("fog", TensorsMessage(route(1), (np.ones(100_000, np.float32),)))
        assert receiver.tensors.get(timeout=PATIENCE_S)[0].tensors[0].tolist() == [1] * 100_000
    assert "memory of (1,) int8 for a tensor of (100000,) float32" in caplog.text


def test_a_thread_may_stay_while_another_one_serves() -> None:
    """It computes within `on_tensors`; meanwhile the same peer's next tensors are acknowledged and its pings answered.

    Only one may: the next one's tensors come on a thread that is needed.
    """

    class Computing(Received):
        def on_tensors(self, message: TensorsMessage, src: str) -> None:
            super().on_tensors(message, src)
            stays.append(fog.may_stay())
            if stays[-1]:
                assert fog.may_stay()
                computed.wait(PATIENCE_S)

    stays: list[bool] = []
    computed = threading.Event()
    receiver, sender, seen = Computing(), Received(), Received()
    with Transport("fog", "tcp://127.0.0.1:0") as fog, Transport("edge", "tcp://127.0.0.1:0") as edge:
        fog.start(receiver)
        edge.start(sender, seen)
        edge.connect("fog", fog.endpoint)
        try:
            for number in range(5):
                edge.send("fog", tensors(number))
            for number in range(5):
                assert sender.deliveries.get(timeout=PATIENCE_S).route == route(number)
                assert receiver.tensors.get(timeout=PATIENCE_S)[0].route == route(number)
            edge.ping("fog")
            assert seen.round_trips.get(timeout=PATIENCE_S)
            assert stays == [True, False, False, False, False]
            assert not fog.may_stay()
        finally:
            computed.set()

        def stays_again() -> bool:
            edge.send("fog", tensors(9))
            receiver.tensors.get(timeout=PATIENCE_S)
            return stays[-1]

        assert eventually(stays_again)


def test_a_peer_of_another_version_is_cut_off(start: Callable[..., Node], caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, said once in the log with both versions, and harms nobody else."""
    fog, edge = start("fog"), start("edge")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with WireSpeaker.calling(fog.transport.endpoint) as newer:
                newer.socket.sendall(MAGIC + bytes([9, 1]) + bytes(90))
                assert newer.is_cut
        assert eventually(lambda: fog.transport.counters.malformed == 3)
    assert [record.getMessage() for record in caplog.records] == [
        "cut a connection with a stranger: the peer speaks version 9 of the tensor protocol, "
        f"this agent speaks {WIRE_VERSION}: update Splitrail on this node"
    ]
    edge.transport.connect("fog", fog.transport.endpoint)
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[1] == "edge"


@pytest.mark.parametrize(
    "said",
    [
        b"noise that is longer than any prefix",
        packed(Ping(1)),
        packed(Hello("edge"))[:-4] + b"a ro",
        packed(Hello("edge")) + packed(Pong(1)),
        packed(Hello("edge")) + packed(Hello("fog")),
        packed(Hello("edge")) + MAGIC + bytes([WIRE_VERSION, 99]) + bytes(10),
    ],
    ids=["noise", "no hello", "bad name", "reply", "two hellos", "unknown kind"],
)
def test_strange_messages_end_their_connection(start: Callable[..., Node], said: bytes) -> None:
    """Noise from a stranger ends in a counter; the transport serves on."""
    fog, edge = start("fog"), start("edge")
    with WireSpeaker.calling(fog.transport.endpoint) as stranger:
        stranger.socket.sendall(said)
        assert stranger.is_cut
    assert (fog.transport.counters.malformed, fog.transport.counters.cut) == (1, 1)
    edge.transport.connect("fog", fog.transport.endpoint)
    edge.transport.ping("fog")
    assert edge.observed.round_trips.get(timeout=PATIENCE_S)


def acknowledged(speaker: WireSpeaker) -> Route:
    """The route of the tensors whose arrival the next message tells."""
    message = speaker.hear()
    assert isinstance(message, Acknowledgement)
    return message.route


def test_a_message_may_come_byte_by_byte(start: Callable[..., Node]) -> None:
    """And several at once: where the stream is cut into packets says nothing."""
    fog = start("fog")
    with WireSpeaker.calling(fog.transport.endpoint) as slow:
        for byte in packed(Hello("edge")) + packed(tensors(1, 20)):
            slow.socket.sendall(bytes([byte]))
        assert slow.hear() == Welcome()
        assert acknowledged(slow) == route(1)
        slow.socket.sendall(b"".join(packed(tensors(number, 30_000)) for number in range(2, 6)) + packed(Ping(7)))
        assert [acknowledged(slow) for _ in range(4)] == [route(number) for number in range(2, 6)]
        assert slow.hear() == Pong(7)
    for number, size in ((1, 20), (2, 30_000), (3, 30_000), (4, 30_000), (5, 30_000)):
        message, src = fog.received.tensors.get(timeout=PATIENCE_S)
        assert (src, message.tensors[0].tolist()) == ("edge", [number] * size)


def test_raw_noise_on_the_port_is_survived(start: Callable[..., Node]) -> None:
    """Bytes of another protocol do not disturb the transport."""
    fog, edge = start("fog"), start("edge")
    port = int(fog.transport.endpoint.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as noise:
        noise.sendall(b"GET / HTTP/1.1\r\nHost: fog\r\n\r\n" * 100)
    edge.transport.connect("fog", fog.transport.endpoint)
    edge.transport.send("fog", tensors(1))
    assert edge.received.deliveries.get(timeout=PATIENCE_S)


def test_a_receiver_that_fails_does_not_stop_the_transport(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a callback is logged, and the next message is served."""

    class Failing(Received):
        def on_tensors(self, message: TensorsMessage, src: str) -> None:
            super().on_tensors(message, src)
            raise RuntimeError("a fault of the receiver")

    receiver = Failing()
    with Transport("fog", "tcp://127.0.0.1:0") as fog, Transport("edge", "tcp://127.0.0.1:0") as edge:
        fog.start(receiver)
        edge.start(Received())
        edge.connect("fog", fog.endpoint)
        for number in range(2):
            edge.send("fog", tensors(number))
            assert receiver.tensors.get(timeout=PATIENCE_S)[0].route == route(number)
    assert "a fault of the receiver" in caplog.text


def test_a_dead_connection_is_made_anew(start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line on which replies are overdue is replaced, what was on it is given up, and the peer is served again."""
    monkeypatch.setattr("edge_agent.lines.SILENCE_NS", 500_000_000)
    monkeypatch.setattr("edge_agent.lines.THINNEST_LINK_BITS_PER_S", 10_000_000)
    edge, fog = start("edge"), start("fog")
    upstream = ("127.0.0.1", int(fog.transport.endpoint.rsplit(":", 1)[1]))
    with socket.create_server(("127.0.0.1", 0)) as middle:
        middle.settimeout(PATIENCE_S)
        edge.transport.connect("fog", f"tcp://127.0.0.1:{middle.getsockname()[1]}")
        edge.transport.send("fog", tensors(1))
        # The first connection is swallowed, as by a router that forgot it; the second is passed through.
        swallowed, _ = middle.accept()
        passed, _ = middle.accept()
        onward = socket.create_connection(upstream)

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65_536):
                    sink.sendall(data)

        pumps = [threading.Thread(target=pump, args=ends, daemon=True) for ends in ((passed, onward), (onward, passed))]
        for thread in pumps:
            thread.start()
        assert edge.transport.counters.undelivered == 1
        edge.transport.send("fog", tensors(2))
        assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == route(2)
        for end in (swallowed, passed, onward):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in pumps:
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("listen", ["127.0.0.1:5757", "tcp://127.0.0.1", "ipc:///tmp/x", "tcp://no host:1", ""])
def test_a_listening_address_must_make_sense(listen: str) -> None:
    """What is not tcp://HOST:PORT is refused with the form that would be right."""
    with pytest.raises(TransportError, match="write tcp://HOST:PORT"):
        Transport("edge", listen)


def test_a_taken_port_is_named() -> None:
    """A second listener on one port is told so in one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransportError, match="Address already in use"):
            Transport("edge", endpoint)


@pytest.mark.parametrize("endpoint", ["fog:5757", "tcp://fog:0", "tcp://fog:70000", "tcp://fog:*"])
def test_a_peers_address_must_make_sense(start: Callable[..., Node], endpoint: str) -> None:
    """An address that cannot be connected to is refused at once."""
    with pytest.raises(TransportError, match="is not an address of fog"):
        start("edge").transport.connect("fog", endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:5757", "tcp://[::]:5757"])
def test_a_wildcard_is_no_destination(start: Callable[..., Node], endpoint: str) -> None:
    """A peer that advertises the address it listens on is told what to advertise."""
    with pytest.raises(TransportError, match="advertise a host"):
        start("edge").transport.connect("fog", endpoint)


def test_closing_leaves_nothing_behind() -> None:
    """After close no thread of ours, no socket and no file stays, and every call says that it is closed."""
    before = open_files()
    for _ in range(3):
        edge, fog = Node("edge"), Node("fog")
        edge.transport.connect("fog", fog.transport.endpoint)
        edge.transport.send("fog", tensors(1, 500_000))
        fog.received.tensors.get(timeout=PATIENCE_S)
        for node in (edge, fog):
            node.transport.close()
            node.transport.close()
        with pytest.raises(SendError, match="closed"):
            edge.transport.send("fog", tensors(2))
        with pytest.raises(queue.Empty):
            fog.received.tensors.get(timeout=0.01)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tensor-")]
    assert open_files() == before


def open_files() -> int:
    """How many file descriptors this process holds."""
    import psutil  # noqa: PLC0415  # only this count needs it

    return int(psutil.Process().num_fds())


def test_a_transport_that_was_never_started_closes() -> None:
    """Closing right after opening frees the port."""
    transport = Transport("edge", "tcp://127.0.0.1:0")
    transport.close()
    Transport("edge", transport.endpoint).close()
