"""Tensors from agent to agent: one thread owns all sockets, other threads hand messages over and never wait.

What the messages mean is the receiver's concern; what their times say of a link is `edge_agent.links`'.
"""

import contextlib
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from edge_agent.deliveries import Delivery, LinkObserver, ProbeResult, TensorReceiver
from edge_agent.errors import SendError, WireError
from edge_agent.inbox import Inbox
from edge_agent.lines import InFlight, Line, ReplyKey
from edge_agent.links import Slope
from edge_agent.sockets import Arrived, TensorSockets, check_peer_endpoint
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Frame,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    TensorsMessage,
    TransferRecord,
    WireMessage,
    decode,
    encode,
)

__all__ = ["Delivery", "ProbeResult", "Sendable", "Transport", "TransportCounters"]

log = logging.getLogger("splitrail.transport")

MAX_OWED_MESSAGES: Final = 256
MAX_OWED_BYTES: Final = 256 * 2**20
MAX_QUEUED_COMMANDS: Final = 4_096
_TURN_MS: Final = 1_000

Sendable: TypeAlias = TensorsMessage | FailureMessage | TransferRecord


@dataclass(frozen=True, slots=True)
class TransportCounters:
    """Cumulative counts since the start; bytes are those of frames, without TCP's own."""

    sent_bytes: int
    received_bytes: int
    malformed: int
    """Messages that were dropped because they were none of ours."""
    undelivered: int
    """Messages that were given up when their connection went silent, was full or was closed."""


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
        self._sockets = TensorSockets(node, listen)
        self.endpoint = self._sockets.endpoint
        """Where this transport listens, with the port that was taken."""
        self._lock = threading.Lock()
        self._lines: dict[str, Line] = {}
        self._endpoints: dict[str, str] = {}
        self._commands: deque[_Command] = deque()
        self._closing = False
        self._tokens = itertools.count(1)
        self._malformed = self._undelivered = 0
        self._thread: threading.Thread | None = None

    def start(self, receiver: TensorReceiver, links: LinkObserver | None = None) -> None:
        """Take messages in from now on; call once."""
        self._thread = threading.Thread(target=self._run, args=(receiver, links), name="tensor-transport", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every socket and end the thread; what is queued is dropped. Calling it again does nothing."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        if self._thread is not None:
            self._sockets.wake()
            self._thread.join()
        self._sockets.close()

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, peer: str, endpoint: str) -> None:
        """Reach `peer` at `endpoint`, `tcp://host:port`, from now on; TransportError if that is no such address.

        A peer that is not there yet is tried again until it is, or until `disconnect`.
        """
        check_peer_endpoint(peer, endpoint)
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
        sockets = self._sockets
        undelivered = self._undelivered + sockets.dropped
        return TransportCounters(sockets.sent_bytes, sockets.received_bytes, self._malformed, undelivered)

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
        # The I/O thread itself looks at the commands after each turn.
        if threading.current_thread() is not self._thread:
            with self._lock:
                if not self._closing:
                    self._sockets.wake()

    def _replace_line(self, peer: str) -> None:
        old = self._lines.get(peer)
        self._undelivered += old.owed if old else 0
        self._lines[peer] = Line(time.monotonic_ns())

    def _run(self, receiver: TensorReceiver, links: LinkObserver | None) -> None:
        inbox = Inbox(receiver, lambda identity, message: self._sockets.reply(identity, encode(message)))
        next_look = time.monotonic() + 1.0
        while not self._closing:
            for arrived in self._sockets.receive(_TURN_MS):
                if arrived.peer is None:
                    _tell(self._take_message, inbox, arrived)
                else:
                    self._take_reply(arrived.peer, arrived, receiver, links)
            while self._commands:
                self._carry_out(self._commands.popleft())
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 1.0
                self._look_after_lines()

    def _carry_out(self, command: _Command) -> None:
        match command:
            case _Connect(peer, endpoint):
                self._sockets.open(peer, endpoint)
            case _Disconnect(peer):
                self._sockets.shut(peer)
            case _Send(peer, messages):
                for frames in messages:
                    self._sockets.send(peer, frames)

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

    def _take_message(self, inbox: Inbox, arrived: Arrived) -> None:
        identity, *frames = arrived.frames
        if not inbox.take(bytes(identity), frames, arrived.at_ns):
            self._malformed += 1

    def _take_reply(self, peer: str, arrived: Arrived, receiver: TensorReceiver, links: LinkObserver | None) -> None:
        reply = _decoded_reply(arrived.frames)
        if reply is None:
            self._malformed += 1
            return
        key, message = reply
        with self._lock:
            line = self._lines.get(peer)
            settled = line.settle(key, arrived.at_ns) if line else None
            if settled is None:
                return
            self._undelivered += settled.lost
        elapsed_ms = settled.elapsed_ns / 1e6
        match message:
            case Acknowledgement(route):
                gap_ms = None if settled.gap_ns is None else settled.gap_ns / 1e6
                delivery = Delivery(peer, route, settled.size_bytes, elapsed_ms, gap_ms)
                _tell(receiver.on_delivered, delivery)
                if links:
                    _tell(links.on_delivered, delivery)
            case Pong() if links and settled.alone:
                _tell(links.on_round_trip, peer, elapsed_ms)
            case ProbeReply() if links:
                slope = Slope(message.counted_bytes, message.counted_ns)
                _tell(links.on_probe, ProbeResult(peer, settled.size_bytes, elapsed_ms, slope))


def _decoded_reply(frames: Sequence[Frame]) -> tuple[ReplyKey, WireMessage] | None:
    try:
        message = decode(frames)
    except WireError:
        return None
    match message:
        case Acknowledgement(key) | Pong(key) | ProbeReply(key):
            return key, message
        case _:
            return None


def _tell(callback: Callable[..., None], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        # One faulty message must not end the thread that serves them all.
        log.exception("the receiver of a message failed")
