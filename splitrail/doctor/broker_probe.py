"""Signs in at the broker as the settings say, tries what this member needs, and changes nothing there.

Whatever it publishes is empty and not retained, which every member passes over. What it means is `broker_access`'s.
"""

import re
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from broker.access import ACCESS, Role
from broker.errors import ConnectionFailedError, MalformedMessageError
from broker.explanations import explain_failure, explain_hanging_up, explain_refusal, is_sign_in
from broker.messages import Leader, NodeStatus
from broker.sign_in import BrokerSettings, read_password, tls_context
from broker.topics import ENERGY, INFERENCE, LEADER, STATUS, M, Topic

VISIT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 2.0
"""Of the connection, and again of a TLS handshake; what is left of the visit is for answers."""
QUIET_S: Final = 0.5
"""How long what the broker keeps, or what is to come back, may take once all else is answered."""
MAX_KEPT_BYTES: Final = 100_000
_STRANGER: Final = "doctor"
"""Stands for whoever else a topic names."""
_NOT_TRIED: Final = (STATUS, ENERGY, INFERENCE)
"""Others than us read these too, such as Home Assistant, and might not pass over what is empty."""
_LEVEL: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try: topics to write, those of them that should come back, and topics whose newest word is wanted."""

    writes: tuple[str, ...]
    echoes: frozenset[str]
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expiry:
    """Until when a certificate holds."""

    what: str
    at: datetime
    fix: str = "splitrail site renew --server"


@dataclass(frozen=True, slots=True)
class BrokerLook:
    """What was seen of a broker."""

    failure: str = ""
    """Why nobody could sign in, and what would help; "" if it worked."""
    is_refusal: bool = False
    """Whether it is the user or the password that the broker does not take."""
    expiries: tuple[Expiry, ...] = ()
    tried: int = 0
    """To how many topics we have written."""
    refused: tuple[str, ...] = ()
    """Those that may not be written."""
    unanswered: tuple[str, ...] = ()
    """Those of which the broker did not say in time whether they may."""
    unheard: tuple[str, ...] = ()
    """Those that may be written, and from which nothing came back."""
    words: tuple[tuple[str, bytes], ...] = ()
    """The newest word on each of the topics that were to be read, kept by the broker or said just now."""

    def leader(self, site: str) -> Leader | None:
        """Who leads the site, as the broker keeps it."""
        return self._word(LEADER, LEADER.address(site))

    def status(self, site: str, node: str) -> NodeStatus | None:
        """What a node last said of itself, as the broker keeps it."""
        return self._word(STATUS, STATUS.address(site, node))

    def _word(self, topic: Topic[M], address: str) -> M | None:
        try:
            return next((topic.decode(where, payload) for where, payload in self.words if where == address), None)
        except MalformedMessageError:
            return None


def trial_for(site: str, role: Role, name: str, *others: str) -> Trial:
    """What a member of this role and name needs, by the registry of topics; `others` are read too."""
    writes: list[str] = []
    echoes: set[str] = set()
    for access in ACCESS:
        if access.topic in _NOT_TRIED:
            continue
        names = _LEVEL.findall(access.topic.pattern)
        for grant in access.writers:
            if grant.role != role:
                continue
            levels = tuple(name if level == grant.own else _STRANGER for level in names)
            address = access.topic.address(site, *levels)
            writes.append(address)
            if any(
                reader.role == role and (reader.own is None or levels[names.index(reader.own)] == name)
                for reader in access.readers
            ):
                echoes.add(address)
    own_status = (STATUS.address(site, name),) if role == "node" else ()
    return Trial(tuple(writes), frozenset(echoes), (LEADER.address(site), *own_status, *others))


def look_at_broker(settings: BrokerSettings, trial: Trial) -> BrokerLook:
    """Sign in, try, and sign off again; some 5 s at most, and what fails is in the look."""
    try:
        return _Visit(settings, trial).look()
    except ConnectionFailedError as error:
        return BrokerLook(failure=error.reason)


def is_loopback_only(port: int) -> bool:
    """Whether what listens on this machine's loopback at `port` does not listen on its address in the network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            # Connecting a datagram socket sends nothing; it only chooses a way out.
            route.connect(("192.0.2.1", 9))
            own = route.getsockname()[0]
        except OSError:
            return False
    if own.startswith("127."):
        return False
    try:
        socket.create_connection((own, port), 1.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


class _Visit:
    """One short session."""

    def __init__(self, settings: BrokerSettings, trial: Trial) -> None:
        self._settings = settings
        self._trial = trial
        self._connack: ReasonCode | None = None
        self._answers: dict[int, ReasonCode] = {}
        self._heard: set[str] = set()
        self._words: dict[str, bytes] = {}
        self._deadline_s = time.monotonic() + VISIT_S
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"doctor-{uuid.uuid4().hex}", protocol=mqtt.MQTTv5)
        client.connect_timeout = CONNECT_TIMEOUT_S
        if settings.username is not None:
            client.username_pw_set(settings.username, read_password(settings))
        self._context = tls_context(settings) if settings.encrypted else None
        if self._context is not None:
            client.tls_set_context(self._context)
        client.on_connect = self._take_connack
        client.on_publish = self._take_puback
        client.on_message = self._take_message
        self._client = client

    def look(self) -> BrokerLook:
        try:
            failure = self._sign_in()
            if failure:
                refused = self._connack is not None and is_sign_in(self._connack)
                return BrokerLook(failure=failure, is_refusal=refused)
            return self._try_out(self._expiries())
        finally:
            self._client.disconnect(reasoncode=ReasonCode(PacketTypes.DISCONNECT, "Normal disconnection"))
            self._client.loop(0.05)
            left_open = self._client.socket()
            if left_open is not None:
                left_open.close()
            # It and we hold each other, and the pair of sockets that it waits with is only closed when it is gone.
            del self._client

    def _sign_in(self) -> str:
        """Why the broker does not let us in; "" if it does."""
        settings = self._settings
        try:
            # A handshake that stalls ends after the keep-alive.
            self._client.connect(settings.host, settings.port, keepalive=round(CONNECT_TIMEOUT_S))
        except (OSError, UnicodeError) as error:
            return explain_failure(error, settings.host, encrypted=settings.encrypted)
        began_s = time.monotonic()
        is_open = self._exchange(lambda: self._connack is not None)
        if self._connack is None:
            # The library hangs up itself once nothing has come for as long as the keep-alive.
            if is_open or time.monotonic() - began_s > 0.9 * CONNECT_TIMEOUT_S:
                return "something listens there but does not answer as an MQTT broker: correct broker.port"
            return explain_hanging_up(encrypted=settings.encrypted)
        return explain_refusal(self._connack, settings.username) if self._connack.is_failure else ""

    def _try_out(self, expiries: tuple[Expiry, ...]) -> BrokerLook:
        trial = self._trial
        for address in dict.fromkeys((*trial.reads, *sorted(trial.echoes))):
            self._client.subscribe(address, qos=1)
        numbers = {address: self._client.publish(address, b"", qos=1, retain=False).mid for address in trial.writes}
        self._exchange(lambda: all(number in self._answers for number in numbers.values()))
        # The broker answers in order: what it keeps, and what comes back, is on its way by now.
        quiet_s = time.monotonic() + QUIET_S
        self._exchange(lambda: (trial.echoes <= self._heard and bool(numbers)) or time.monotonic() > quiet_s)
        answers = {address: self._answers[number] for address, number in numbers.items() if number in self._answers}
        taken = [address for address, answer in answers.items() if not answer.is_failure]
        return BrokerLook(
            expiries=expiries,
            tried=len(numbers),
            refused=tuple(address for address, answer in answers.items() if answer.is_failure),
            unanswered=tuple(address for address in numbers if address not in answers),
            unheard=tuple(address for address in taken if address in trial.echoes and address not in self._heard),
            words=tuple(self._words.items()),
        )

    def _expiries(self) -> tuple[Expiry, ...]:
        """Of the broker's certificate, and of the authority that we know it by."""
        connection = self._client.socket()
        if self._context is None or not isinstance(connection, ssl.SSLSocket):
            return ()
        expiries = [Expiry("the broker's certificate", _end_of(connection.getpeercert()))]
        if self._settings.ca_file is not None:
            # Every member's files bear the authority: it is not renewed but replaced, with its site.
            fix = "make a new site before: `splitrail site init`"
            expiries += [
                Expiry(f"the authority in {self._settings.ca_file}", _end_of(each), fix)
                for each in self._context.get_ca_certs()
            ]
        return tuple(expiries)

    def _exchange(self, is_done: Callable[[], bool]) -> bool:
        """Send and receive until it is done or the visit's time is up; False once the connection is gone."""
        while not is_done() and time.monotonic() < self._deadline_s:
            if self._client.loop(0.05) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return False
        return True

    def _take_connack(self, _client: object, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        self._connack = reason

    def _take_puback(self, _client: object, _data: object, number: int, reason: ReasonCode, _more: object) -> None:
        self._answers[number] = reason

    def _take_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        # What we try ourselves is empty.
        if 0 < len(message.payload) <= MAX_KEPT_BYTES and message.topic in self._trial.reads:
            self._words[message.topic] = bytes(message.payload)
        self._heard.add(message.topic)


def _end_of(certificate: Any) -> datetime:
    """Until when a certificate holds, of what ssl makes of it."""
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
