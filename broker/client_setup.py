"""An MQTT client as a connection wants it: its bounds, how it signs in, what it asks for, and its will.

Driving it, and making its connection anew, is `broker.connection`'s.
"""

import contextlib
import socket
from dataclasses import dataclass

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.buffered_client import BufferedClient
from broker.errors import ConnectionFailedError
from broker.sign_in import BrokerSettings, read_password, tls_context

MAX_PACKET_BYTES = 25_000_000
MAX_QUEUED_MESSAGES = 1_000
MAX_INFLIGHT_MESSAGES = 100  # 9.8k messages/s against 4.5k with 1 (QoS 1, 300 bytes, Mosquitto 2.0.11 on loopback)
MAX_UNACKNOWLEDGED = 1_000
"""What the broker may send before the first of it is acknowledged: each such window costs a turn on a processor, and a
busy machine lets one wait for it."""
RECONNECT_EXPIRY_S = 60  # the broker keeps what a client missed while it reconnects
CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained and at QoS 1, when this client vanishes or closes."""

    address: str
    payload: bytes


def new_client(broker: BrokerSettings, client_id: str, will: Will | None) -> BufferedClient:
    """A client that is not connected yet; ConnectionFailedError where the settings cannot be used to sign in."""
    client = BufferedClient(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.connect_timeout = min(CONNECT_TIMEOUT_S, broker.start_timeout_s or CONNECT_TIMEOUT_S)
    client.max_queued_messages_set(MAX_QUEUED_MESSAGES)
    client.max_inflight_messages_set(MAX_INFLIGHT_MESSAGES)
    if broker.username is not None:
        client.username_pw_set(broker.username, read_password(broker))
    elif broker.password_file is not None:
        raise ConnectionFailedError(broker.endpoint, "broker.password_file is set but broker.username is not")
    if broker.encrypted:
        client.tls_set_context(tls_context(broker))
    if will is not None:
        client.will_set(will.address, will.payload, qos=1, retain=True)
    client.on_socket_open = lambda _client, _userdata, opened: _begin_anew(client, opened)
    # Any callback here keeps paho from writing to the socket on the publisher's thread, which is left to the driver.
    client.on_socket_register_write = lambda *_: None
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = RECONNECT_EXPIRY_S
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    properties.ReceiveMaximum = MAX_UNACKNOWLEDGED
    client.connect_async(
        broker.host,
        broker.port,
        keepalive=broker.keepalive_s,
        clean_start=mqtt.MQTT_CLEAN_START_FIRST_ONLY,
        properties=properties,
    )
    return client


def take_new_password(client: BufferedClient, broker: BrokerSettings) -> None:
    """Sign in with what the file holds now, so that a renewal needs no restart; with the old where that fails."""
    if broker.username is not None:
        with contextlib.suppress(ConnectionFailedError):
            client.username_pw_set(broker.username, read_password(broker))


def message_properties(response_topic: str | None, correlation: bytes | None, expiry_s: int | None) -> Properties:
    """Where a message's answer is due and what tells it, and for how long the message may wait for its reader."""
    properties = _properties(PacketTypes.PUBLISH)
    if response_topic is not None:
        properties.ResponseTopic = response_topic
    if correlation is not None:
        properties.CorrelationData = correlation
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    return properties


def sign_off(client: BufferedClient, will: Will | None) -> None:
    """End the session for good. As the broker publishes the will itself, nothing of ours can come after this death."""
    farewell = "Normal disconnection" if will is None else "Disconnect with will message"
    properties = _properties(PacketTypes.DISCONNECT)
    properties.SessionExpiryInterval = 0
    client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, farewell), properties=properties)


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it untyped


def _begin_anew(client: BufferedClient, opened: object) -> None:
    client.begin_anew()
    # Without it, on either side, each QoS 1 round trip costs 44 ms of delayed acknowledgement (measured on loopback).
    if isinstance(opened, socket.socket):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
