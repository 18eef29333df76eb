"""The ZeroMQ sockets of the tensor plane: one that listens, and one to each peer. All but `wake` is for one thread.

What is sent and received are frames; their meaning is `edge_agent.wire`'s.
"""

import logging
import os
import secrets
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import zmq

from edge_agent.connections import Connections
from edge_agent.endpoints import check_listening_endpoint
from edge_agent.errors import TransportError
from edge_agent.handshakes import DOMAIN, HANDSHAKE_S, Handshakes
from edge_agent.keys import NodeKey
from edge_agent.tcp import TcpConnection
from edge_agent.wire import MAX_TENSOR_BYTES, Frame

log = logging.getLogger("splitrail.transport")

MAX_UNTAKEN_MESSAGES: Final = 8  # of one peer, beside the one that is coming in: as many as a probe has
MAX_QUEUED_REPLIES: Final = 1_000
MAX_QUEUED_MESSAGES: Final = 1_000

_MAX_REPLY_BYTES: Final = 4_096
_RECEIVED_PER_TURN: Final = 64
_BACKLOG: Final = 128
_NO_DESCRIPTOR: Final = -1
_EVENT: Final = struct.Struct("=HI")
_EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


@dataclass(frozen=True, slots=True)
class Arrived:
    """The frames of one message; from a peer that this node called, or from one that called this node (None)."""

    peer: str | None
    frames: list[Frame]
    """Where `peer` is None, the first one is the caller's routing id."""
    at_ns: int
    key: str | None
    """The public key (Z85) whose secret the caller has proved to hold; None where `peer` is set or tensors run open."""
    descriptor: int
    """Of the connection on which it came."""


@dataclass(slots=True)
class _Dialled:
    """One peer's socket, what tells of its connection, and that connection, which comes and goes."""

    dealer: "zmq.Socket[bytes]"
    monitor: "zmq.Socket[bytes]"
    tcp: TcpConnection | None = None
    is_ready: bool = False
    """The connection is held to its pace, and its handshake is done."""
    waiting: deque[Sequence[Frame]] = field(default_factory=deque)
    """What is sent once it is ready: ZeroMQ would send it on a new connection before that is held to its pace."""


@dataclass(slots=True)
class _Unopened:
    """A peer for which there was no socket: ZeroMQ frees those of former peers a moment after they are closed."""

    endpoint: str
    key: str | None
    waiting: deque[Sequence[Frame]] = field(default_factory=deque)


class TensorSockets:
    """The sockets of one node; the thread that made it may hand it over to another one, once.

    Their queues are bounded: what finds one full is dropped, and counted if it was this node's own. A peer that sends
    faster than it is served is slowed down by TCP, once MAX_UNTAKEN_MESSAGES of its messages wait here.
    """

    def __init__(self, node: str, listen: str, key: NodeKey | None, admits: Callable[[str], bool]) -> None:
        """Listen on `tcp://host:port`, to holders of keys (Z85) that are admitted, or to all if `key` is None.

        TransportError if that is not an address, cannot be listened on, or is open to more than this machine.
        """
        check_listening_endpoint(listen, is_open=key is None)
        self._node, self._key = node, key
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._handshakes: Handshakes | None = None
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a peer that reconnects takes its own old place
        self._router.setsockopt(zmq.MAXMSGSIZE, MAX_TENSOR_BYTES)
        self._router.setsockopt(zmq.RCVHWM, MAX_UNTAKEN_MESSAGES)
        self._router.setsockopt(zmq.SNDHWM, MAX_QUEUED_REPLIES)
        self._router.setsockopt(zmq.BACKLOG, _BACKLOG)
        _set_options(self._router, ipv6=listen.startswith(("tcp://[", "tcp://*")))
        if key is not None:
            self._handshakes = Handshakes(self._context, admits)
            self._poller.register(self._handshakes.socket, zmq.POLLIN)
            _set_key(self._router, key)
            self._router.setsockopt(zmq.CURVE_SERVER, 1)
            self._router.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        self._monitors: dict[zmq.Socket[bytes], str | None] = {}
        self._monitors[self._monitor(self._router)] = None
        try:
            self._router.bind(listen)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise TransportError(listen, f"cannot listen for tensors there: {error.strerror}") from None
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where this node listens, with the port that was taken."""
        self._dialled: dict[str, _Dialled] = {}
        self._unopened: dict[str, _Unopened] = {}
        self._names: dict[zmq.Socket[bytes], str] = {}
        self._rates: dict[str, float] = {}
        self._connections = Connections()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)
        self.sent_bytes = self.received_bytes = 0
        self.dropped = 0
        """How many messages found their connection's queue full."""

    @property
    def cut(self) -> int:
        """How many connections were cut, for their bounds or for their keys."""
        return self._connections.cut

    def wake(self) -> None:
        """Let the `receive` that another thread waits in return; not to be called after `close`."""
        os.eventfd_write(self._wake, 1)

    def open(self, peer: str, endpoint: str, key: str | None) -> None:
        """Connect to `peer`, in place of an earlier connection to it; ZeroMQ tries until the peer is there.

        Only who holds the secret of `key` (Z85) is spoken to; None where tensors run open.
        """
        self.shut(peer)
        wanted = _Unopened(endpoint, key)
        try:
            self._dial(peer, wanted)
        except zmq.ZMQError as error:
            # Of too many peers some have to do without for now: the thread that serves the others goes on.
            log.warning("cannot connect to %s at %s: %s", peer, endpoint, error.strerror)
            self._unopened[peer] = wanted

    def shut(self, peer: str) -> None:
        """Drop the connection to `peer` and what is queued on it."""
        self._unopened.pop(peer, None)
        dialled = self._dialled.pop(peer, None)
        if dialled is not None:
            self._poller.unregister(dialled.dealer)
            del self._names[dialled.dealer]
            self._discard(dialled.dealer, dialled.monitor)

    def pace(self, peer: str, bytes_per_s: float | None) -> None:
        """Send to `peer` no faster than this from now on, on its later connections too; None lifts that."""
        if bytes_per_s is None:
            self._rates.pop(peer, None)
        else:
            self._rates[peer] = bytes_per_s
        dialled = self._dialled.get(peer)
        if dialled is not None and dialled.tcp is not None:
            dialled.tcp.pace(bytes_per_s)

    def admission_changed(self) -> None:
        """Let in at once who waits for it."""
        if self._handshakes is not None:
            self._handshakes.reconsider()

    def dismiss(self, peer: str) -> None:
        """End every connection on which `peer` called this node, and what was known of it."""
        self._connections.dismiss(peer)
        self._rates.pop(peer, None)

    def spoke(self, descriptor: int, speaker: str) -> None:
        """What came on this connection is a message of `speaker`."""
        self._connections.spoke(descriptor, speaker)

    def refuse(self, descriptor: int) -> None:
        """End a connection whose speaker is not who it claims to be, or is not admitted any more."""
        self._connections.refuse(descriptor)

    def look_after(self) -> None:
        """End connections that hold too much and handshakes that take too long, and open what could not be opened.

        To be called several times a second.
        """
        self._connections.look()
        for peer, wanted in list(self._unopened.items()):
            with suppress(zmq.ZMQError):
                self._dial(peer, wanted)
                del self._unopened[peer]
        self.admission_changed()

    def send(self, peer: str, frames: Sequence[Frame]) -> None:
        """Queue a message to `peer`; to one that was not opened, or with a full queue, it is counted as dropped.

        It leaves at once, or when the peer is reached.
        """
        dialled = self._dialled.get(peer)
        if dialled is not None:
            self._follow(dialled.monitor)  # the connection may have ended a moment ago
            if dialled.is_ready:
                self._transmit(dialled.dealer, frames)
                return
        to = dialled or self._unopened.get(peer)
        if to is not None and len(to.waiting) < MAX_QUEUED_MESSAGES:
            to.waiting.append(frames)
        else:
            self.dropped += 1

    def reply(self, identity: bytes, frames: Sequence[Frame]) -> None:
        """Answer the caller with this routing id; nothing happens if it has gone or takes no replies."""
        self._transmit(self._router, [identity, *frames])

    def receive(self, timeout_ms: int) -> Iterator[Arrived]:
        """What has come in, after waiting for it `timeout_ms` at most; each message is stamped as it is taken."""
        for socket, _ in self._poller.poll(timeout_ms):
            if socket == self._wake:
                os.eventfd_read(self._wake)
            elif self._handshakes is not None and socket == self._handshakes.socket:
                self._handshakes.answer()
            elif socket in self._monitors:
                self._follow(socket)
            else:
                yield from self._messages(socket)

    def close(self) -> None:
        """Close every socket; what is queued is dropped."""
        for dialled in self._dialled.values():
            dialled.dealer.monitor(None, 0)
        self._router.monitor(None, 0)
        self._context.destroy(linger=0)
        os.close(self._wake)

    def _dial(self, peer: str, wanted: _Unopened) -> None:
        with ExitStack() as undo:
            dealer = self._context.socket(zmq.DEALER)
            undo.callback(dealer.close, linger=0)
            self._set_up(dealer, wanted.key)
            monitor = self._monitor(dealer)
            undo.callback(self._discard, dealer, monitor)
            dealer.connect(wanted.endpoint)
            undo.pop_all()
        self._dialled[peer] = _Dialled(dealer, monitor, waiting=wanted.waiting)
        self._monitors[monitor] = self._names[dealer] = peer
        self._poller.register(dealer, zmq.POLLIN)

    def _set_up(self, dealer: "zmq.Socket[bytes]", key: str | None) -> None:
        # Each has a routing id of its own, which no other peer can know: two lives of one name never clash, and nobody
        # takes another's place.
        dealer.setsockopt(zmq.ROUTING_ID, f"{self._node}/{secrets.token_hex(16)}".encode())
        dealer.setsockopt(zmq.MAXMSGSIZE, _MAX_REPLY_BYTES)
        dealer.setsockopt(zmq.SNDHWM, MAX_QUEUED_MESSAGES)
        dealer.setsockopt(zmq.RCVHWM, MAX_QUEUED_REPLIES)
        dealer.setsockopt(zmq.RECONNECT_IVL, 100)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
        dealer.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
        _set_options(dealer, ipv6=True)
        if self._key is not None and key is not None:
            _set_key(dealer, self._key)
            dealer.setsockopt_string(zmq.CURVE_SERVERKEY, key)

    def _messages(self, socket: "zmq.Socket[bytes]") -> Iterator[Arrived]:
        peer = self._names.get(socket)
        is_secure = peer is None and self._key is not None
        # One busy socket must not starve the others.
        for _ in range(_RECEIVED_PER_TURN):
            try:
                received = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            at_ns = time.monotonic_ns()
            self.received_bytes += sum(map(len, received))
            last = received[-1]
            try:
                descriptor = int(last.get(zmq.SRCFD))
                key = str(last.get("User-Id")) if is_secure else None
            except zmq.ZMQError:
                descriptor, key = _NO_DESCRIPTOR, None  # a peer of ZeroMQ's first protocol tells nothing of itself
            self._connections.took(descriptor)
            yield Arrived(peer, [frame.buffer for frame in received], at_ns, key, descriptor)

    def _monitor(self, socket: "zmq.Socket[bytes]") -> "zmq.Socket[bytes]":
        address = f"inproc://monitor-{secrets.token_hex(8)}"
        socket.monitor(address, _EVENTS)
        monitor = self._context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.LINGER, 0)
        monitor.connect(address)
        self._poller.register(monitor, zmq.POLLIN)
        return monitor

    def _follow(self, monitor: "zmq.Socket[bytes]") -> None:
        peer = self._monitors[monitor]
        while True:
            try:
                event, descriptor = _EVENT.unpack(monitor.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.Again:
                return
            dialled = self._dialled.get(peer) if peer is not None else None
            if event == zmq.EVENT_DISCONNECTED:
                self._connections.closed(descriptor)
                if dialled is not None and dialled.tcp is not None and dialled.tcp.descriptor == descriptor:
                    dialled.tcp, dialled.is_ready = None, False
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                if dialled is not None:
                    self._is_ready(dialled)
            else:
                tcp = self._connections.opened(descriptor, is_called=peer is not None)
                if dialled is not None and peer is not None:
                    dialled.tcp = tcp
                    if peer in self._rates:
                        tcp.pace(self._rates[peer])

    def _is_ready(self, dialled: _Dialled) -> None:
        dialled.is_ready = True
        while dialled.waiting:
            self._transmit(dialled.dealer, dialled.waiting.popleft())

    def _discard(self, dealer: "zmq.Socket[bytes]", monitor: "zmq.Socket[bytes]") -> None:
        self._poller.unregister(monitor)
        self._monitors.pop(monitor, None)
        dealer.monitor(None, 0)
        monitor.close(linger=0)
        dealer.close(linger=0)

    def _transmit(self, socket: "zmq.Socket[bytes]", frames: Sequence[Frame]) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self.dropped += 1
        else:
            self.sent_bytes += sum(map(len, frames))


def _set_key(socket: "zmq.Socket[bytes]", key: NodeKey) -> None:
    socket.setsockopt_string(zmq.CURVE_PUBLICKEY, key.public)
    socket.setsockopt_string(zmq.CURVE_SECRETKEY, key.secret)


def _set_options(socket: "zmq.Socket[bytes]", *, ipv6: bool) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, ipv6)
    socket.setsockopt(zmq.HANDSHAKE_IVL, round(HANDSHAKE_S * 1_000))
    # ZeroMQ's own heartbeats would take a thin line with a large frame on it for dead; `edge_agent.lines` knows better.
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
