"""Who may send tensors to whom, over real sockets: keys, stolen names, revoked and restarted nodes, and strangers."""

import base64
import contextlib
import datetime
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from eventually import eventually
from open_nodes_fixture import tensors
from received import Received
from wire_speaker import WireSpeaker, packed, port_of

from edge_agent.connections import MAX_STRANGERS
from edge_agent.errors import TransportError
from edge_agent.keys import NodeKey, make_key
from edge_agent.transport import Transport
from edge_agent.wire import Acknowledgement, Hello, Ping, Pong, TensorsMessage

PATIENCE_S = 30
SHORTLY_S = 0.7
LOOPBACK = "tcp://127.0.0.1:0"


class Node:
    """A transport with a key, and what it has received."""

    def __init__(self, name: str, listen: str = LOOPBACK, key: NodeKey | None = None) -> None:
        """Listen on a free port of the loopback."""
        self.name, self.key = name, key or make_key()
        self.received, self.observed = Received(), Received()
        self.transport = Transport(name, listen, self.key)
        self.transport.start(self.received, self.observed)

    def knows(self, other: "Node", key: str | None = None) -> None:
        """The birth of another node has come, with its key or another one."""
        self.transport.connect(other.name, other.transport.endpoint, key or other.key.public)

    def numbers(self) -> list[int]:
        """Of what has come so far."""
        return [int(self.received.tensors.get()[0].tensors[0][0]) for _ in range(self.received.tensors.qsize())]


@pytest.fixture
def start() -> Iterator[Callable[..., Node]]:
    """Starts nodes, and closes them in the end."""
    with contextlib.ExitStack() as running:

        def start_node(name: str, listen: str = LOOPBACK, key: NodeKey | None = None) -> Node:
            node = Node(name, listen, key)
            running.callback(node.transport.close)
            return node

        yield start_node


def test_nodes_that_know_each_others_keys_exchange_tensors(start: Callable[..., Node]) -> None:
    """Both ways, with acknowledgements and pings."""
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    fog.knows(edge)
    edge.transport.send("fog", tensors(1))
    fog.transport.send("edge", tensors(2))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[1] == "edge"
    assert edge.received.tensors.get(timeout=PATIENCE_S)[1] == "fog"
    assert edge.received.deliveries.get(timeout=PATIENCE_S).dst == "fog"
    edge.transport.ping("fog")
    assert edge.observed.round_trips.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("is_open", [True, False])
def test_large_tensors_may_come_in_small_pieces(is_open: bool) -> None:
    """Wherever the stream is cut, they become whole, and what follows them is heard at once: open and under TLS."""
    large = TensorsMessage(tensors(1).route, (np.arange(300_000, dtype=np.int32),))
    received = Received()
    own, others = (None, None) if is_open else (make_key(), make_key())
    with Transport("fog", LOOPBACK, others) as fog:
        fog.start(received)
        fog.connect("edge", "tcp://127.0.0.1:1", own and own.public)
        with WireSpeaker.calling(fog.endpoint, own, others and others.public) as speaker:
            speaker.greet("edge")
            for sizes in ([1_000, 30_000, 70_000], [16_383, 16_385], [1_190_000]):
                content = packed(large)
                for size in itertools.cycle(sizes):
                    if not content:
                        break
                    speaker.socket.sendall(content[:size])
                    content = content[size:]
                    time.sleep(0.001)
                assert np.array_equal(received.tensors.get(timeout=PATIENCE_S)[0].tensors[0], large.tensors[0])
                assert isinstance(speaker.hear(), Acknowledgement)
                speaker.say(Ping(5))
                assert speaker.hear() == Pong(5)


def test_nothing_of_a_tensor_can_be_read_on_its_way(start: Callable[..., Node]) -> None:
    """What goes over the wire holds neither the deployment's name nor the values."""
    edge, fog = start("edge"), start("fog")
    fog.knows(edge)
    seen = bytearray()
    upstream = ("127.0.0.1", int(fog.transport.endpoint.rsplit(":", 1)[1]))
    with socket.create_server(("127.0.0.1", 0)) as middle:
        edge.transport.connect("fog", f"tcp://127.0.0.1:{middle.getsockname()[1]}", fog.key.public)
        edge.transport.send("fog", tensors(7))
        down, _ = middle.accept()
        up = socket.create_connection(upstream)

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65_536):
                    seen.extend(data)
                    sink.sendall(data)

        pumps = [threading.Thread(target=pump, args=ends, daemon=True) for ends in ((down, up), (up, down))]
        for thread in pumps:
            thread.start()
        assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(7).route
        for end in (down, up):
            end.shutdown(socket.SHUT_RDWR)
        for thread in pumps:
            thread.join(PATIENCE_S)
        down.close()
        up.close()
    assert len(seen) > 4_000
    assert b"faces" not in seen
    assert np.full(8, 7, np.float32).tobytes() not in seen


def test_a_certificate_of_another_time_is_as_good(start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trusted for what it is: nodes need no clock, and a key does not end."""
    long_ago = datetime.datetime(1990, 1, 1, tzinfo=datetime.UTC)
    monkeypatch.setattr("edge_agent.new_certificate._UNTIL", long_ago)
    pi, laptop = start("pi"), start("laptop")
    pi.knows(laptop)
    laptop.knows(pi)
    pi.transport.send("laptop", tensors(7))
    assert eventually(lambda: laptop.numbers() == [7], SHORTLY_S * 10)


def test_an_unknown_key_cannot_connect(start: Callable[..., Node]) -> None:
    """Nothing of a node that announced nothing is heard."""
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    assert fog.received.tensors.empty()
    assert fog.transport.counters.received_bytes == 0


def test_a_key_that_becomes_known_gets_in(start: Callable[..., Node]) -> None:
    """The birth may come after the first attempts to connect, without any help or loss."""
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    fog.knows(edge)
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(1).route


def test_another_servers_key_is_not_spoken_to(start: Callable[..., Node]) -> None:
    """Who listens at a peer's address without its secret gets nothing."""
    edge, impostor = start("edge"), start("fog")
    impostor.knows(edge)
    edge.knows(impostor, make_key().public)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    assert impostor.received.tensors.empty()


def test_another_members_key_is_not_spoken_to(start: Callable[..., Node]) -> None:
    """Nor does a node of the site that listens at another's address, whatever it may do in its own name."""
    edge, fog, mallory = start("edge"), start("fog"), start("mallory")
    edge.knows(mallory)
    mallory.knows(edge)
    edge.transport.connect("fog", mallory.transport.endpoint, fog.key.public)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    assert mallory.received.tensors.empty()


def test_a_stolen_name_is_refused(start: Callable[..., Node]) -> None:
    """A node of the site that speaks in another's name is not heard, loses its connection, and harms nobody."""
    edge, fog, mallory = start("edge"), start("fog"), start("mallory")
    fog.knows(edge)
    fog.knows(mallory)
    edge.knows(fog)
    with WireSpeaker.calling(fog.transport.endpoint, mallory.key, fog.key.public) as thief:
        thief.socket.sendall(packed(Hello("edge")) + packed(tensors(13)))
        assert thief.is_cut
    assert fog.transport.counters.refused == 1
    assert fog.transport.counters.cut == 1
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(1).route
    assert fog.numbers() == []


def test_a_replayed_key_proves_nothing(start: Callable[..., Node]) -> None:
    """A node that announces another's certificate can neither speak as that one nor silence it."""
    edge, fog, mallory = start("edge"), start("fog"), start("mallory")
    fog.knows(edge)
    edge.knows(fog)
    fog.knows(mallory, edge.key.public)
    with (
        contextlib.suppress(OSError),
        WireSpeaker.calling(fog.transport.endpoint, mallory.key, fog.key.public) as thief,
    ):
        thief.socket.sendall(packed(Hello("edge")) + packed(tensors(13)))
        assert thief.is_cut
    edge.transport.send("fog", tensors(1))
    message, src = fog.received.tensors.get(timeout=PATIENCE_S)
    assert (message.route, src) == (tensors(1).route, "edge")
    time.sleep(SHORTLY_S)
    assert fog.numbers() == []


def test_a_revoked_node_is_cut_off_at_once(start: Callable[..., Node]) -> None:
    """Its open connection ends, what it still sends is dropped, and it does not come back; the others stay."""
    fog, mallory, edge = start("fog"), start("mallory"), start("edge")
    fog.knows(mallory)
    fog.knows(edge)
    edge.knows(fog)
    with WireSpeaker.calling(fog.transport.endpoint, mallory.key, fog.key.public) as open_line:
        open_line.greet("mallory")
        open_line.say(tensors(1))
        assert isinstance(open_line.hear(), Acknowledgement)
        assert fog.received.tensors.get(timeout=PATIENCE_S)[1] == "mallory"
        fog.transport.disconnect("mallory")
        with contextlib.suppress(OSError):
            open_line.say(tensors(2))
        assert open_line.is_cut
    assert fog.transport.counters.cut == 1
    with pytest.raises(OSError), WireSpeaker.calling(fog.transport.endpoint, mallory.key, fog.key.public) as again:
        again.greet("mallory")
    assert fog.numbers() == []
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[1] == "edge"


def test_a_certificate_of_another_ones_making_is_worth_nothing(start: Callable[..., Node]) -> None:
    """What is announced must be the whole certificate that is shown; text that is none is refused with a sentence."""
    edge, fog = start("edge"), start("fog")
    two = base64.b64encode(base64.b64decode(edge.key.public) + base64.b64decode(make_key().public)).decode()
    fog.knows(edge, two)
    edge.knows(fog)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    assert fog.received.tensors.empty()
    for noise in ("noise", "bm9pc2U=", ""):
        with pytest.raises(TransportError, match="edge: what it announces as its tensor key is no certificate"):
            fog.transport.connect("edge", "tcp://127.0.0.1:5757", noise)


def test_a_node_that_restarts_with_a_new_key_is_reached(start: Callable[..., Node]) -> None:
    """Its next birth gives the new key: it is spoken to and heard under that, and its old one is worth nothing."""
    edge, fog = start("edge"), start("fog")
    endpoint = fog.transport.endpoint
    edge.knows(fog)
    fog.knows(edge)
    edge.transport.send("fog", tensors(1))
    fog.received.tensors.get(timeout=PATIENCE_S)
    fog.transport.close()
    reborn = start("fog", endpoint)
    reborn.knows(edge)
    edge.knows(reborn)
    edge.transport.send("fog", tensors(2))
    assert reborn.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(2).route
    reborn.transport.send("edge", tensors(3))
    assert edge.received.tensors.get(timeout=PATIENCE_S)[1] == "fog"
    old = start("fog", key=fog.key)
    old.knows(edge)
    old.transport.send("edge", tensors(4))
    time.sleep(SHORTLY_S)
    assert edge.numbers() == []


def test_of_two_nodes_of_one_name_the_announced_one_is_heard(start: Callable[..., Node]) -> None:
    """The name belongs to the key of its last birth."""
    first, second, fog = start("edge"), start("edge"), start("fog")
    first.knows(fog)
    second.knows(fog)
    fog.knows(first)
    first.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(1).route
    fog.knows(second)
    second.transport.send("fog", tensors(2))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(2).route
    first.transport.send("fog", tensors(3))
    time.sleep(SHORTLY_S)
    assert fog.numbers() == []


def test_who_encrypts_nothing_is_refused(start: Callable[..., Node]) -> None:
    """A socket without any key gets nothing in, whatever its name."""
    edge, fog = start("edge"), start("fog")
    fog.knows(edge)
    with WireSpeaker.calling(fog.transport.endpoint) as plain:
        plain.socket.sendall(packed(Hello("edge")) + packed(tensors(1)))
        assert plain.is_cut
    assert fog.received.tensors.empty()
    assert fog.transport.counters.received_bytes == 0


def test_an_older_tls_is_refused(start: Callable[..., Node]) -> None:
    """Both ends speak version 1.3 or not at all."""
    edge, fog = start("edge"), start("fog")
    fog.knows(edge)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    edge.key.show(context)
    with (
        socket.create_connection(("127.0.0.1", port_of(fog.transport.endpoint)), PATIENCE_S) as connected,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(connected)


def test_an_encrypting_node_does_not_speak_to_an_open_one(start: Callable[..., Node]) -> None:
    """Where the address of a peer is listened on without keys, nothing goes out."""
    edge = start("edge")
    open_fog = Transport("fog", LOOPBACK)
    received = Received()
    open_fog.start(received)
    edge.transport.connect("fog", open_fog.endpoint, make_key().public)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    open_fog.close()
    assert received.tensors.empty()


def test_a_peer_without_a_key_is_not_connected_to(start: Callable[..., Node]) -> None:
    """Nor one with a key from an open node; both are told what to set."""
    edge = start("edge")
    with pytest.raises(TransportError, match=r"fog announces no tensor key: set tensors\.security to tls there"):
        edge.transport.connect("fog", "tcp://127.0.0.1:5757")
    assert edge.transport.peers == ()
    with (
        Transport("pi", LOOPBACK) as open_pi,
        pytest.raises(TransportError, match=r"fog encrypts its tensors: set tensors\.security to tls here"),
    ):
        open_pi.connect("fog", "tcp://127.0.0.1:5757", make_key().public)


@pytest.mark.parametrize("listen", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0", "tcp://192.0.2.1:0", "tcp://pi:0"])
def test_open_tensors_stay_on_loopback(listen: str) -> None:
    """Without keys an address that others reach is refused before anything listens there."""
    with pytest.raises(TransportError, match="open tensors may be listened for on loopback only"):
        Transport("edge", listen)


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "tcp://127.3.2.1:0", "tcp://[::1]:0"])
def test_every_loopback_address_may_be_open(listen: str) -> None:
    """Told by its number, not by its spelling."""
    try:
        Transport("edge", listen).close()
    except TransportError as error:
        if "cannot listen" in str(error):
            pytest.skip(f"this machine has no such loopback address: {error}")
        raise


def connections_at(port: int) -> int:
    """How many TCP connections of this process have this local port."""
    return sum(
        each.status == psutil.CONN_ESTABLISHED and bool(each.laddr) and each.laddr.port == port
        for each in psutil.Process().net_connections("tcp")
    )


def test_a_crowd_of_strangers_is_bounded(start: Callable[..., Node]) -> None:
    """Connections that never say anything are dropped beyond a number, and peers are served meanwhile."""
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    fog.knows(edge)
    edge.transport.send("fog", tensors(0))
    fog.received.tensors.get(timeout=PATIENCE_S)
    port = int(fog.transport.endpoint.rsplit(":", 1)[1])
    with contextlib.ExitStack() as crowd:
        for number in range(1, 4):
            for _ in range(MAX_STRANGERS):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
            edge.transport.send("fog", tensors(number))
            assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(number).route
        assert eventually(lambda: connections_at(port) <= MAX_STRANGERS + 5, PATIENCE_S)


def test_who_says_nothing_loses_the_connection(monkeypatch: pytest.MonkeyPatch, start: Callable[..., Node]) -> None:
    """However slowly it goes on with its first words: these have a time, open and under TLS."""
    monkeypatch.setattr("edge_agent.connections.HANDSHAKE_S", 0.3)
    fog = start("fog")
    with Transport("open", LOOPBACK) as open_fog:
        open_fog.start(Received())
        for endpoint in (fog.transport.endpoint, open_fog.endpoint):
            with WireSpeaker.calling(endpoint) as silent, WireSpeaker.calling(endpoint) as slow:
                slow.socket.sendall(packed(Hello("edge"))[:10] if endpoint == open_fog.endpoint else b"\x16\x03\x01")
                assert silent.is_cut
                assert slow.is_cut


class Stranger:
    """Speaks to an open transport, which lets in everybody."""

    def __init__(self, transport: Transport) -> None:
        """Say hello."""
        self.speaker = WireSpeaker.calling(transport.endpoint)
        self.speaker.greet("edge")

    def begins(self, size_bytes: int, sends: int) -> None:
        """Announce tensors of this size, and send so much of them."""
        large = TensorsMessage(tensors(1).route, (np.zeros(size_bytes, np.uint8),))
        with contextlib.suppress(OSError):
            self.speaker.socket.sendall(packed(large)[: sends - size_bytes])


@pytest.mark.parametrize("size_bytes", [2**28, 2**63])
def test_a_message_that_would_be_too_large_is_cut_off(size_bytes: int) -> None:
    """By what it says of itself, before anything of it is kept."""
    with Transport("fog", LOOPBACK) as fog:
        fog.start(Received())
        hostile = Stranger(fog)
        with hostile.speaker as speaker:
            prefix = packed(tensors(1))[:16]
            speaker.socket.sendall(prefix[:8] + size_bytes.to_bytes(8, "little"))
            assert speaker.is_cut
    assert (fog.counters.cut, fog.counters.malformed) == (1, 1)


def test_many_unfinished_messages_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of many connections stays below its own bound: the largest are cut until the rest fits into the memory."""
    monkeypatch.setattr("edge_agent.connections.MAX_UNDER_WAY_BYTES", 20_000_000)
    with Transport("fog", LOOPBACK) as fog, contextlib.ExitStack() as sending:
        received = Received()
        fog.start(received)
        for number in range(8):
            hostile = Stranger(fog)
            sending.enter_context(hostile.speaker)
            hostile.begins(9_000_000 + number, sends=1_000_000)
        assert eventually(lambda: fog.counters.cut == 6, PATIENCE_S)
        with WireSpeaker.calling(fog.endpoint) as honest:
            honest.greet("pi")
            honest.say(tensors(1))
            assert isinstance(honest.hear(), Acknowledgement)
        assert fog.counters.cut == 6


def test_a_caller_that_reads_no_replies_is_bounded() -> None:
    """What waits for it is dropped beyond a number; nobody else waits for it."""
    with Transport("fog", LOOPBACK) as fog, contextlib.ExitStack() as sending:
        fog.start(Received())
        deaf = WireSpeaker(socket.socket())
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        deaf.socket.connect(("127.0.0.1", port_of(fog.endpoint)))
        sending.enter_context(deaf)
        deaf.greet("edge")
        asked = packed(Ping(1)) * 1_000

        def has_lost_some() -> bool:
            deaf.socket.sendall(asked)  # whole messages: the rest of one would be noise
            return fog.counters.undelivered > 0

        assert eventually(has_lost_some, PATIENCE_S)
        with WireSpeaker.calling(fog.endpoint) as other:
            other.greet("pi")
            other.say(Ping(2))
            assert other.hear() == Pong(2)
