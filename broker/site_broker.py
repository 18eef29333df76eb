"""The running broker of a site: told that its files changed, asked whom it lets in, and rid of what a node left there.

What the files say belongs to `broker.site_directory`.
"""

import contextlib
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from paho.mqtt.client import MQTTMessage

from broker.access import ACCESS, Grant, topic_filter
from broker.connection import Connection
from broker.errors import ConnectionFailedError, MalformedMessageError, SignInRefusedError, SiteError
from broker.explanations import explain_failure
from broker.messages import NodeStatus
from broker.presence import agent_client_id
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from broker.site_record import ADMIN, LOCAL_HOSTS
from broker.topics import LINK, LOAD, STATUS

SIGN_IN_TIMEOUT_S = 3.0
RELOAD_TIMEOUT_S = 5.0
ECHO_TIMEOUT_S = 5.0


def reload_broker(site: SiteDirectory, pid: int | None = None) -> bool:
    """Have the broker read its files again; False if none runs on this machine with this site's configuration.

    `pid` where it was started with another pid file. SiteError if that is no Mosquitto, or not ours to tell.
    """
    return _tell(site, pid, signal.SIGHUP)


def save_broker(site: SiteDirectory, pid: int | None = None) -> bool:
    """Have the broker write down what it retains, or a killed one would come back with what was cleared a minute ago.

    It has when this returns. `pid`, False and SiteError as for `reload_broker`, ConnectionFailedError if it is gone.
    """
    if not _tell(site, pid, signal.SIGUSR1):
        return False
    # It looks at its signals once in every turn, and letting somebody in takes it several.
    _admits(site, ADMIN)
    return True


def await_exclusion(site: SiteDirectory, name: str) -> None:
    """Wait until the broker refuses what `name` signed in with; SiteError if it goes on letting it in.

    ConnectionFailedError where no broker answers.
    """
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while _admits(site, name):
        if time.monotonic() >= deadline:
            raise SiteError(
                f"the broker at {site.broker_settings(name).endpoint} still lets {name!r} in, as it has not read "
                f"{site.broker}/passwords and acl again: take them to where it reads them, send it SIGHUP "
                "(`--pid` where it runs here without its pid file), and repeat this"
            )
        time.sleep(0.1)


def clear_traces(site: SiteDirectory, node: str) -> int:
    """Publish the death of a node's last session and clear what it left retained; how many topics that were.

    Coordinator and peers forget the node, and its tensor key, by its death; what the broker keeps for its return is
    dropped. ConnectionFailedError, SiteError.
    """
    retained: dict[str, bytes] = {}
    # Every message, not the newest of each topic: a peer may measure its link to the node once more.
    happened: set[tuple[str, bytes]] = set()
    heard = threading.Condition()

    def hear(message: MQTTMessage) -> None:
        with heard:
            if message.retain:
                retained[message.topic] = bytes(message.payload)
            else:
                happened.add((message.topic, bytes(message.payload)))
            heard.notify_all()

    def publish(messages: Mapping[str, bytes], connection: Connection, *, retain: bool) -> None:
        """Publish and wait until the broker tells it to us as to everybody: then it has carried it out."""
        for address, payload in messages.items():
            connection.publish(address, payload, qos=1, retain=retain)
        if not heard.wait_for(lambda: messages.items() <= happened, ECHO_TIMEOUT_S):
            raise SiteError(f"the broker does not take what is to be said of {node!r}: repeat this")

    with _connected(site, ADMIN, _retained_families(site.record.site, node), hear) as connection, heard:
        # What is retained comes before anything that is said after the subscription; an empty message says nothing.
        publish({LOAD.address(site.record.site, node): b""}, connection, retain=False)
        happened.clear()
        status = STATUS.address(site.record.site, node)
        told = _status(status, retained.get(status, b""))
        last = dict.fromkeys(retained, b"")
        if told is not None:
            last[status] = STATUS.encode(NodeStatus(node=node, session=told.session, state="offline"))
        publish(last, connection, retain=True)
    if told is not None:
        # Mosquitto (seen in 2.0.11) ends a session that is away anew at each SIGHUP that finds its user gone, and uses
        # it after it is freed (https://github.com/eclipse-mosquitto/mosquitto/issues/3418 has the list): take it away.
        with _connected(site, ADMIN, (), lambda _message: None, client_id=agent_client_id(node, told.session)):
            pass
    return len(last)


def _retained_families(site: str, node: str) -> tuple[str, ...]:
    """Filters of all that may be retained by a node or about it."""
    own = [
        topic_filter(access.topic, site, grant, node)
        for access in ACCESS
        for grant in access.writers
        if access.topic.retain and grant.role == "node"
    ]
    return (*own, topic_filter(LINK, site, Grant("node", own="dst"), node))


def _status(address: str, payload: bytes) -> NodeStatus | None:
    """What a node said of itself; None where that is nothing, or makes no sense."""
    try:
        return STATUS.decode(address, payload)
    except MalformedMessageError:
        return None


def _admits(site: SiteDirectory, name: str) -> bool:
    try:
        with _connected(site, name, (), lambda _message: None):
            return True
    except SignInRefusedError:
        return False


@contextlib.contextmanager
def _connected(
    site: SiteDirectory,
    name: str,
    filters: tuple[str, ...],
    hear: Callable[[MQTTMessage], None],
    client_id: str | None = None,
) -> Iterator[Connection]:
    """A connection as a member, with these subscriptions."""

    def subscribe() -> None:
        for address_filter in filters:
            # Unacknowledged, what is retained is under way in one piece.
            connection.subscribe(address_filter, qos=0)

    connection = Connection(
        _answering(site, name),
        client_id=client_id or f"site-{uuid.uuid4().hex[:12]}",
        will=None,
        on_connected=subscribe,
        on_message=hear,
    )
    connection.start()
    try:
        yield connection
    finally:
        connection.flush()
        connection.close()


def _answering(site: SiteDirectory, name: str) -> BrokerSettings:
    """How a member signs in at the first of the site's hosts where something listens, else over loopback."""
    failure: ConnectionFailedError | None = None
    for host in dict.fromkeys((*site.record.hosts, *LOCAL_HOSTS)):
        settings = site.broker_settings(name, host=host)
        try:
            socket.create_connection((host, settings.port), SIGN_IN_TIMEOUT_S).close()
        except (OSError, UnicodeError) as error:
            failure = failure or ConnectionFailedError(settings.endpoint, explain_failure(error, host, encrypted=False))
        else:
            return msgspec.structs.replace(settings, start_timeout_s=SIGN_IN_TIMEOUT_S)
    assert failure is not None  # there is always loopback to try
    raise failure


def _tell(site: SiteDirectory, pid: int | None, number: signal.Signals) -> bool:
    running = _pid_of(site) if pid is None else pid
    if running is None:
        return False
    if _program(running) != "mosquitto":
        if pid is None:
            return False
        raise SiteError(f"process {pid} is no Mosquitto: give the broker's --pid, or none where it has its pid file")
    try:
        os.kill(running, number)
    except PermissionError:
        raise SiteError(
            f"the broker, process {running}, is another user's: run this as that user, "
            f"or send it {number.name} yourself"
        ) from None
    return True


def _pid_of(site: SiteDirectory) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((site.broker / "mosquitto.pid").read_text())
    return None


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
