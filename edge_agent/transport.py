"""Tensors from agent to agent: one thread owns all sockets, other threads hand messages over and never wait.

What the messages mean is the receiver's concern; what their times say of a link is `edge_agent.links`'.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from edge_agent.admission import Admission
from edge_agent.deliveries import Delivery, LinkObserver, ProbeResult, TensorReceiver
from edge_agent.endpoints import check_peer_endpoint
from edge_agent.errors import SendError, TransportError, WireError
from edge_agent.inbox import Inbox, claimed_sender
from edge_agent.keys import NodeKey
from edge_agent.lines import InFlight, ReplyKey
from edge_agent.links import Slope
from edge_agent.looks import Messages
from edge_agent.outgoing import Outgoing
from edge_agent.sockets import Arrived, TensorSockets
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

_TURN_MS: Final = 250

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
    refused: int
    """Messages that were dropped because their sender's key is not, or no more, that of the node it claims to be."""
    cut: int
    """Connections that were ended: refused, or held by strangers, or filled with what makes no message."""


class Transport:
    """The tensor plane's end on a node: it listens on one endpoint and holds one connection to each peer.

    Opened by the constructor, it takes in nothing before `start`. All methods may be called from any thread. With a key
    everything is encrypted, and only peers are heard that were connected to and hold the key given there.
    What is under way is bounded, as `edge_agent.outgoing` says, and what comes in, as `edge_agent.sockets` and
    `edge_agent.connections` say.
    """

    def __init__(self, node: str, listen: str, key: NodeKey | None = None) -> None:
        """Listen as `node` on `listen`, `tcp://host:port` (port 0 takes a free one), with its CURVE key.

        Without a key tensors run open, which only a loopback address may. TransportError if that fails.
        """
        self._admission = Admission(is_open=key is None)
        self._sockets = TensorSockets(node, listen, key, self._admission.admits)
        self._is_open = key is None
        self.endpoint = self._sockets.endpoint
        """Where this transport listens, with the port that was taken."""
        self._outgoing = Outgoing(self._sockets)
        self._closing = False
        self._malformed = self._refused = 0
        self._thread: threading.Thread | None = None

    def start(self, receiver: TensorReceiver, links: LinkObserver | None = None) -> None:
        """Take messages in from now on; call once."""
        self._thread = threading.Thread(target=self._run, args=(receiver, links), name="tensor-transport", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every socket and end the thread; what is queued is dropped. Calling it again does nothing."""
        if not self._outgoing.close():
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

    def connect(self, peer: str, endpoint: str, key: str | None = None) -> None:
        """Reach `peer` at `endpoint`, `tcp://host:port`, from now on, and let it in; `key` is its public key (Z85).

        TransportError if that is no such address, or if one of both ends has a key and the other has none. A peer that
        is not there yet is tried again until it is, or until `disconnect`; another key or endpoint takes its place.
        """
        check_peer_endpoint(peer, endpoint)
        if key is None and not self._is_open:
            raise TransportError(endpoint, f"{peer} announces no tensor key: set tensors.security to curve there")
        if key is not None and self._is_open:
            raise TransportError(endpoint, f"{peer} encrypts its tensors: set tensors.security to curve here")
        self._admission.admit(peer, key)
        self._outgoing.connect(peer, endpoint, key)
        self._notify()

    def disconnect(self, peer: str) -> None:
        """Forget `peer` and hear it no more; what is under way to it is dropped, its own connections are cut."""
        self._admission.dismiss(peer)
        self._outgoing.disconnect(peer)
        self._notify()

    def pace(self, peer: str, mbps: float | None) -> None:
        """Hold what is sent to `peer` to this rate in Mbit/s, but for probes; None lifts that. Unknown peers have none.

        Only Linux can hold it; elsewhere it must not be called.
        """
        if self._outgoing.pace(peer, mbps):
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
        token = self._outgoing.token()
        self._submit(peer, [encode(Ping(token))], token)

    def probe(self, peer: str, chunks: int, chunk_bytes: int) -> None:
        """Send `chunks` messages of `chunk_bytes` each back to back, to see the bandwidth. SendError as for `send`.

        On a line that is paced the pace is lifted for it: it waits until the line is idle, and what is sent after it
        waits until it is back. A probe that waits so already stands for this one too.
        """
        token = self._outgoing.token()
        payload = os.urandom(chunk_bytes)  # a compressing tunnel must not flatter the link
        messages = [encode(ProbeChunk(token, index, chunks, payload)) for index in range(chunks)]
        self._outgoing.probe(peer, messages, token)
        self._notify()

    def in_flight(self, peer: str) -> InFlight | None:
        """The oldest message to `peer` that awaits its reply; None where the line is idle or the peer unknown."""
        return self._outgoing.in_flight(peer)

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that are connected to, reachable or not."""
        return self._outgoing.peers

    @property
    def counters(self) -> TransportCounters:
        """What has gone out, come in and been dropped."""
        sockets = self._sockets
        undelivered = self._outgoing.undelivered + sockets.dropped
        return TransportCounters(
            sockets.sent_bytes, sockets.received_bytes, self._malformed, undelivered, self._refused, sockets.cut
        )

    def _submit(self, peer: str, messages: Messages, key: ReplyKey | None) -> None:
        self._outgoing.submit(peer, messages, key)
        self._notify()

    def _notify(self) -> None:
        # The I/O thread itself looks at what is to be sent after each turn.
        if threading.current_thread() is not self._thread:
            self._outgoing.wake()

    def _run(self, receiver: TensorReceiver, links: LinkObserver | None) -> None:
        inbox = Inbox(receiver, lambda identity, message: self._sockets.reply(identity, encode(message)))
        next_look = next_police = time.monotonic() + _TURN_MS / 1_000
        while not self._closing:
            for arrived in self._sockets.receive(_TURN_MS):
                if arrived.peer is None:
                    _tell(self._take_message, inbox, arrived)
                else:
                    self._take_reply(arrived.peer, arrived, receiver, links)
            self._outgoing.carry_out()
            at = time.monotonic()
            if at >= next_police:
                next_police = at + _TURN_MS / 1_000
                self._sockets.look_after()
            if at >= next_look:
                next_look = at + 1.0
                for peer in self._outgoing.look_after():
                    with contextlib.suppress(SendError):  # it was disconnected since
                        self.ping(peer)

    def _take_message(self, inbox: Inbox, arrived: Arrived) -> None:
        identity, *frames = arrived.frames
        claimed = claimed_sender(bytes(identity))
        if claimed is None:
            self._malformed += 1
        elif not self._admission.may_speak(claimed, arrived.key):
            self._refused += 1
            self._sockets.refuse(arrived.descriptor)
        elif inbox.take(bytes(identity), claimed, frames, arrived.at_ns):
            self._sockets.spoke(arrived.descriptor, claimed)
        else:
            self._malformed += 1

    def _take_reply(self, peer: str, arrived: Arrived, receiver: TensorReceiver, links: LinkObserver | None) -> None:
        reply = _decoded_reply(arrived.frames)
        if reply is None:
            self._malformed += 1
            return
        key, message = reply
        settled = self._outgoing.settle(peer, key, arrived.at_ns)
        if settled is None:
            return
        elapsed_ms = settled.elapsed_ns / 1e6
        match message:
            case Acknowledgement(route):
                gap_ms = None if settled.gap_ns is None else settled.gap_ns / 1e6
                delivery = Delivery(peer, route, settled.size_bytes, elapsed_ms, gap_ms, settled.pace_mbps)
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
