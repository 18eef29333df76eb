"""Tensors through the broker, where two agents cannot connect: a connection of its own, and a stream to each peer.

How messages are cut and put together is `edge_agent.chunks`'; when they go this way, `edge_agent.fallback`'s.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from paho.mqtt.client import MQTTMessage

from broker.connection import Connection
from broker.errors import ConnectionFailedError
from broker.sign_in import BrokerSettings
from broker.topics import TENSORS
from edge_agent.chunks import CHUNK_BYTES, Arrived, Sort, read_chunk
from edge_agent.complaints import Complaints
from edge_agent.errors import SendError, WireError
from edge_agent.exchange import Exchange, Payload
from edge_agent.ways import Incoming
from edge_agent.wire import WireMessage, encode
from edge_agent.wire_reading import decode
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES, Frame

log = logging.getLogger("splitrail.transport")

MAX_KEPT_BYTES: Final = 64 * 2**20
"""Of what waits for one peer; one message alone may be larger."""
MAX_HELD_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""Of all messages that are coming in."""
LARGEST_PACKET_BYTES: Final = CHUNK_BYTES + 1_000
"""What is around a chunk, the topic and the properties, is well below 1 KB."""
EXPIRY_S: Final = 30
IDLE_S: Final = 60.0
TICK_S: Final = 0.1
"""What came in is confirmed with what goes out, or by itself after about this time."""
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
        self._peers: dict[str, Exchange] = {}
        self._connection: Connection | None = None
        self._is_subscribed = False
        self._used_at = -math.inf
        self._open_at = -math.inf
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._sent_bytes = self._received_bytes = self._malformed = self._refused = 0
        self._complaints = Complaints()

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
            self._peers.setdefault(peer, Exchange())

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
            if peer.kept_bytes and peer.kept_bytes + size_bytes > MAX_KEPT_BYTES:
                raise SendError(name, f"{peer.kept_bytes} bytes wait for the broker already")
            at = time.monotonic()
            peer.put(sort, frames, at)
            self._need(at)
            self._say(name, peer, at)
            if not peer.listens(at):
                self._condition.notify()

    def called(self, name: str) -> None:
        """A peer asks this node to listen, since it has something to say."""
        with self._condition:
            peer = self._peers.get(name)
            if peer is None or self._is_closed:
                return
            at = time.monotonic()
            peer.called()
            self._need(at)
            self._say(name, peer, at)
            self._condition.notify()

    def is_empty(self, name: str) -> bool:
        """Whether `name` has had all messages, if perhaps not all replies, or none gets there now."""
        with self._condition:
            peer = self._peers.get(name)
            if peer is None or not peer.keeps_messages:
                return True
            return not (self.is_open and peer.listens(time.monotonic()))

    def withdraw(self, name: str, *, sent: bool) -> list[bytes]:
        """Take back the messages that `name` has not confirmed, in order; only those that were not `sent` if False.

        Of those that were some may have arrived, or arrive yet.
        """
        with self._condition:
            peer = self._peers.get(name)
            return peer.withdraw(sent=sent) if peer is not None else []

    def close(self) -> None:
        """Close the connection and end every thread; what waits is dropped. Calling it again does nothing."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _need(self, at: float) -> None:
        self._used_at = at
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
                is_idle = at - self._used_at > IDLE_S and not any(peer.kept_bytes for peer in self._peers.values())
                opens = self._connection is None and not is_idle and at >= self._open_at
                callees = [] if is_idle else [name for name, peer in self._peers.items() if peer.look(at)]
                for name, peer in self._peers.items():
                    self._say(name, peer, at)
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
                peer.ends()
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
            at = time.monotonic()
            for name, peer in self._peers.items():
                peer.begins()
                self._say(name, peer, at)
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
                at = at_ns / 1e9
                if chunk.part is not None:
                    self._need(at)
                held_bytes = sum(each.held_bytes for each in self._peers.values())
                try:
                    arrived = peer.take(chunk, at, MAX_HELD_BYTES - held_bytes)
                finally:
                    self._say(name, peer, at)
            if arrived is not None:
                self._tell(name, arrived, at_ns)
        except WireError as error:
            self._malformed += 1
            if self._complaints.is_news(name):
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

    # --- under the lock

    def _say(self, name: str, peer: Exchange, at: float) -> None:
        if self._is_subscribed:
            for payload in peer.payloads(at):
                self._publish(name, payload)

    def _publish(self, name: str, payload: Payload) -> None:
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
