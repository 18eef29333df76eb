"""Who may send tensors to whom, over real sockets: keys, stolen names, revoked and restarted nodes, and strangers."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
import zmq
from eventually import eventually
from received import Received

from edge_agent.connections import MAX_STRANGERS
from edge_agent.errors import TransportError
from edge_agent.keys import NodeKey, make_key
from edge_agent.transport import Transport
from edge_agent.wire import Route, TensorsMessage, encode

PATIENCE_S = 30
SHORTLY_S = 0.7
LOOPBACK = "tcp://127.0.0.1:0"


def tensors(number: int) -> TensorsMessage:
    """A message of one tensor that holds its number."""
    route = Route("faces", 1, number.to_bytes(16, "little"), 0)
    return TensorsMessage(route, (np.full(1_000, number, np.float32),))


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


@pytest.fixture
def attacker() -> Iterator[Callable[..., "zmq.Socket[bytes]"]]:
    """Makes sockets that speak to a transport with a key of their own, or with none, under any routing id."""
    context = zmq.Context()
    dealers: list[zmq.Socket[bytes]] = []

    def connect(endpoint: str, identity: bytes, key: NodeKey | None, server_key: str | None) -> "zmq.Socket[bytes]":
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.ROUTING_ID, identity)
        dealer.setsockopt(zmq.RECONNECT_IVL, 50)
        if key is not None and server_key is not None:
            dealer.setsockopt_string(zmq.CURVE_PUBLICKEY, key.public)
            dealer.setsockopt_string(zmq.CURVE_SECRETKEY, key.secret)
            dealer.setsockopt_string(zmq.CURVE_SERVERKEY, server_key)
        dealer.connect(endpoint)
        dealers.append(dealer)
        return dealer

    yield connect
    for dealer in dealers:
        dealer.close(linger=0)
    context.destroy(linger=0)


def frames_of(number: int) -> list[bytes]:
    """A message of tensors as it goes over the wire."""
    return [bytes(frame) for frame in encode(tensors(number))]


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


def test_an_unknown_key_cannot_connect(start: Callable[..., Node]) -> None:
    """Nothing of a node that announced nothing is heard."""
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    assert fog.received.tensors.empty()
    assert fog.transport.counters.received_bytes == 0


def test_a_key_that_becomes_known_gets_in_at_once(start: Callable[..., Node]) -> None:
    """The birth may come after the first attempt to connect, without any help or loss."""
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    edge.transport.send("fog", tensors(1))
    time.sleep(SHORTLY_S)
    fog.knows(edge)
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(1).route


def test_a_key_that_becomes_known_late_gets_in(start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """After handshakes that were given up too."""
    monkeypatch.setattr("edge_agent.sockets.HANDSHAKE_S", 0.3)
    monkeypatch.setattr("edge_agent.handshakes.HANDSHAKE_S", 0.3)
    edge, fog = start("edge"), start("fog")
    edge.knows(fog)
    edge.transport.send("fog", tensors(1))
    time.sleep(1.5)
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


def test_a_stolen_name_is_refused(start: Callable[..., Node], attacker: Callable[..., "zmq.Socket[bytes]"]) -> None:
    """A node of the site that speaks in another's name is not heard, loses its connection, and harms nobody."""
    edge, fog, mallory = start("edge"), start("fog"), start("mallory")
    fog.knows(edge)
    fog.knows(mallory)
    edge.knows(fog)
    thief = attacker(fog.transport.endpoint, b"edge/0123456789abcdef", mallory.key, fog.key.public)
    thief.send_multipart(frames_of(13))
    assert eventually(lambda: fog.transport.counters.refused > 0, PATIENCE_S)
    assert fog.transport.counters.cut > 0
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == tensors(1).route
    assert fog.numbers() == []


def test_a_routing_id_is_told_to_nobody_else(start: Callable[..., Node]) -> None:
    """Two peers of a node see different ids of it, so that neither can take its place at the other."""
    edge, fog = start("edge"), start("fog")
    seen: list[bytes] = []
    context = zmq.Context()
    listeners = [context.socket(zmq.ROUTER) for _ in range(2)]
    for number, listener in enumerate(listeners):
        listener.setsockopt(zmq.CURVE_SERVER, 1)
        listener.setsockopt_string(zmq.CURVE_SECRETKEY, fog.key.secret)
        port = listener.bind_to_random_port("tcp://127.0.0.1")
        edge.transport.connect(f"peer{number}", f"tcp://127.0.0.1:{port}", fog.key.public)
        edge.transport.ping(f"peer{number}")
        assert listener.poll(PATIENCE_S * 1_000)
        seen.append(listener.recv_multipart()[0])
    context.destroy(linger=0)
    first, second = (identity.removeprefix(b"edge/") for identity in seen)
    assert len(first) == len(second) == 32
    assert sum(one == other for one, other in zip(first, second, strict=True)) < 16


def test_a_replayed_key_proves_nothing(
    start: Callable[..., Node], attacker: Callable[..., "zmq.Socket[bytes]"]
) -> None:
    """A node that announces another's public key can neither speak as that one nor silence it."""
    edge, fog, mallory = start("edge"), start("fog"), start("mallory")
    fog.knows(edge)
    edge.knows(fog)
    fog.knows(mallory, edge.key.public)
    thief = attacker(fog.transport.endpoint, b"edge/0123456789abcdef", mallory.key, fog.key.public)
    thief.send_multipart(frames_of(13))
    edge.transport.send("fog", tensors(1))
    message, src = fog.received.tensors.get(timeout=PATIENCE_S)
    assert (message.route, src) == (tensors(1).route, "edge")
    time.sleep(SHORTLY_S)
    assert fog.numbers() == []


def test_a_revoked_node_is_cut_off_at_once(
    start: Callable[..., Node], attacker: Callable[..., "zmq.Socket[bytes]"]
) -> None:
    """Its open connection ends, what it still sends is dropped, and it does not come back; the others stay."""
    fog, mallory, edge = start("fog"), start("mallory"), start("edge")
    fog.knows(mallory)
    fog.knows(edge)
    edge.knows(fog)
    dealer = attacker(fog.transport.endpoint, b"mallory/0123456789abcdef", mallory.key, fog.key.public)
    dealer.send_multipart(frames_of(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[1] == "mallory"
    fog.transport.disconnect("mallory")
    for number in range(2, 30):
        with contextlib.suppress(zmq.Again):
            dealer.send_multipart(frames_of(number), zmq.NOBLOCK)
        time.sleep(0.02)
    assert eventually(lambda: fog.transport.counters.cut > 0, PATIENCE_S)
    assert fog.numbers() == []
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[1] == "edge"


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


def test_who_encrypts_nothing_is_refused(
    start: Callable[..., Node], attacker: Callable[..., "zmq.Socket[bytes]"]
) -> None:
    """A socket without any key gets nothing in, whatever its name."""
    edge, fog = start("edge"), start("fog")
    fog.knows(edge)
    dealer = attacker(fog.transport.endpoint, b"edge/1", None, None)
    dealer.send_multipart(frames_of(1))
    time.sleep(SHORTLY_S)
    assert fog.received.tensors.empty()
    assert fog.transport.counters.received_bytes == 0


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
    with pytest.raises(TransportError, match=r"fog announces no tensor key: set tensors\.security to curve there"):
        edge.transport.connect("fog", "tcp://127.0.0.1:5757")
    assert edge.transport.peers == ()
    with (
        Transport("pi", LOOPBACK) as open_pi,
        pytest.raises(TransportError, match=r"fog encrypts its tensors: set tensors\.security to curve here"),
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


# ZMTP 3.0, RFC 23 of zeromq.org: signature, version, NULL mechanism; READY with the type of the socket and its id.
GREETING = bytes.fromhex("ff00000000000000017f0300") + b"NULL".ljust(20, b"\0") + bytes(32)
PROPERTIES = (
    b"\x05READY"
    + (b"\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER")
    + (b"\x08Identity" + (6).to_bytes(4, "big") + b"edge/1")
)
READY = b"\x04" + bytes([len(PROPERTIES)]) + PROPERTIES
MORE = b"\x03" + (1_000_000).to_bytes(8, "big")


def test_a_message_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends frame after frame of one message loses the connection, whatever the frames' own sizes."""
    monkeypatch.setattr("edge_agent.connections.MAX_UNREAD_BYTES", 20_000_000)
    with Transport("fog", LOOPBACK) as fog, contextlib.ExitStack() as sending:
        fog.start(Received())
        hostile = sending.enter_context(
            socket.create_connection(("127.0.0.1", int(fog.endpoint.rsplit(":", 1)[1])), PATIENCE_S)
        )
        sending.enter_context(contextlib.suppress(ConnectionError))
        hostile.sendall(GREETING + READY)
        chunk, sent_bytes = MORE + os.urandom(1_000_000), 0
        while sent_bytes < 2_000_000_000:
            hostile.sendall(chunk)
            sent_bytes += len(chunk)
            time.sleep(0.002)
    assert sent_bytes < 2_000_000_000
    assert fog.counters.cut == 1


def test_many_unfinished_messages_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of many connections stays below its own bound: those that fill the memory together are cut until it fits."""
    monkeypatch.setattr("edge_agent.connections.MAX_UNREAD_BYTES_IN_ALL", 20_000_000)
    with Transport("fog", LOOPBACK) as fog, contextlib.ExitStack() as sending:
        fog.start(Received())
        port = int(fog.endpoint.rsplit(":", 1)[1])
        for _ in range(8):
            hostile = sending.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            with contextlib.suppress(ConnectionError):
                hostile.sendall(GREETING + READY + (MORE + os.urandom(1_000_000)) * 5)
        assert eventually(lambda: fog.counters.cut >= 4, PATIENCE_S)
        time.sleep(SHORTLY_S)
        assert fog.counters.cut < 8
