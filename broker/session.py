"""A typed MQTT session: handlers get messages that fit the registry, owners republish when it connects again.

What comes from the network is bounded, decoded and counted here; connecting belongs to `broker.connection`, which
filters to ask for to `broker.subscriptions`.
"""

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self

from paho.mqtt.client import MQTTMessage

from broker.client_setup import Will
from broker.connection import Connection
from broker.drops import DroppedCounts, Drops
from broker.errors import MalformedMessageError
from broker.foreign import (
    MAX_FOREIGN_BYTES,
    ForeignHandler,
    ForeignSubscription,
    check_foreign_address,
    check_foreign_filter,
)
from broker.limits import check_levels, encoded, family_of, max_payload_bytes, may_answer
from broker.messages import InferReply, NodeStatus
from broker.requests import Requests
from broker.sign_in import BrokerSettings
from broker.subscriptions import Subscription, Subscriptions
from broker.topics import REPLY, STATUS, M, Topic
from splitrail.errors import SplitrailError

ANONYMOUS = "anonymous"
UNSENT = "not sent: too many messages wait, or the session is closed"

log = logging.getLogger("splitrail.broker")


@dataclass(frozen=True, slots=True)
class Incoming(Generic[M]):
    """A message that arrived, the variable levels of its topic and where an answer is due, if one is."""

    message: M
    levels: tuple[str, ...]
    retained: bool
    """True for what the broker had kept when we subscribed, False for what happened since."""
    response_topic: str | None
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[M]):
    """A message and the topic that it goes to."""

    topic: Topic[M]
    message: M
    levels: tuple[str, ...]


class Session:
    """One MQTT client of a site, typed by the registry of topics; every method may be called from any thread.

    Handlers and `on_connected` callbacks run on the network thread: they must not block, and must not `request`.
    Each run begins anew; the broker keeps what is missed only while a session that was lost connects again.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        site: str,
        client_id: str,
        last_will: Outgoing[Any] | None = None,
    ) -> None:
        self._site = site
        # Replies come in under the user's name, so that the broker can keep them from others.
        self._user = broker.username or ANONYMOUS
        self._subscriptions = Subscriptions(site)
        self._connected_callbacks: tuple[Callable[[], None], ...] = ()
        self._lock = threading.Lock()
        self._drops = Drops()
        self._reply_level: str | None = None
        self._requests = Requests(broker.endpoint, lambda: self._connection.connected)
        self._watched: frozenset[str] = frozenset()
        will = None
        if last_will is not None:
            will = Will(self._address(last_will.topic, last_will.levels), encoded(last_will.topic, last_will.message))
        self._connection = Connection(
            broker,
            client_id=client_id,
            will=will,
            on_connected=self._connected,
            on_message=self._receive,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is there now; what is published meanwhile waits, up to a bound."""
        return self._connection.connected

    @property
    def dropped(self) -> DroppedCounts:
        """What was dropped so far."""
        return self._drops.counts

    def start(self) -> None:
        """Block until the first connection; whatever is said from then on, the handlers so far hear.

        ConnectionFailedError says why there is no connection.
        """
        self._connection.start()

    def close(self) -> None:
        """Wait shortly for what is under way, and disconnect; the last will is published then too. Safe to repeat."""
        if self._connection.connected and not self._connection.on_network_thread:
            self._connection.flush()
        self._connection.close()
        self._requests.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def on(
        self, topic: Topic[M], handler: Callable[[Incoming[M]], None], levels: tuple[str, ...] | None = None
    ) -> None:
        """Call `handler` with each message of the whole family, or of the one address that `levels` name.

        What the broker has retained arrives in the order of these calls, after every connection. `start` returns once
        the broker has taken what was asked for before. Asked for later, it is not waited for: what another client
        publishes in the next moment may go unheard, unless it is retained.
        """
        if levels is not None:
            self._address(topic, levels)
        with self._lock:
            before = self._subscriptions
            after = self._subscriptions = before.joined_by(Subscription(topic, levels, handler))
        if self._connection.connected:
            needed = after.filters()
            for address_filter in before.filters():
                if address_filter not in needed:
                    self._connection.unsubscribe(address_filter)
            # Also where nothing new is asked for: the new handler needs what is retained.
            self._connection.subscribe(after.filter_of(topic, levels), topic.qos)

    def on_connected(self, callback: Callable[[], None]) -> None:
        """Call `callback` after every connection, the first included, so that an owner publishes its state anew."""
        with self._lock:
            self._connected_callbacks = (*self._connected_callbacks, callback)

    def on_foreign(self, address_filter: str, handler: ForeignHandler) -> None:
        """Call `handler` with address and payload of what another system says under this filter.

        Empty payloads are left out, those above 64 kB dropped and counted. Filters that overlap may deliver twice. As
        with `on`, what is asked for while connected may come too late for what others publish in the next moment.
        MalformedMessageError for what is no filter, or covers topics of ours.
        """
        check_foreign_filter(address_filter)
        with self._lock:
            self._subscriptions = self._subscriptions.joined_by_foreign(ForeignSubscription(address_filter, handler))
        if self._connection.connected:
            self._connection.subscribe(address_filter, qos=1)

    def publish_foreign(self, address: str, payload: bytes, *, retain: bool, qos: int = 1) -> bool:
        """Tell another system, without waiting; False, and counted, if too many messages wait for the broker already.

        An empty payload clears what is retained. MalformedMessageError for a topic of ours, or above 64 kB.
        """
        check_foreign_address(address)
        if len(payload) > MAX_FOREIGN_BYTES:
            raise MalformedMessageError(address, f"{len(payload)} bytes are more than the {MAX_FOREIGN_BYTES} to send")
        if self._connection.publish(address, payload, qos=qos, retain=retain):
            return True
        self._drops.drop("unsent", "foreign", UNSENT)
        return False

    def publish(self, topic: Topic[M], message: M, *levels: str, retained: bool = True) -> bool:
        """Send without waiting; False, and counted, if too many messages wait for the broker already.

        What is not `retained` leaves what the broker keeps on the topic as it is: it is no news.
        MalformedMessageError if the levels or a figure cannot travel, or the message is too large.
        """
        return self._send(topic, message, self._address(topic, levels), retained=retained)

    def request(
        self,
        topic: Topic[M],
        message: M,
        *levels: str,
        timeout_s: float,
        node: str | None = None,
        sent: Callable[[], object] = lambda: None,
    ) -> InferReply:
        """Send a request and wait for its reply; NoReplyError, if none comes within `timeout_s` seconds, says why.

        It is sent again after the broker was lost, and, where `node` names who is to answer, when that one connects;
        who answers knows a repetition by its `request_id` and response topic. `sent` is called each time that it has
        been handed over, so that what another thread publishes then comes after it. ConnectionFailedError if too many
        messages wait for the broker or the session is closed, MalformedMessageError as for `publish`.
        """
        if self._connection.on_network_thread:
            raise RuntimeError("a handler must not wait for a reply: replies arrive on its own thread")
        address = self._address(topic, levels)
        response_topic = self._address(REPLY, (self._user, self._replies()))
        if node is not None:
            self._watch(node)
        request = self._requests.begin(address, node)

        def send() -> bool:
            is_accepted = self._send(topic, message, address, response_topic, request.correlation)
            sent()
            return is_accepted

        return self._requests.wait(request, send, timeout_s)

    def reply(self, incoming: Incoming[Any], topic: Topic[M], message: M) -> bool:
        """Answer a request on the response topic that it named; False if it named none that may be answered."""
        address = incoming.response_topic
        if address is None or not may_answer(address, topic):
            self._drops.complain("reply", topic.pattern, f"a request asks for its reply on {address!r}: not answered")
            return False
        return self._send(topic, message, address, correlation=incoming.correlation)

    def _address(self, topic: Topic[Any], levels: tuple[str, ...]) -> str:
        address = topic.address(self._site, *levels)
        check_levels(topic, levels, address)
        return address

    def _send(
        self,
        topic: Topic[M],
        message: M,
        address: str,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        *,
        retained: bool = True,
    ) -> bool:
        payload = encoded(topic, message)
        # The broker hangs up on a packet beyond its bound; what surrounds a payload is well below 2 KB.
        if len(payload) > min(max_payload_bytes(topic), self._connection.max_packet_bytes - 2_000):
            raise MalformedMessageError(address, f"{len(payload)} bytes are more than this topic or the broker admits")
        accepted = self._connection.publish(
            address,
            payload,
            qos=topic.qos,
            retain=topic.retain and retained,
            response_topic=response_topic,
            correlation=correlation,
        )
        if accepted:
            return True
        self._drops.drop("unsent", topic.pattern, UNSENT)
        return False

    def _replies(self) -> str:
        """The level under which our replies arrive, subscribed to at the first request."""
        with self._lock:
            if self._reply_level is not None:
                return self._reply_level
            self._reply_level = uuid.uuid4().hex
        self.on(REPLY, self._take_reply, levels=(self._user, self._reply_level))
        return self._reply_level

    def _take_reply(self, incoming: Incoming[InferReply]) -> None:
        self._requests.answered(incoming.correlation, incoming.message)

    def _watch(self, node: str) -> None:
        with self._lock:
            if node in self._watched:
                return
            self._watched |= {node}
        self.on(STATUS, self._hear_status, levels=(node,))

    def _hear_status(self, incoming: Incoming[NodeStatus]) -> None:
        self._requests.heard(incoming.message, retained=incoming.retained)

    def _connected(self) -> None:
        for address_filter in self._subscriptions.filters():
            self._connection.subscribe(address_filter, qos=1)
        for callback in self._connected_callbacks:
            self._guard("on_connected", callback)
        self._requests.reconnected()

    def _receive(self, raw: MQTTMessage) -> None:
        try:
            address = raw.topic
        except UnicodeDecodeError:
            address = ""
        topic, levels = family_of(address)
        if topic is None:
            self._receive_foreign(address, raw)
            return
        if not raw.payload:
            return  # MQTT's way to clear a retained message
        if len(raw.payload) > max_payload_bytes(topic):
            self._drops.drop("oversized", topic.pattern, f"{address}: {len(raw.payload)} bytes are too many: dropped")
            return
        try:
            # JSON has no figure that is not finite, and none beyond what a float holds is admitted.
            message = topic.decode(address, bytes(raw.payload))
        except MalformedMessageError as error:
            self._drops.drop("malformed", topic.pattern, f"{error}: dropped")
            return
        incoming = Incoming(
            message,
            levels,
            retained=bool(raw.retain),
            response_topic=getattr(raw.properties, "ResponseTopic", None),
            correlation=getattr(raw.properties, "CorrelationData", None),
        )
        for handler in self._subscriptions.hearers(topic, levels):
            self._guard(topic.pattern, handler, incoming)

    def _receive_foreign(self, address: str, raw: MQTTMessage) -> None:
        asked = self._subscriptions.foreign_hearers(address)
        if not asked:
            self._drops.drop("unknown", "", f"{address!r} is no topic of ours: dropped")
        elif len(raw.payload) > MAX_FOREIGN_BYTES:
            self._drops.drop("oversized", address, f"{address}: {len(raw.payload)} bytes are too many: dropped")
        elif raw.payload:
            for each in asked:
                self._guard(each.address_filter, each.handler, address, bytes(raw.payload))

    def _guard(self, what: str, handler: Callable[..., None], *arguments: object) -> None:
        """Run a handler; whatever it raises is logged, since the network thread serves everybody else too."""
        try:
            handler(*arguments)
        except SplitrailError as error:
            self._drops.complain("handler", what, str(error))
        except Exception:
            log.exception("a handler of %s failed", what)
