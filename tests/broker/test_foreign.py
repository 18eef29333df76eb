"""Topics of other systems over a real Mosquitto: what is heard, what is refused, and that it outlives the broker."""

import queue
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from broker.drops import DroppedCounts
from broker.errors import MalformedMessageError
from broker.foreign import MAX_FOREIGN_BYTES, check_foreign_address, check_foreign_filter
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import ROOT

Heard = queue.Queue[tuple[str, bytes]]


def say(session: Session, address: str, payload: bytes) -> None:
    """Say it unchecked, over the listener's own connection: what it has subscribed to before, it hears."""
    session._connection.publish(address, payload, qos=1, retain=False)


def listening(mosquitto: PrivateMosquitto, site: str, address_filter: str) -> tuple[Session, Heard]:
    """A session that hears what is said under this filter, and what it has heard."""
    heard: Heard = queue.Queue()
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-foreign")
    session.on_foreign(address_filter, lambda address, payload: heard.put((address, payload)))
    return session, heard


def test_what_another_system_says_is_heard_as_it_is(mosquitto: PrivateMosquitto, site: str) -> None:
    """A handler gets address and bytes, whatever they are; also one that is added while the broker is there."""
    session, heard = listening(mosquitto, site, f"tele/{site}/+")
    late: Heard = queue.Queue()
    with session:
        session.on_foreign(f"{site}/late", lambda address, payload: late.put((address, payload)))
        say(session, f"tele/{site}/SENSOR", b"\xff no JSON")
        say(session, f"{site}/late", b"2")
        assert heard.get(timeout=20) == (f"tele/{site}/SENSOR", b"\xff no JSON")
        assert late.get(timeout=20) == (f"{site}/late", b"2")
    assert heard.empty()


def test_a_foreign_topic_is_heard_again_after_the_broker_was_lost(tmp_path: Path, site: str) -> None:
    """A broker that forgot everything is asked for it anew."""
    with PrivateMosquitto(tmp_path) as mosquitto:
        session, heard = listening(mosquitto, site, f"tele/{site}/SENSOR")
        connections: queue.Queue[None] = queue.Queue()
        session.on_connected(lambda: connections.put(None))
        with session:
            connections.get(timeout=20)
            mosquitto.restart()
            connections.get(timeout=20)
            say(session, f"tele/{site}/SENSOR", b"1")
            assert heard.get(timeout=20) == (f"tele/{site}/SENSOR", b"1")


def test_what_is_too_large_is_dropped_and_counted(mosquitto: PrivateMosquitto, site: str) -> None:
    """64,000 bytes pass, one more does not, in either direction; what was not asked for stays unknown."""
    session, heard = listening(mosquitto, site, f"tele/{site}/SENSOR")
    with session:
        say(session, f"tele/{site}/SENSOR", bytes(MAX_FOREIGN_BYTES + 1))
        say(session, f"tele/{site}/SENSOR", b"")
        assert session.publish_foreign(f"tele/{site}/SENSOR", bytes(MAX_FOREIGN_BYTES), retain=False)
        assert heard.get(timeout=20)[1] == bytes(MAX_FOREIGN_BYTES)
        assert session.dropped == DroppedCounts(oversized=1)
        with pytest.raises(MalformedMessageError, match="64001 bytes are more than the 64000"):
            session.publish_foreign(f"tele/{site}/SENSOR", bytes(MAX_FOREIGN_BYTES + 1), retain=False)


def test_a_failing_handler_ends_nothing(mosquitto: PrivateMosquitto, site: str) -> None:
    """What it raises is logged; the next message still comes."""
    session, heard = listening(mosquitto, site, f"tele/{site}/SENSOR")
    session.on_foreign(f"tele/{site}/SENSOR", lambda _address, _payload: 1 / 0)
    with session:
        for payload in (b"1", b"2"):
            say(session, f"tele/{site}/SENSOR", payload)
        assert [heard.get(timeout=20)[1] for _ in range(2)] == [b"1", b"2"]


def test_what_is_published_reaches_others_and_can_be_taken_back(mosquitto: PrivateMosquitto, site: str) -> None:
    """Retained for who comes later, until an empty payload clears it."""
    address = f"hub/{site}/config"
    with Session(mosquitto.settings, site=site, client_id=f"{site}-a") as teller:
        assert teller.publish_foreign(address, b"{}", retain=True)
    session, heard = listening(mosquitto, site, address)
    with session:
        assert heard.get(timeout=20) == (address, b"{}")
        assert session.publish_foreign(address, b"", retain=True)
    session, heard = listening(mosquitto, site, address)
    with session:
        session.publish_foreign(address, b"end", retain=False)
        assert heard.get(timeout=20) == (address, b"end")


def test_nothing_is_sent_once_it_is_closed(mosquitto: PrivateMosquitto, site: str) -> None:
    """It is counted as not sent."""
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-a")
    session.start()
    session.close()
    assert not session.publish_foreign("hub/topic", b"1", retain=False)
    assert session.dropped == DroppedCounts(unsent=1)


@pytest.mark.parametrize("address", ["", "$SYS/x", "a/+", "a/#", "a\0b", "x" * 1_001, f"{ROOT}/home/leader", ROOT])
def test_no_address_leads_to_our_own_topics_or_the_brokers(address: str) -> None:
    """What is refused says so; an ordinary topic is not."""
    with pytest.raises(MalformedMessageError, match="not a topic"):
        check_foreign_address(address)
    check_foreign_address("tele/plug/SENSOR")
    check_foreign_address("splitrail/plugs/1")


@pytest.mark.parametrize("address_filter", ["", "#", "+/#", "+/+/+", "+/v1/x", "splitrail/#", f"{ROOT}/+", "$SYS/#"])
def test_no_filter_covers_our_own_topics_or_the_brokers(address_filter: str) -> None:
    """The registry alone says what is heard of those."""
    with pytest.raises(MalformedMessageError, match="not a"):
        check_foreign_filter(address_filter)


@pytest.mark.parametrize("address_filter", ["a/#/b", "a/b#", "a/b+", "+a/b", "a#"])
def test_a_malformed_filter_is_refused(address_filter: str) -> None:
    """A broker would hang up on it."""
    with pytest.raises(MalformedMessageError, match="not a filter"):
        check_foreign_filter(address_filter)


LEVELS = st.sampled_from(["splitrail", "v1", "home", "+", "#", "a", ""])


@given(st.lists(LEVELS, min_size=1, max_size=4), st.sampled_from(["home/leader", "home/plans/d", "a/a"]))
def test_a_filter_that_is_admitted_matches_none_of_our_topics(levels: list[str], ours: str) -> None:
    """Whatever stands in it."""
    address_filter = "/".join(levels)
    try:
        check_foreign_filter(address_filter)
    except MalformedMessageError:
        return
    assert not topic_matches_sub(address_filter, f"{ROOT}/{ours}")
