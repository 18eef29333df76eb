"""Tensors from agent to agent over ZeroMQ: one thread owns all sockets, other threads hand messages over.

What the messages mean is the executor's concern; what their times say of a link is `edge_agent.links`'.
"""

import contextlib
import itertools
import logging
import os
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import zmq

from edge_agent.errors import SendError, TransportError, WireError
from edge_agent.lines import InFlight, Line, ReplyKey
from edge_agent.links import ArrivalTimeline, Slope
from edge_agent.wire import (
    MAX_TENSOR_BYTES,
    Acknowledgement,
    FailureMessage,
    Frame,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    TensorsMessage,
    TransferRecord,
    WireMessage,
    decode,
    encode,
)

log = logging.getLogger("splitrail.transport")

MAX_OWED_MESSAGES: Final = 256
MAX_OWED_BYTES: Final = 256 * 2**20
MAX_QUEUED_COMMANDS: Final = 4_096
_MAX_PROBING_PEERS: Final = 64
_MAX_REPLY_BYTES: Final = 4_096
_RECEIVED_PER_TURN: Final = 64
_TURN_MS: Final = 1_000

_ENDPOINT_FORM: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5}|\*)")
_WILDCARD_HOSTS: Final = ("*", "0.0.0.0", "[::]")  # where one can listen but not be reached
_IDENTITY_FORM: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})/[0-9a-f]{1,32}")

Sendable: TypeAlias = TensorsMessage | FailureMessage | TransferRecord


@dataclass(frozen=True, slots=True)
class Delivery:
    """Tensors that have arrived at `dst`, as its acknowledgement tells."""

    dst: str
    route: Route
    size_bytes: int
    elapsed_ms: float
    """From the send to the acknowledgement: the transfer and half a round trip."""
    gap_ms: float | None
    """Since the reply before this one, where that came after the send (they shared the line), else None."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A bandwidth probe that came back: what its receiver saw of the line."""

    dst: str
    size_bytes: int
    elapsed_ms: float
    slope: Slope


@dataclass(frozen=True, slots=True)
class TransportCounters:
    """Cumulative counts since the start; bytes are those of frames, without TCP's own."""

    sent_bytes: int
    received_bytes: int
    malformed: int
    """Messages that were dropped because they were none of ours."""
    undelivered: int
    """Messages that were given up when their connection went silent, was full or was closed."""


class TensorReceiver(Protocol):
    """Who takes what other agents send; called on the I/O thread, so every method must return at once."""

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """Tensors have arrived from `src`, and were acknowledged."""

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """`src` gave a request up."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """`src` tells how long its hop took."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors that this node sent have arrived."""


class LinkObserver(Protocol):
    """Who learns from the times of a link; called on the I/O thread, so every method must return at once."""

    def on_round_trip(self, dst: str, rtt_ms: float) -> None:
        """A ping on an idle line has come back."""

    def on_probe(self, result: ProbeResult) -> None:
        """A bandwidth probe has come back."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Tensors have arrived; their size and time tell of the link."""


@dataclass(frozen=True, slots=True)
class _Connect:
    peer: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class _Disconnect:
    peer: str


@dataclass(frozen=True, slots=True)
class _Send:
    peer: str
    messages: Sequence[Sequence[Frame]]


_Command: TypeAlias = _Connect | _Disconnect | _Send


class Transport:
    """The tensor plane's end on a node: it listens on one endpoint and holds one connection to each peer.

    Opened by the constructor, it takes in nothing before `start`. All methods may be called from any thread.
    """

    def __init__(self, node: str, listen: str) -> None:
        """Listen as `node` on `listen`, `tcp://host:port` (port 0 takes a free one); TransportError if that fails."""
        match = _ENDPOINT_FORM.fullmatch(listen)
        if not match:
            raise TransportError(listen, "is not an address to listen on, write tcp://HOST:PORT")
        self._identity_stem = f"{node}/{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}
        self._endpoints: dict[str, str] = {}
        self._commands: deque[_Command] = deque()
        self._closing = False
        self._tokens = itertools.count(1)
        self._socket_numbers = itertools.count(0)
        self._sent_bytes = self._received_bytes = self._malformed = self._undelivered = 0
        self._timelines: OrderedDict[bytes, tuple[int, ArrivalTimeline]] = OrderedDict()
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._complained: set[bytes] = set()
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a peer that reconnects takes its own old place
        self._router.setsockopt(zmq.MAXMSGSIZE, MAX_TENSOR_BYTES)
        self._router.setsockopt(zmq.RCVHWM, 128)
        _set_options(self._router, ipv6=match[1].startswith(("[", "*")))
        try:
            self._router.bind(listen)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise TransportError(listen, f"cannot listen for tensors there: {error.strerror}") from None
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        """Where this transport listens, with the port that was taken."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller = zmq.Poller()
        self._poller.register(self._router, zmq.POLLIN)
        self._poller.register(self._wake, zmq.POLLIN)
        self._thread: threading.Thread | None = None

    def start(self, receiver: TensorReceiver, links: LinkObserver | None = None) -> None:
        """Take messages in from now on; call once."""
        self._receiver = receiver
        self._links = links
        self._thread = threading.Thread(target=self._run, name="tensor-transport", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every socket and end the thread; what is queued is dropped. Calling it again does nothing."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        if self._thread is None:
            self._close_sockets()
        else:
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        os.close(self._wake)

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, peer: str, endpoint: str) -> None:
        """Reach `peer` at `endpoint`, `tcp://host:port`, from now on; TransportError if that is no such address.

        A peer that is not there yet is tried again until it is, or until `disconnect`.
        """
        match = _ENDPOINT_FORM.fullmatch(endpoint)
        if not match or not 0 < int(match[2].replace("*", "0")) < 2**16:
            raise TransportError(endpoint, f"is not an address of {peer}, write tcp://HOST:PORT")
        if match[1] in _WILDCARD_HOSTS:
            raise TransportError(endpoint, f"says where {peer} listens, not where it can be reached; advertise a host")
        with self._lock:
            if self._closing or self._endpoints.get(peer) == endpoint:
                return
            self._endpoints[peer] = endpoint
            self._replace_line(peer)
            self._commands.append(_Connect(peer, endpoint))
        self._notify()

    def disconnect(self, peer: str) -> None:
        """Forget `peer`; what is under way to it is dropped."""
        with self._lock:
            if self._endpoints.pop(peer, None) is None:
                return
            self._undelivered += self._lines.pop(peer).owed
            self._commands.append(_Disconnect(peer))
        self._notify()

    def send(self, peer: str, message: Sendable) -> None:
        """Queue a message to `peer`; its arrays must not change until it is delivered.

        SendError if the peer is unknown or too much is under way to it; WireError if the message is out of bounds.
        """
        frames = encode(message)
        key = message.route if isinstance(message, TensorsMessage) else None
        self._submit(peer, [frames], key)

    def ping(self, peer: str) -> None:
        """Ask `peer` for a sign of life; its round trip is reported if the line was idle. SendError as for `send`."""
        token = next(self._tokens)
        self._submit(peer, [encode(Ping(token))], token)

    def probe(self, peer: str, chunks: int, chunk_bytes: int) -> None:
        """Send `chunks` messages of `chunk_bytes` each back to back, to see the bandwidth. SendError as for `send`."""
        token = next(self._tokens)
        payload = os.urandom(chunk_bytes)  # a compressing tunnel must not flatter the link
        self._submit(peer, [encode(ProbeChunk(token, index, chunks, payload)) for index in range(chunks)], token)

    def in_flight(self, peer: str) -> InFlight | None:
        """The oldest message to `peer` that awaits its reply; None where the line is idle or the peer unknown."""
        with self._lock:
            line = self._lines.get(peer)
            return line.in_flight(time.monotonic_ns()) if line else None

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that are connected to, reachable or not."""
        with self._lock:
            return tuple(self._endpoints)

    @property
    def counters(self) -> TransportCounters:
        """What has gone out, come in and been dropped."""
        return TransportCounters(self._sent_bytes, self._received_bytes, self._malformed, self._undelivered)

    # --- what follows the lock's rule: any thread, with the lock held only for moments

    def _submit(self, peer: str, messages: Sequence[Sequence[Frame]], key: ReplyKey | None) -> None:
        size_bytes = sum(len(frame) for frames in messages for frame in frames)
        with self._lock:
            line = self._lines.get(peer)
            if self._closing or line is None:
                raise SendError(peer, "the transport is closed" if self._closing else "no such peer is connected")
            full = line.owed >= MAX_OWED_MESSAGES or (line.owed and line.owed_bytes + size_bytes > MAX_OWED_BYTES)
            if full or len(self._commands) >= MAX_QUEUED_COMMANDS:
                raise SendError(peer, f"its queue is full ({line.owed} messages, {line.owed_bytes} bytes under way)")
            if key is not None:
                line.send(key, size_bytes, time.monotonic_ns())
            self._commands.append(_Send(peer, messages))
        self._notify()

    def _notify(self) -> None:
        if threading.current_thread() is not self._thread:
            with self._lock:
                if not self._closing:
                    os.eventfd_write(self._wake, 1)

    def _replace_line(self, peer: str) -> None:
        old = self._lines.get(peer)
        self._undelivered += old.owed if old else 0
        self._lines[peer] = Line(time.monotonic_ns())

    # --- the I/O thread alone

    def _run(self) -> None:
        next_look = time.monotonic() + 1.0
        try:
            while not self._closing:
                for socket, _ in self._poller.poll(_TURN_MS):
                    if socket == self._wake:
                        os.eventfd_read(self._wake)
                    else:
                        self._receive(socket)
                while self._commands:
                    self._carry_out(self._commands.popleft())
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + 1.0
                    self._look_after_lines()
        finally:
            self._close_sockets()

    def _close_sockets(self) -> None:
        # Term would wait for ever on a socket that is left open, so destroy closes every one.
        self._context.destroy(linger=0)

    def _carry_out(self, command: _Command) -> None:
        match command:
            case _Connect(peer, endpoint):
                self._open(peer, endpoint)
            case _Disconnect(peer):
                self._shut(peer)
            case _Send(peer, messages):
                dealer = self._dealers.get(peer)
                for frames in messages if dealer else ():
                    self._transmit(dealer, frames)

    def _transmit(self, socket: "zmq.Socket[bytes] | None", frames: Sequence[Frame]) -> None:
        if socket is None:
            return
        try:
            socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            self._undelivered += 1
        else:
            self._sent_bytes += sum(map(len, frames))

    def _open(self, peer: str, endpoint: str) -> None:
        self._shut(peer)
        dealer = self._context.socket(zmq.DEALER)
        identity = f"{self._identity_stem}{next(self._socket_numbers):x}"
        dealer.setsockopt(zmq.ROUTING_ID, identity.encode())
        dealer.setsockopt(zmq.MAXMSGSIZE, _MAX_REPLY_BYTES)
        dealer.setsockopt(zmq.RECONNECT_IVL, 100)
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, 2_000)
        dealer.setsockopt(zmq.CONNECT_TIMEOUT, 5_000)
        _set_options(dealer, ipv6=True)
        try:
            dealer.connect(endpoint)
        except zmq.ZMQError as error:
            log.warning("cannot connect to %s at %s: %s", peer, endpoint, error.strerror)
            dealer.close(linger=0)
            return
        self._dealers[peer] = dealer
        self._poller.register(dealer, zmq.POLLIN)

    def _shut(self, peer: str) -> None:
        dealer = self._dealers.pop(peer, None)
        if dealer is not None:
            self._poller.unregister(dealer)
            dealer.close(linger=0)

    def _look_after_lines(self) -> None:
        at_ns = time.monotonic_ns()
        with self._lock:
            silent = [peer for peer, line in self._lines.items() if line.is_silent(at_ns)]
            quiet = [peer for peer, line in self._lines.items() if line.wants_heartbeat(at_ns)]
            for peer in silent:
                self._replace_line(peer)
                self._commands.append(_Connect(peer, self._endpoints[peer]))
        for peer in quiet:
            with contextlib.suppress(SendError):  # it was disconnected since
                self.ping(peer)

    def _receive(self, socket: "zmq.Socket[bytes]") -> None:
        peer = next((name for name, dealer in self._dealers.items() if dealer is socket), None)
        for _ in range(_RECEIVED_PER_TURN):
            try:
                received = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            at_ns = time.monotonic_ns()
            self._received_bytes += sum(map(len, received))
            frames = [frame.buffer for frame in received]
            if peer is not None:
                self._take_reply(peer, frames, at_ns)
            else:
                self._take_message(bytes(frames[0]), frames[1:], at_ns)

    def _take_message(self, identity: bytes, frames: Sequence[Frame], at_ns: int) -> None:
        match = _IDENTITY_FORM.fullmatch(identity)
        message = self._decoded(identity, frames) if match else None
        if match is None or message is None:
            self._malformed += 1
            return
        src = match[1].decode()
        match message:
            case TensorsMessage():
                self._reply(identity, Acknowledgement(message.route))
                self._tell(self._receiver.on_tensors, message, src)
            case FailureMessage():
                self._tell(self._receiver.on_failure, message, src)
            case TransferRecord():
                self._tell(self._receiver.on_transfer_record, message, src)
            case Ping(token):
                self._reply(identity, Pong(token))
            case ProbeChunk():
                self._follow_probe(identity, message, at_ns)
            case _:
                self._malformed += 1

    def _take_reply(self, peer: str, frames: Sequence[Frame], at_ns: int) -> None:
        message = self._decoded(peer.encode(), frames)
        match message:
            case Acknowledgement(key) | Pong(key) | ProbeReply(key):
                pass
            case _:
                self._malformed += 1
                return
        with self._lock:
            line = self._lines.get(peer)
            settled = line.settle(key, at_ns) if line else None
        if settled is None:
            return
        self._undelivered += settled.lost
        elapsed_ms = settled.elapsed_ns / 1e6
        match message:
            case Acknowledgement(route):
                gap_ms = None if settled.gap_ns is None else settled.gap_ns / 1e6
                delivery = Delivery(peer, route, settled.size_bytes, elapsed_ms, gap_ms)
                self._tell(self._receiver.on_delivered, delivery)
                if self._links:
                    self._tell(self._links.on_delivered, delivery)
            case Pong() if self._links and settled.alone:
                self._tell(self._links.on_round_trip, peer, elapsed_ms)
            case ProbeReply() if self._links:
                slope = Slope(message.counted_bytes, message.counted_ns)
                self._tell(self._links.on_probe, ProbeResult(peer, settled.size_bytes, elapsed_ms, slope))

    def _decoded(self, sender: bytes, frames: Sequence[Frame]) -> WireMessage | None:
        try:
            return decode(frames)
        except WireError as error:
            if sender not in self._complained and len(self._complained) < 1_000:
                self._complained.add(sender)
                log.warning("dropped a message from %s: %s", sender.decode(errors="replace"), error)
            return None

    def _reply(self, identity: bytes, message: WireMessage) -> None:
        self._transmit(self._router, [identity, *encode(message)])

    def _follow_probe(self, identity: bytes, chunk: ProbeChunk, at_ns: int) -> None:
        probe, timeline = self._timelines.pop(identity, (None, None))
        if timeline is None or probe != chunk.probe:
            timeline = ArrivalTimeline(chunk.count * len(chunk.payload))
        timeline.arrive(len(chunk.payload), at_ns)
        if chunk.index + 1 < chunk.count:
            self._timelines[identity] = (chunk.probe, timeline)
            if len(self._timelines) > _MAX_PROBING_PEERS:
                self._timelines.popitem(last=False)
            return
        slope = timeline.slope()
        self._reply(identity, ProbeReply(chunk.probe, slope.counted_bytes, slope.counted_ns))

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            # One faulty message must not end the thread that serves them all.
            log.exception("the receiver of a message failed")


def _set_options(socket: "zmq.Socket[bytes]", *, ipv6: bool) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IPV6, ipv6)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 10)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
