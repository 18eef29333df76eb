"""The connection to the MQTT broker: one network thread that connects, stays connected and says why it cannot.

Moves bytes only; what they mean belongs to `broker.session`, how the client is set up to `broker.client_setup`.
"""

import logging
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from paho.mqtt import client as mqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.client_setup import (
    CONNECT_TIMEOUT_S,
    MAX_PACKET_BYTES,
    Will,
    message_properties,
    new_client,
    sign_off,
    take_new_password,
)
from broker.errors import ConnectionFailedError, SignInRefusedError
from broker.explanations import (
    explain_failure,
    explain_hanging_up,
    explain_refusal,
    is_lasting,
    is_permanent,
    is_sign_in,
)
from broker.sign_in import BrokerSettings, exposures

MOST_AT_ONCE = 64
"""So many messages are taken before what is to be sent has its turn, their acknowledgements among it."""
FLUSH_TIMEOUT_S = 2.0
SHORTEST_BOUND_S = 0.5
LONGEST_FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 30.0

_UNSPECIFIED = 0x80

log = logging.getLogger("splitrail.broker")


def reconnect_delay_s(away_s: float, longest_s: float, draw: Callable[[], float] = random.random) -> float:
    """Full jitter: uniform up to half the time that the broker has been away, so that a fleet does not return at once.

    So nobody stays away for much longer than the broker did, and a long outage is asked after rarely.
    """
    return draw() * min(longest_s, max(SHORTEST_BOUND_S, away_s / 2.0))


class Connection:
    """An MQTT 5 connection that, once made, is made again for ever, until it is closed."""

    def __init__(
        self,
        broker: BrokerSettings,
        *,
        client_id: str,
        will: Will | None,
        on_connected: Callable[[], None],
        on_message: Callable[[mqtt.MQTTMessage], None],
    ) -> None:
        self._broker = broker
        self._on_connected = on_connected
        self._will = will
        self._client = new_client(broker, client_id, will)
        self._listen(on_message)
        self._thread = threading.Thread(target=self._run, name=f"broker-{client_id}", daemon=True)
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._closing = threading.Event()
        self._settled = threading.Event()
        self._unsubscribed: set[int] = set()
        """What the broker has to acknowledge of the subscriptions before a start is over; the network thread's."""
        self._connected = False
        self._ever_connected = False
        self._refusal: ReasonCode | None = None
        self._lasting = False
        self._told_of_refusal = False
        self._reason = explain_failure(TimeoutError(), broker.host, encrypted=broker.encrypted)
        self._max_packet_bytes = MAX_PACKET_BYTES
        self._acknowledgement = threading.Condition()
        self._unacknowledged = 0

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted this session and has not been lost since."""
        return self._connected

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that this side or the broker admits; a larger one would cost the connection."""
        return self._max_packet_bytes

    @property
    def on_network_thread(self) -> bool:
        """Whether the caller runs on the thread that receives, which must not wait for what it receives."""
        return threading.current_thread() is self._thread

    def start(self) -> None:
        """Block until the first connection, and until the broker has taken what `on_connected` subscribes to.

        ConnectionFailedError says why there is none.
        """
        for exposed in exposures(self._broker):
            log.warning("%s: %s", self._broker.endpoint, exposed)
        self._thread.start()
        self._settled.wait(self._broker.start_timeout_s or None)
        if not self._ever_connected:
            self.close()
            refused = self._refusal is not None and is_sign_in(self._refusal)
            failure = SignInRefusedError if refused else ConnectionFailedError
            raise failure(self._broker.endpoint, self._reason)

    def publish(
        self,
        address: str,
        payload: bytes | bytearray,
        *,
        qos: int,
        retain: bool,
        response_topic: str | None = None,
        correlation: bytes | None = None,
        expiry_s: int | None = None,
    ) -> bool:
        """Hand a message over without waiting; False if it was dropped because too many wait already.

        At QoS 0 also where the broker is away. What has waited for its reader for `expiry_s` the broker drops.
        """
        if self._closing.is_set():
            return False
        properties = message_properties(response_topic, correlation, expiry_s)
        with self._acknowledgement:
            self._unacknowledged += 1
        info = self._client.publish(address, payload, qos=qos, retain=retain, properties=properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE or (qos == 0 and info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN):
            self._acknowledged()
            return False
        self._wake()
        return True

    def subscribe(self, address_filter: str, qos: int) -> None:
        """Ask for a filter's messages; what is retained comes at once."""
        _, message_id = self._client.subscribe(address_filter, qos=qos)
        if message_id is not None and self.on_network_thread and not self._settled.is_set():
            self._unsubscribed.add(message_id)
        self._wake()

    def unsubscribe(self, address_filter: str) -> None:
        """Ask for a filter's messages no more."""
        self._client.unsubscribe(address_filter)
        self._wake()

    def flush(self) -> None:
        """Wait, for two seconds at most, until the broker has acknowledged all that was published."""
        with self._acknowledgement:
            self._acknowledgement.wait_for(
                lambda: self._unacknowledged <= 0 or not self._connected, timeout=FLUSH_TIMEOUT_S
            )

    def close(self) -> None:
        """Sign off, which publishes the will if there is one, and stop the network thread."""
        self._closing.set()
        if self._connected:
            sign_off(self._client, self._will)
        self._wake()
        if self._thread.is_alive() and not self.on_network_thread:
            self._thread.join(CONNECT_TIMEOUT_S + FLUSH_TIMEOUT_S)
        if not self._thread.is_alive():
            self._close_wake()

    def _listen(self, on_message: Callable[[mqtt.MQTTMessage], None]) -> None:
        client = self._client
        client.on_connect = self._handle_connack
        client.on_disconnect = self._handle_disconnect
        client.on_message = lambda _client, _userdata, message: on_message(message)
        client.on_publish = self._handle_puback
        client.on_subscribe = self._handle_suback

    def _run(self) -> None:
        failed, lost_at = False, time.monotonic()
        while not self._closing.is_set():
            try:
                connected = self._connect()
                while connected and self._exchange(timeout_s=1.0):
                    pass
            except Exception:
                # A fault of the MQTT library must not end the thread that everybody counts on.
                log.exception("%s: the connection broke", self._broker.endpoint)
                connected = False
            self._note_end(is_news=connected or not failed)
            failed = not connected
            if connected:
                lost_at = time.monotonic()
            longest_s = LONGEST_DELAY_S if self._ever_connected else LONGEST_FIRST_DELAY_S
            self._closing.wait(reconnect_delay_s(time.monotonic() - lost_at, longest_s))
        left_open = self._client.socket()
        if left_open is not None:
            left_open.close()
        self._close_wake()

    def _connect(self) -> bool:
        """One attempt, until the broker has answered or the time is over; the reason is left in `_reason`."""
        self._refusal = None
        self._lasting = False
        take_new_password(self._client, self._broker)
        try:
            self._client.reconnect()
        except (OSError, UnicodeError) as error:
            self._reason = explain_failure(error, self._broker.host, encrypted=self._broker.encrypted)
            self._lasting = is_lasting(error)
            return False
        self._reason = "something listens there but does not answer as an MQTT broker"
        deadline = time.monotonic() + self._client.connect_timeout
        while not self._connected and not self._closing.is_set():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            if not self._exchange(left_s):
                if self._refusal is None:
                    self._reason = explain_hanging_up(encrypted=self._broker.encrypted)
                break
        return self._connected

    def _exchange(self, timeout_s: float) -> bool:
        """Receive and send what is due; False once the connection is gone."""
        connection = self._client.socket()
        if connection is None:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        poll.register(self._wake_receiver, select.POLLIN)
        # What TLS has decrypted already, the kernel knows nothing of.
        decrypted = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        at_hand = decrypted or self._client.has_read_ahead
        ready = dict(poll.poll(0 if at_hand else timeout_s * 1000))
        if self._wake_receiver.fileno() in ready:
            self._wake_receiver.recv(4096)
        if at_hand or ready.get(connection.fileno(), 0) & ~select.POLLOUT:
            self._client.take(MOST_AT_ONCE)
        if self._client.want_write():
            self._client.loop_write()
            self._client.flush()
        self._client.loop_misc()
        return self._client.socket() is not None

    def _handle_connack(
        self, _client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refusal = reason
            self._lasting = is_permanent(reason)
            self._reason = explain_refusal(reason, self._broker.username)
            return
        self._max_packet_bytes = min(MAX_PACKET_BYTES, getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES))
        self._connected = True
        if self._ever_connected:
            log.info("%s: connected again", self._broker.endpoint)
        self._unsubscribed.clear()
        self._on_connected()
        self._ever_connected = True
        if not self._unsubscribed:
            self._settled.set()

    def _handle_disconnect(
        self, _client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if self._connected:
            told = f"lost the connection ({reason})"
            self._reason = "the broker hung up" if reason.value == _UNSPECIFIED else told
        self._connected = False
        with self._acknowledgement:
            self._acknowledgement.notify_all()

    def _handle_suback(
        self, _client: mqtt.Client, _userdata: object, message_id: int, _reasons: object, _properties: object
    ) -> None:
        self._unsubscribed.discard(message_id)
        if not self._unsubscribed:
            self._settled.set()

    def _handle_puback(
        self, _client: mqtt.Client, _userdata: object, _mid: int, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure and not self._told_of_refusal:
            self._told_of_refusal = True
            log.error(
                "%s: the broker refuses a message of the user %r (%s): is its access file of this version?",
                self._broker.endpoint,
                self._broker.username,
                reason,
            )
        self._acknowledged()

    def _note_end(self, *, is_news: bool) -> None:
        """Say once that the connection is lost or does not come about; settle a start that cannot succeed."""
        if self._closing.is_set():
            return
        if not self._ever_connected and self._lasting:
            self._closing.set()
            self._settled.set()
        elif is_news:
            log.warning("%s: %s; trying again", self._broker.endpoint, self._reason)

    def _acknowledged(self) -> None:
        with self._acknowledgement:
            self._unacknowledged -= 1
            self._acknowledgement.notify_all()

    def _wake(self) -> None:
        """Let the network thread look at what waits to be sent."""
        try:
            self._wake_sender.send(b"\0")
        except OSError:
            # Full: the thread is about to wake anyway. Closed: it needs to wake no more.
            return

    def _close_wake(self) -> None:
        self._wake_sender.close()
        self._wake_receiver.close()
