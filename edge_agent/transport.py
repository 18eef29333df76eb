"""Tensors from agent to agent: sent on the caller's thread, received by a few of its own, which never wait for a peer.

What the messages mean is the receiver's concern; what their times say of a link is `edge_agent.links`'.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from broker.messages import TensorWay
from edge_agent.admission import Admission
from edge_agent.deliveries import Delivery, LinkObserver, ProbeResult, TensorReceiver
from edge_agent.either_way import EitherWay
from edge_agent.endpoints import check_peer_endpoint
from edge_agent.errors import SendError, TransportError
from edge_agent.handshakes import checked_certificate
from edge_agent.inbox import Inbox
from edge_agent.keys import NodeKey
from edge_agent.lines import InFlight, ReplyKey
from edge_agent.links import Slope
from edge_agent.looks import Messages
from edge_agent.mqtt_way import MqttCounters, MqttWay
from edge_agent.outgoing import Outgoing
from edge_agent.sockets import TensorSockets
from edge_agent.ways import Caller
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    TensorsMessage,
    TransferRecord,
    WireMessage,
    encode,
)
from edge_agent.wire_tensors import Tensor, TensorSpec

__all__ = ["Delivery", "ProbeResult", "Sendable", "Transport", "TransportCounters"]

log = logging.getLogger("splitrail.transport")

_RENEW_S: Final = 1.0

Sendable: TypeAlias = TensorsMessage | FailureMessage | TransferRecord


@dataclass(frozen=True, slots=True)
class TransportCounters:
    """Cumulative counts since the start; bytes are those of messages, without TCP's and TLS's own."""

    sent_bytes: int
    received_bytes: int
    malformed: int
    """Connections that were ended because what came on them was no message of ours, and payloads of the broker."""
    undelivered: int
    """Messages that were given up when their connection went silent, was full or was closed."""
    refused: int
    """Connections whose caller's key is not that of the node it claims to be, and payloads of who is no peer."""
    cut: int
    """Connections that were ended: refused, malformed, held by strangers, or with too much under way."""


class Transport:
    """The tensor plane's end on a node: it listens on one endpoint and holds one connection to each peer.

    Opened by the constructor, it takes in nothing before `start`. All methods may be called from any thread. With a key
    everything is encrypted, and only peers are heard that were connected to and hold the key given there.
    What is under way is bounded, as `edge_agent.outgoing` says, and what comes in, as `edge_agent.stream` and
    `edge_agent.connections` say. It is the `edge_agent.ways.Incoming` of its sockets.
    """

    def __init__(
        self,
        node: str,
        listen: str,
        key: NodeKey | None = None,
        *,
        mqtt: MqttWay | None = None,
        fallback_after_s: float = 5.0,
    ) -> None:
        """Listen as `node` on `listen`, `tcp://host:port` (port 0 takes a free one), with its key.

        Without a key tensors run open, which only a loopback address may. TransportError if that fails. What is for a
        peer that could not be connected to for `fallback_after_s` goes by `mqtt`, where that is given and it takes it.
        """
        self._admission = Admission(is_open=key is None)
        self._sockets = TensorSockets(node, listen, key, self._admission)
        self._is_open = key is None
        self.endpoint = self._sockets.endpoint
        """Where this transport listens, with the port that was taken."""
        self._mqtt = mqtt
        self._either = EitherWay(self._sockets.dialler, mqtt, after_s=fallback_after_s) if mqtt is not None else None
        self._outgoing = Outgoing(self._either or self._sockets.dialler)
        self._receiver: TensorReceiver
        self._inbox: Inbox
        self._links: LinkObserver | None = None
        self._renew_at_s = time.monotonic() + _RENEW_S

    def start(self, receiver: TensorReceiver, links: LinkObserver | None = None) -> None:
        """Take messages in from now on; call once."""
        self._receiver, self._links = receiver, links
        self._inbox = Inbox(receiver)
        if self._mqtt is not None:
            self._mqtt.start(self)
        self._sockets.start(self)

    def close(self) -> None:
        """Close every socket and end the threads; what is queued is dropped. Calling it again does nothing."""
        if self._outgoing.close():
            if self._mqtt is not None:
                self._mqtt.close()
            self._sockets.close()

    def __enter__(self) -> "Transport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self, peer: str, endpoint: str, key: str | None = None, *, takes_mqtt: bool = False) -> None:
        """Reach `peer` at `endpoint`, `tcp://host:port`, from now on, and let it in; `key` is its tensor key.

        Where it `takes_mqtt` too, that is the way while it cannot be connected to.

        TransportError if that is no such address or key, or if one of both ends has a key and the other has none. A
        peer that is not there yet is tried again until it is, or until `disconnect`; another key or endpoint takes its
        place.
        """
        check_peer_endpoint(peer, endpoint)
        if key is None and not self._is_open:
            raise TransportError(endpoint, f"{peer} announces no tensor key: set tensors.security to tls there")
        if key is not None and self._is_open:
            raise TransportError(endpoint, f"{peer} encrypts its tensors: set tensors.security to tls here")
        self._admission.admit(peer, None if key is None else checked_certificate(peer, key))
        self._outgoing.connect(peer, endpoint, key)
        if self._either is not None:
            self._either.allow(peer, takes_mqtt)

    def disconnect(self, peer: str) -> None:
        """Forget `peer` and hear it no more; what is under way to it is dropped, its own connections are cut."""
        self._admission.dismiss(peer)
        self._outgoing.disconnect(peer)

    def pace(self, peer: str, mbps: float | None) -> None:
        """Hold what is sent to `peer` to this rate in Mbit/s, but for probes; None lifts that. Unknown peers have none.

        Only Linux can hold it; elsewhere it must not be called.
        """
        self._outgoing.pace(peer, mbps)

    def send(self, peer: str, message: Sendable) -> None:
        """Send a message to `peer`, as far as the kernel takes it at once; its arrays may change once this returns.

        SendError if the peer is unknown or too much is under way to it; WireError if the message is out of bounds.
        """
        key = message.route if isinstance(message, TensorsMessage) else None
        self._outgoing.submit(peer, encode(message), key)

    def ping(self, peer: str) -> None:
        """Ask `peer` for a sign of life; its round trip is reported if the line was idle. SendError as for `send`."""
        token = self._outgoing.token()
        self._outgoing.submit(peer, encode(Ping(token)), token)

    def probe(self, peer: str, chunks: int, chunk_bytes: int) -> None:
        """Send `chunks` messages of `chunk_bytes` each back to back, to see the bandwidth. SendError as for `send`.

        On a line that is paced the pace is lifted for it: it waits until the line is idle, and what is sent after it
        waits until it is back. A probe that waits so already stands for this one too.
        """
        token = self._outgoing.token()
        payload = os.urandom(chunk_bytes)  # a compressing tunnel must not flatter the link
        messages: Messages = [encode(ProbeChunk(token, index, chunks, payload)) for index in range(chunks)]
        self._outgoing.probe(peer, messages, token)

    def may_stay(self) -> bool:
        """Whether the calling thread may compute within `on_tensors`, as another one serves the connections meanwhile.

        Once it is True, that one may bring the next tensors, so ask when this one has its place in the order already.
        False where the thread is not this transport's, or no other one would be left.
        """
        caller = self._sockets.serving
        if not self._sockets.may_stay():
            return False
        if caller is not None:
            self._inbox.stays(caller)
        return True

    def way(self, peer: str) -> TensorWay:
        """How what is sent to `peer` goes now."""
        return "direct" if self._either is None else self._either.way(peer)

    def called(self, peer: str) -> None:
        """A peer that cannot connect to this node asks it to listen at the broker."""
        if self._mqtt is not None:
            self._mqtt.called(peer)

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
        sent_bytes, received_bytes, dropped = sockets.passed
        by_mqtt = MqttCounters() if self._mqtt is None else self._mqtt.counters
        return TransportCounters(
            sent_bytes + by_mqtt.sent_bytes,
            received_bytes + by_mqtt.received_bytes,
            sockets.malformed + by_mqtt.malformed,
            self._outgoing.undelivered + dropped + (0 if self._either is None else self._either.dropped),
            sockets.refused + by_mqtt.refused,
            sockets.cut,
        )

    # --- what comes, from the sockets' threads

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """Where the receiver wants tensors to be."""
        try:
            places = self._receiver.memory_for(route, specs)
            if places is not None:
                _check_places(places, specs)
            return places  # noqa: TRY300  # what fails is the receiver's fault, wherever
        except Exception:
            log.exception("the receiver of a message failed")
            return None

    def take(self, caller: Caller, src: str, message: WireMessage, at_ns: int) -> bool:
        """A message has come."""
        try:
            return self._inbox.take(caller, src, message, at_ns)
        except Exception:
            # One faulty message must not end the connection on which others come.
            log.exception("the receiver of a message failed")
            return True

    def take_reply(self, peer: str, message: WireMessage, at_ns: int) -> bool:
        """A reply has come; False if it is none."""
        match message:
            case Acknowledgement(route, held_ns):
                self._settle(peer, route, message, at_ns, held_ns)
            case Pong(token) | ProbeReply(token):
                self._settle(peer, token, message, at_ns)
            case _:
                return False
        return True

    def attend(self) -> None:
        """Look after the lines."""
        if self._either is not None:
            self._either.attend()
        self._outgoing.look_after()
        at_s = time.monotonic()
        if at_s >= self._renew_at_s:
            self._renew_at_s = at_s + _RENEW_S
            for peer in self._outgoing.renew_silent():
                with suppress(SendError):  # it was disconnected since
                    self.ping(peer)

    def _settle(self, peer: str, key: ReplyKey, message: WireMessage, at_ns: int, held_ns: int = 0) -> None:
        settled = self._outgoing.settle(peer, key, at_ns, held_ns)
        if settled is None:
            return
        elapsed_ms, links = settled.elapsed_ns / 1e6, self._links
        match message:
            case Acknowledgement(route):
                gap_ms = None if settled.gap_ns is None else settled.gap_ns / 1e6
                delivery = Delivery(peer, route, settled.size_bytes, elapsed_ms, gap_ms, settled.pace_mbps)
                _tell(self._receiver.on_delivered, delivery)
                if links:
                    _tell(links.on_delivered, delivery)
            case Pong() if links and settled.alone:
                _tell(links.on_round_trip, peer, elapsed_ms)
            case ProbeReply() if links:
                slope = Slope(message.counted_bytes, message.counted_ns)
                _tell(links.on_probe, ProbeResult(peer, settled.size_bytes, elapsed_ms, slope))


def _check_places(places: Sequence[Tensor], specs: tuple[TensorSpec, ...]) -> None:
    for place, spec in zip(places, specs, strict=True):
        if place.dtype != spec.dtype or place.shape != spec.shape or not place.flags.c_contiguous:
            raise ValueError(f"memory of {place.shape} {place.dtype} for a tensor of {spec.shape} {spec.dtype}")


def _tell(callback: Callable[..., None], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        # One faulty message must not end the connection on which others come.
        log.exception("the receiver of a message failed")
