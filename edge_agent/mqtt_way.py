"""Tensors through the broker, where two agents cannot connect: a connection of its own, and a stream to each peer.

How messages are cut and put together is `edge_agent.chunks`'; when they go this way, `edge_agent.fallback`'s.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from paho.mqtt.client import MQTTMessage

from broker.connection import BrokerSettings, Connection
from broker.errors import ConnectionFailedError
from broker.topics import TENSORS
from edge_agent.chunks import (
    CHUNK_BYTES,
    WINDOW_BYTES,
    Arrived,
    Chunk,
    Inbound,
    Outbound,
    Part,
    Sort,
    read_chunk,
    receipt,
)
from edge_agent.errors import SendError, WireError
from edge_agent.ways import Incoming
from edge_agent.wire import WireMessage, decode, encode
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES, Frame

log = logging.getLogger("splitrail.transport")

MAX_KEPT_BYTES: Final = 64 * 2**20
"""Of what waits for one peer; one message alone may be larger."""
MAX_HELD_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""Of all messages that are coming in."""
MAX_COMPLAINTS: Final = 100
LARGEST_PACKET_BYTES: Final = CHUNK_BYTES + 1_000
"""What is around a chunk, the topic and the properties, is well below 1 KB."""
EXPIRY_S: Final = 30
LISTENS_S: Final = 20.0
"""A peer that was not heard for longer may have closed its connection: it is called before it is sent anything."""
IDLE_S: Final = 60.0
TICK_S: Final = 0.1
"""What came in is confirmed with what goes out, or by itself after about this time."""
SILENCE_S: Final = 15.0
"""Without a sign of what was sent, for so long: it is asked what has come."""
FIRST_CALL_S: Final = 1.0
LONGEST_CALL_S: Final = 10.0
OPEN_S: Final = 3.0
OPEN_AGAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class MqttCounters:
    """Cumulative counts since the start; bytes are those of payloads."""

    sent_bytes: int = 0
    received_bytes: int = 0
    malformed: int = 0
    """Payloads that were dropped because they were none of ours, or out of bounds."""
    refused: int = 0
    """Payloads of nodes that are no peers."""


@dataclass(slots=True)
class _Peer:
    outbound: Outbound = field(default_factory=Outbound)
    inbound: Inbound = field(default_factory=Inbound)
    heard_at: float = -math.inf
    """When it last said anything here, on the monotonic clock; minus infinity since this node began to listen."""
    went_on_at: float = -math.inf
    """When something was sent to it first, or it last confirmed something."""
    is_asked: bool = False
    """Its next word tells what has to be sent again."""
    is_engaged: bool = False
    """Something was to be said in one of both directions since the connection was opened."""
    unconfirmed_bytes: int = 0
    called_at: float = -math.inf
    pause_s: float = FIRST_CALL_S

    def listens(self, at: float) -> bool:
        return at - self.heard_at < LISTENS_S


class MqttWay:
    """A node's end of the way through the broker; all methods may be called from any thread.

    Messages to one peer arrive once and in their order, as long as neither agent ends: what was not confirmed is sent
    again after the broker was away. At most WINDOW_BYTES to each peer are under way, so that the broker keeps no more.
    The connection is opened with the first message or call, and closed when there was none for a minute.
    """

    def __init__(
        self,
        node: str,
        site: str,
        broker: BrokerSettings,
        *,
        client_id: str,
        call: Callable[[str], object],
    ) -> None:
        """Nothing is connected yet; `call` asks a peer to listen, by whatever way it hears of."""
        self._node, self._site, self._broker, self._client_id = node, site, broker, client_id
        self._call = call
        self._incoming: Incoming | None = None
        self._condition = threading.Condition()
        self._peers: dict[str, _Peer] = {}
        self._connection: Connection | None = None
        self._is_subscribed = False
        self._used_at = -math.inf
        self._open_at = -math.inf
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._sent_bytes = self._received_bytes = self._malformed = self._refused = self._complaints = 0

    @property
    def counters(self) -> MqttCounters:
        """What has gone out, come in and been dropped."""
        return MqttCounters(self._sent_bytes, self._received_bytes, self._malformed, self._refused)

    @property
    def is_open(self) -> bool:
        """Whether the connection is there."""
        connection = self._connection
        return connection is not None and connection.connected

    def start(self, incoming: Incoming) -> None:
        """Give `incoming` what comes, on the connection's thread; nothing is connected to before."""
        self._incoming = incoming

    def admit(self, peer: str) -> None:
        """Hear `peer` from now on, and let it be sent to."""
        with self._condition:
            self._peers.setdefault(peer, _Peer())

    def dismiss(self, peer: str) -> None:
        """Hear `peer` no more; what is under way in both directions is dropped."""
        with self._condition:
            self._peers.pop(peer, None)

    def admits(self, peer: str) -> bool:
        """Whether `peer` is heard here and sent to."""
        return peer in self._peers

    def send(self, name: str, sort: Sort, frames: Sequence[Frame]) -> None:
        """Send a message, or a reply, after those before it; its frames may change once this has returned.

        SendError if the peer is unknown, too much waits for it, or this is closed.
        """
        size_bytes = sum(map(len, frames))
        with self._condition:
            peer = self._peers.get(name)
            if peer is None or self._is_closed:
                raise SendError(name, "no such peer takes tensors by the broker")
            kept_bytes = peer.outbound.kept_bytes
            if kept_bytes and kept_bytes + size_bytes > MAX_KEPT_BYTES:
                raise SendError(name, f"{kept_bytes} bytes wait for the broker already")
            at = time.monotonic()
            if not peer.outbound.kept_bytes:
                peer.went_on_at = at
            peer.outbound.put(sort, frames)
            self._engage(peer, at)
            if peer.listens(at):
                self._send_due(name, peer)
            else:
                self._condition.notify()

    def called(self, name: str) -> None:
        """A peer asks this node to listen, since it has something to say."""
        with self._condition:
            peer = self._peers.get(name)
            if peer is None or self._is_closed:
                return
            self._engage(peer, time.monotonic())
            # One that connects asks everybody anyway.
            if self._is_subscribed:
                self._confirm(name, peer)
            self._condition.notify()

    def is_empty(self, name: str) -> bool:
        """Whether `name` has had all messages, if perhaps not all replies, or none gets there now."""
        with self._condition:
            peer = self._peers.get(name)
            if peer is None or not peer.outbound.kept_messages:
                return True
            return not (self.is_open and peer.listens(time.monotonic()))

    def withdraw(self, name: str) -> list[bytes]:
        """Take back the messages that `name` has not confirmed, in order; some may have arrived, or arrive yet."""
        with self._condition:
            peer = self._peers.get(name)
            return peer.outbound.withdraw() if peer is not None else []

    def close(self) -> None:
        """Close the connection and end every thread; what waits is dropped. Calling it again does nothing."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _engage(self, peer: _Peer, at: float) -> None:
        peer.is_engaged, self._used_at = True, at
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="mqtt-way", daemon=True)
            self._thread.start()

    # --- on its own thread

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._is_closed:
                    break
                at = time.monotonic()
                is_idle = at - self._used_at > IDLE_S and not any(
                    peer.outbound.kept_bytes for peer in self._peers.values()
                )
                opens = self._connection is None and not is_idle and at >= self._open_at
                callees = [] if is_idle else self._attend(at)
                if not (is_idle or opens or callees):
                    self._condition.wait(TICK_S)
                    continue
            for name in callees:
                self._call(name)
            if opens:
                self._open()
            elif is_idle:
                self._end()
                with self._condition:
                    if time.monotonic() - self._used_at > IDLE_S and not self._is_closed:
                        self._condition.wait()
        self._end()

    def _attend(self, at: float) -> list[str]:
        """Confirm and ask what is due; the peers that have to be called."""
        callees = []
        for name, peer in self._peers.items():
            if peer.outbound.kept_bytes and not peer.listens(at) and at - peer.called_at >= peer.pause_s:
                peer.pause_s = FIRST_CALL_S if peer.called_at == -math.inf else min(2 * peer.pause_s, LONGEST_CALL_S)
                peer.called_at = at
                callees.append(name)
            if not self._is_subscribed:
                continue
            is_silent = peer.outbound.is_under_way and at - peer.went_on_at > SILENCE_S
            if is_silent:
                peer.is_asked, peer.went_on_at = True, at
            if is_silent or name in callees:
                self._confirm(name, peer, asks_again=True)
            elif peer.unconfirmed_bytes:
                self._confirm(name, peer)
        return callees

    def _open(self) -> None:
        try:
            connection = Connection(
                msgspec.structs.replace(self._broker, start_timeout_s=OPEN_S),
                client_id=self._client_id,
                will=None,
                on_connected=lambda: self._connected(connection),
                on_message=self._receive,
            )
            with self._condition:
                self._connection = connection
            connection.start()
        except ConnectionFailedError as error:
            log.warning("tensors cannot go through the broker: %s", error)
            self._end()
            with self._condition:
                self._open_at = time.monotonic() + OPEN_AGAIN_S

    def _end(self) -> None:
        with self._condition:
            connection, self._connection, self._is_subscribed = self._connection, None, False
            for peer in self._peers.values():
                peer.is_engaged, peer.heard_at, peer.called_at = False, -math.inf, -math.inf
        if connection is not None:
            connection.close()

    # --- on the connection's thread

    def _connected(self, connection: Connection) -> None:
        if connection.max_packet_bytes < LARGEST_PACKET_BYTES:
            log.error(
                "%s admits packets of %d bytes, tensors through it need %d: raise its max_packet_size",
                self._broker.endpoint,
                connection.max_packet_bytes,
                LARGEST_PACKET_BYTES,
            )
            return
        connection.subscribe(TENSORS.address(self._site, self._node, "+"), qos=TENSORS.qos)
        with self._condition:
            self._is_subscribed = True
            for name, peer in self._peers.items():
                peer.heard_at = -math.inf
                if peer.is_engaged:
                    self._confirm(name, peer, asks_again=True)
            self._condition.notify()

    def _receive(self, raw: MQTTMessage) -> None:
        at_ns = time.monotonic_ns()
        levels = TENSORS.levels(raw.topic)
        if levels is None or levels[0] != self._node:
            self._malformed += 1
            return
        name = levels[1]
        self._received_bytes += len(raw.payload)
        try:
            chunk = read_chunk(bytes(raw.payload))
            with self._condition:
                peer = self._peers.get(name)
                if peer is None:
                    self._refused += 1
                    return
                arrived = self._take(name, peer, chunk, at_ns / 1e9)
            if arrived is not None:
                self._tell(name, arrived, at_ns)
        except WireError as error:
            self._malformed += 1
            # So many in all: a log is not to be filled from outside.
            if self._complaints < MAX_COMPLAINTS:
                self._complaints += 1
                log.warning("dropped what came from %s by the broker: %s", name, error)

    def _tell(self, name: str, arrived: Arrived, at_ns: int) -> None:
        message, incoming = decode(arrived.content), self._incoming
        if incoming is None:
            return
        if arrived.sort == "message":
            is_taken = incoming.take(MqttCaller(self, name), name, message, at_ns)
        else:
            is_taken = incoming.take_reply(name, message, at_ns)
        if not is_taken:
            raise WireError(f"a {type(message).__name__} as a {arrived.sort}")

    def _take(self, name: str, peer: _Peer, chunk: Chunk, at: float) -> Arrived | None:
        if chunk.asks_again or peer.is_asked or not peer.listens(at):
            peer.outbound.send_again(chunk.heard)
            peer.is_asked, peer.went_on_at = False, at
        elif peer.outbound.was_heard(chunk.heard):
            peer.went_on_at = at
        peer.heard_at, peer.pause_s = at, FIRST_CALL_S
        had_gap = peer.inbound.has_gap
        try:
            return self._take_part(peer, chunk.part, at) if chunk.part is not None else None
        finally:
            is_sent = self._send_due(name, peer)
            if peer.inbound.has_gap and not had_gap:
                self._confirm(name, peer, asks_again=True)
            elif not is_sent and (chunk.asks_again or peer.unconfirmed_bytes >= WINDOW_BYTES // 4):
                self._confirm(name, peer)

    def _take_part(self, peer: _Peer, part: Part, at: float) -> Arrived | None:
        self._engage(peer, at)
        peer.unconfirmed_bytes += len(part.content)
        held_bytes = sum(each.inbound.held_bytes for each in self._peers.values())
        return peer.inbound.take(part, MAX_HELD_BYTES - held_bytes)

    # --- under the lock

    def _send_due(self, name: str, peer: _Peer) -> bool:
        """Send what may be sent; whether anything was."""
        is_sent = False
        for payload in peer.outbound.due(peer.inbound.heard):
            is_sent = True
            self._publish(name, payload)
        if is_sent:
            peer.unconfirmed_bytes = 0
        return is_sent

    def _confirm(self, name: str, peer: _Peer, *, asks_again: bool = False) -> None:
        peer.unconfirmed_bytes = 0
        self._publish(name, receipt(peer.inbound.heard, asks_again=asks_again))

    def _publish(self, name: str, payload: bytes | bytearray) -> None:
        # What finds the broker away is sent again when it is back: then each asks the other.
        connection = self._connection
        if connection is not None and connection.publish(
            TENSORS.address(self._site, name, self._node), payload, qos=TENSORS.qos, retain=False, expiry_s=EXPIRY_S
        ):
            self._sent_bytes += len(payload)


@dataclass(frozen=True, slots=True)
class MqttCaller:
    """A peer that said something by the broker, and hears the answer there."""

    way: MqttWay
    peer: str

    def reply(self, message: WireMessage) -> None:
        """Answer it."""
        # What it has asked for too much of, or before it was dismissed, it does without.
        with contextlib.suppress(SendError):
            self.way.send(self.peer, "reply", encode(message))
