"""Who may write and read what, as a real Mosquitto enforces it over TLS."""

import queue
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from eventually import eventually
from paho.mqtt import client
from paho.mqtt.client import MQTTMessage, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from secured_site import CLIENTS, SITE, make_secured_site
from secured_site import NODES as PLAIN_NODES

from broker.access import ACCESS, ROLES, User, acl_file, rules
from broker.client_setup import Will
from broker.connection import Connection
from broker.mosquitto import PrivateMosquitto
from broker.site_directory import SiteDirectory
from broker.topics import FAMILIES, ROOT

COORDINATOR, ADMIN, READER, WITNESS = "coordinator", "admin", "dashboard", "witness"
PLUGGED, PLUG = "plugged", "tele/pi-plug/SENSOR"
NODES = (*PLAIN_NODES, PLUGGED)
USERS = {COORDINATOR, ADMIN, READER, *NODES, *CLIENTS}
WATCHERS = {COORDINATOR, ADMIN, READER}
EVERYBODY = USERS
NOBODY: set[str] = set()


class Expected(NamedTuple):
    """Who may write and read one topic of the site."""

    writers: set[str]
    readers: set[str]


# Written out by hand, from what each of them does; not from the table under test.
EXPECTED = {
    "nodes/pi/status": Expected({"pi", ADMIN}, EVERYBODY),
    "nodes/pi/profile/model": Expected({"pi", ADMIN}, WATCHERS),
    "nodes/pi/unprofiled/model": Expected({"pi"}, WATCHERS),
    "nodes/pi/energy": Expected({"pi"}, WATCHERS),
    "nodes/pi/load": Expected({"pi", ADMIN}, WATCHERS),
    "nodes/pi/machine": Expected({"pi"}, WATCHERS),
    "nodes/pi/missed": Expected({"pi"}, WATCHERS),
    "nodes/pi/spool": Expected({"pi", ADMIN}, WATCHERS),
    "nodes/pi/stored": Expected({COORDINATOR}, {"pi", *WATCHERS}),
    "nodes/pi/unheard-of": Expected(NOBODY, NOBODY),
    "nodes/pi": Expected(NOBODY, NOBODY),
    "links/pi/laptop": Expected({"pi", ADMIN}, WATCHERS),
    "links/laptop/pi": Expected({"laptop", ADMIN}, WATCHERS),
    "deployments/photos": Expected({COORDINATOR}, EVERYBODY),
    "plans/photos": Expected({COORDINATOR}, {*NODES, *WATCHERS}),
    "plans/photos/ready/pi": Expected({"pi"}, {*NODES, *WATCHERS}),
    "inferences/photos/pi": Expected({"pi"}, WATCHERS),
    "infer/photos": Expected(set(CLIENTS), set(NODES)),
    "replies/alice/here": Expected(set(NODES), {"alice"}),
    "replies/anonymous/here": Expected(set(NODES), NOBODY),
    "nodes/pi/question": Expected({"pi"}, {"pi", READER, ADMIN}),
    "leader": Expected({COORDINATOR}, EVERYBODY),
    "tensors/laptop/pi": Expected({"pi"}, {"laptop"}),
    "tensors/pi/laptop": Expected({"laptop"}, {"pi"}),
    "tensors/laptop/pi/call": Expected({"pi"}, {"laptop"}),
}
ADDRESSES = {f"{ROOT}/{SITE}/{topic}": expected for topic, expected in EXPECTED.items()}
ADDRESSES |= {f"{ROOT}/elsewhere/{topic}": Expected(NOBODY, NOBODY) for topic in EXPECTED}
ADDRESSES |= {topic: Expected(NOBODY, NOBODY) for topic in ("anything", f"{ROOT}", f"{ROOT}/{SITE}")}
# Other systems' topics, with Home Assistant's prefix.
ANNOUNCED = "homeassistant/sensor/splitrail_home/power_pi/config"
ADDRESSES |= {
    PLUG: Expected(NOBODY, {PLUGGED}),
    "tele/other-plug/SENSOR": Expected(NOBODY, NOBODY),
    ANNOUNCED: Expected({COORDINATOR}, {COORDINATOR, READER}),
    ANNOUNCED.replace("sensor", "binary_sensor"): Expected({COORDINATOR}, {COORDINATOR, READER}),
    ANNOUNCED.replace("sensor", "switch"): Expected(NOBODY, {READER}),
    ANNOUNCED.replace("home/", "elsewhere/"): Expected(NOBODY, {READER}),
    "homeassistant/status": Expected({READER}, {COORDINATOR, READER}),
    "elsewhere/status": Expected(NOBODY, NOBODY),
}
END = f"{ROOT}/{SITE}/leader"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[SiteDirectory]:
    """A running site whose broker also knows a witness, who may write and read everything."""
    site = make_secured_site(tmp_path / "site")
    site.add_node(PLUGGED, "edge", plug_topic=PLUG)
    site.add_reader(READER)
    site.add_client(WITNESS)
    with (site.broker / "acl").open("a") as rules_file:
        rules_file.write(f"\nuser {WITNESS}\ntopic readwrite #\n")
    with PrivateMosquitto(tmp_path / "mosquitto", site=site):
        yield site


@contextmanager
def signed_in(
    site: SiteDirectory,
    user: str,
    hear: Callable[[MQTTMessage], None] = lambda _message: None,
    filters: tuple[str, ...] = (),
    will: Will | None = None,
) -> Iterator[Connection]:
    """A connection of this user with these subscriptions."""
    connection = Connection(
        site.broker_settings(user),
        client_id=f"{user}-{uuid.uuid4().hex}",
        will=will,
        on_connected=lambda: [connection.subscribe(each, 1) for each in filters],  # type: ignore[func-returns-value]  # for its effect
        on_message=hear,
    )
    connection.start()
    try:
        yield connection
    finally:
        connection.flush()
        connection.close()


def writers_heard_by_a_witness(site: SiteDirectory, write: Callable[[str], None]) -> dict[str, set[str]]:
    """By topic, whose writing came through, where each writes its name on every topic."""
    heard: dict[str, set[str]] = {address: set() for address in ADDRESSES}
    ended = threading.Event()

    def hear(message: MQTTMessage) -> None:
        if message.payload == b"end":
            ended.set()
        elif message.payload and not message.retain:
            heard[message.topic].add(bytes(message.payload).decode())

    with signed_in(site, WITNESS, hear, ("#",)) as witness:
        for user in sorted(USERS):
            write(user)
        witness.publish(END, b"end", qos=1, retain=False)
        assert ended.wait(10)
    return heard


@pytest.mark.parametrize("retain", [False, True])
def test_each_writes_only_what_is_its_own(guarded: SiteDirectory, retain: bool) -> None:
    """Retained or not, on this site's topics, another site's, and such as no site has."""

    def write(user: str) -> None:
        with signed_in(guarded, user) as connection:
            for address in ADDRESSES:
                connection.publish(address, user.encode(), qos=1, retain=retain)

    heard = writers_heard_by_a_witness(guarded, write)
    assert heard == {address: expected.writers for address, expected in ADDRESSES.items()}


def test_a_last_will_reaches_no_further_than_its_owner(guarded: SiteDirectory) -> None:
    """A node's death is its own to leave behind, and nobody else's."""
    address = f"{ROOT}/{SITE}/nodes/pi/status"

    def vanish(user: str) -> None:
        with signed_in(guarded, user, will=Will(address, user.encode())):
            pass

    heard = writers_heard_by_a_witness(guarded, vanish)
    assert heard[address] == {"pi", ADMIN}


def tell_everything(site: SiteDirectory, *, retain: bool) -> None:
    """Have the witness say something on every topic."""
    with signed_in(site, WITNESS) as witness:
        for address in ADDRESSES:
            witness.publish(address, b"something", qos=1, retain=retain)


def heard_by(site: SiteDirectory, user: str, wide: str, *, retained: bool) -> set[str]:
    """The topics of which a user with this subscription hears, said before it or while it lasts."""
    heard: set[str] = set()
    ended = threading.Event()

    def hear(message: MQTTMessage) -> None:
        if message.payload == b"end":
            ended.set()
        else:
            heard.add(message.topic)

    with signed_in(site, user, hear, (wide,)), signed_in(site, WITNESS) as witness:

        def end_is_heard() -> bool:
            """Everybody may hear this topic; what was said before it was delivered before it."""
            witness.publish(END, b"end", qos=1, retain=False)
            return ended.wait(0.1)

        assert eventually(end_is_heard)
        if not retained:
            ended.clear()
            tell_everything(site, retain=False)
            assert eventually(end_is_heard)
    return heard


@pytest.mark.parametrize("retained", [False, True])
@pytest.mark.parametrize("wide", ["#", "+/#", "splitrail/v1/+/#"])
def test_each_hears_only_what_is_meant_for_it(guarded: SiteDirectory, wide: str, retained: bool) -> None:
    """However wide it subscribes, and whether it was there or came later."""
    if retained:
        tell_everything(guarded, retain=True)
    for user in sorted(USERS):
        expected = {
            address
            for address, access in ADDRESSES.items()
            if user in access.readers and topic_matches_sub(wide, address)
        }
        assert heard_by(guarded, user, wide, retained=retained) == expected, user


def test_every_family_of_topics_has_its_entry() -> None:
    """A topic that is added to the registry without saying who may use it is noticed here."""
    assert [access.topic.pattern for access in ACCESS] == [topic.pattern for topic in FAMILIES]
    assert all(access.writers and access.readers for access in ACCESS)


def test_an_own_level_is_one_that_the_topic_has() -> None:
    """A misspelt level would make a right to everybody's topics of a right to one's own."""
    for access in ACCESS:
        for grant in (*access.writers, *access.readers):
            assert grant.role in ROLES
            assert grant.own is None or f"{{{grant.own}}}" in access.topic.pattern


def test_a_nodes_rules_name_it_wherever_it_writes() -> None:
    """But for answers, which go to whoever asked."""
    written = [rule for rule in rules(SITE, User("pi", "node")) if rule.startswith("topic write ")]
    assert [rule for rule in written if "/pi" not in rule] == [f"topic write {ROOT}/{SITE}/replies/+/+"]


def test_a_reader_may_read_all_that_an_administrator_may() -> None:
    """And write nothing at the site."""
    reader, admin = (rules(SITE, User("any", role)) for role in ("reader", "admin"))
    assert {rule for rule in reader if ROOT in rule} == {rule for rule in admin if rule.startswith("topic read ")}


def test_another_discovery_prefix_moves_its_rights() -> None:
    """Nobody keeps a right to the topics under the one before."""
    for role in ROLES:
        told = rules(SITE, User("any", role), "hub")
        assert not [rule for rule in told if "homeassistant" in rule]
        assert any(" hub/" in rule for rule in told) == (role in ("coordinator", "reader"))


def test_shutting_one_out_takes_its_stanza_away() -> None:
    """One stanza for each user, and no pattern that would admit whoever can sign in."""
    text = acl_file(SITE, [User("pi", "node"), User("laptop", "node")])
    assert text.count("\nuser ") == 2
    assert "pattern" not in text
    assert "laptop" not in acl_file(SITE, [User("pi", "node")])


@contextmanager
def resuming(site: SiteDirectory, user: str, identifier: str, hear: Callable[[str], None]) -> Iterator[bool]:
    """A client that goes on with the session of this identifier, if there is one (whether there was is given).

    It hears the end, and vanishes without a word, so that its session stays.
    """
    settings = site.broker_settings(user)
    assert settings.password_file is not None
    resumer = client.Client(CallbackAPIVersion.VERSION2, client_id=identifier, protocol=client.MQTTv5)
    resumer.tls_set_context(ssl.create_default_context(cafile=settings.ca_file))
    resumer.username_pw_set(user, settings.password_file.read_text().strip())
    resumed: queue.Queue[bool] = queue.Queue()

    def connected(_client: object, _data: object, flags: client.ConnectFlags, *_: object) -> None:
        resumed.put(flags.session_present)

    resumer.on_connect = connected
    resumer.on_message = lambda _client, _data, message: hear(message.topic)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 60
    resumer.connect(settings.host, settings.port, clean_start=False, properties=properties)
    resumer.subscribe([(END, SubscribeOptions(1)), (f"{ROOT}/{SITE}/replies/alice/here", SubscribeOptions(1))])
    resumer.loop_start()
    try:
        yield resumed.get(timeout=20)
    finally:
        resumer.loop_stop()
        resumer.socket().close()


def test_taking_over_anothers_session_gives_none_of_its_rights(guarded: SiteDirectory) -> None:
    """Neither what waits in it nor what its subscriptions would bring: the broker asks who is there now."""
    address = f"{ROOT}/{SITE}/replies/alice/here"

    def say(words: bytes) -> None:
        with signed_in(guarded, "pi") as pi:
            pi.publish(address, words, qos=1, retain=False)

    def heard_in_all(user: str, *, resumes: bool) -> set[str]:
        heard: list[str] = []
        with resuming(guarded, user, "shared", heard.append) as resumed, signed_in(guarded, WITNESS) as witness:
            assert resumed is resumes
            say(b"now")
            assert eventually(lambda: END in heard or witness.publish(END, b"end", qos=1, retain=False) is None)
        return set(heard)

    assert heard_in_all("alice", resumes=False) == {address, END}
    say(b"waiting")
    assert heard_in_all("bob", resumes=True) == {END}
