"""A node's presence: birth, death by kill and by farewell, and rivals of the same name."""

import logging
import queue
import subprocess
import sys

import pytest
from eventually import eventually
from messages_to_send import ANNOUNCEMENT

from broker.messages import NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.presence import Presence, last_will, new_session_id
from broker.session import Incoming, Session
from broker.topics import STATUS


class Observer:
    """Keeps every status of a site in the order of its arrival."""

    def __init__(self, mosquitto: PrivateMosquitto, site: str) -> None:
        self.statuses: queue.Queue[NodeStatus] = queue.Queue()
        self.session = Session(mosquitto.settings, site=site, client_id=f"{site}-observer")
        self.session.on(STATUS, self._keep)

    def __enter__(self) -> "Observer":
        self.session.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def _keep(self, incoming: Incoming[NodeStatus]) -> None:
        self.statuses.put(incoming.message)

    def next(self) -> tuple[str, str]:
        status = self.statuses.get(timeout=20)
        return status.state, status.session


def agent(mosquitto: PrivateMosquitto, site: str, session_id: str) -> Session:
    session = Session(
        mosquitto.settings, site=site, client_id=f"{site}-{session_id}", last_will=last_will("pi", session_id)
    )
    Presence(session, node="pi", session_id=session_id, announcement=ANNOUNCEMENT)
    return session


def test_a_node_is_born_and_says_farewell(mosquitto: PrivateMosquitto, site: str) -> None:
    """Starting publishes the birth with the announcement, closing the death of the same session."""
    with Observer(mosquitto, site) as observer:
        with agent(mosquitto, site, "run1"):
            birth = observer.statuses.get(timeout=20)
        assert birth == NodeStatus(node="pi", session="run1", state="online", announcement=ANNOUNCEMENT)
        assert observer.next() == ("offline", "run1")
    assert observer.statuses.empty()


def test_the_broker_tells_of_a_killed_node(mosquitto: PrivateMosquitto, site: str) -> None:
    """A process that is killed without a word is reported dead by its last will."""
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from messages_to_send import ANNOUNCEMENT
from broker.presence import Presence, last_will
from broker.session import BrokerSettings, Session
session = Session(BrokerSettings(port={mosquitto.port}), site="{site}", client_id="{site}-doomed",
                  last_will=last_will("pi", "doomed"))
Presence(session, node="pi", session_id="doomed", announcement=ANNOUNCEMENT)
session.start()
sys.stdin.read()
"""
    with Observer(mosquitto, site) as observer:
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
            assert observer.next() == ("online", "doomed")
            child.kill()
        assert observer.next() == ("offline", "doomed")


def test_a_late_death_of_an_older_session_is_corrected(mosquitto: PrivateMosquitto, site: str) -> None:
    """Where an old last will overwrites the retained birth, the living session publishes its birth again."""
    with Observer(mosquitto, site) as observer, agent(mosquitto, site, "new"):
        assert observer.next() == ("online", "new")
        observer.session.publish(STATUS, NodeStatus(node="pi", session="old", state="offline"), "pi")
        assert [observer.next(), observer.next()] == [("offline", "old"), ("online", "new")]


def test_an_old_retained_death_does_not_make_a_node_repeat_itself(mosquitto: PrivateMosquitto, site: str) -> None:
    """What was retained before the birth is history: one birth is enough."""
    with agent(mosquitto, site, "first"):
        pass
    with Observer(mosquitto, site) as observer:
        assert observer.next() == ("offline", "first")
        with agent(mosquitto, site, "second"):
            assert observer.next() == ("online", "second")
        assert observer.next() == ("offline", "second")


def test_two_agents_of_one_name_both_say_so_once(
    mosquitto: PrivateMosquitto, site: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of two agents with one name logs one error that names the other's session, and then they rest."""
    with (
        caplog.at_level(logging.ERROR, "splitrail.broker"),
        agent(mosquitto, site, "one") as one,
        agent(mosquitto, site, "two"),
    ):
        assert eventually(lambda: len(caplog.records) == 2)
        one.publish(STATUS, NodeStatus(node="pi", session="one", state="online"), "pi")
    assert sorted(record.getMessage().partition("(")[2].partition(")")[0] for record in caplog.records) == [
        "session one",
        "session two",
    ]


def test_session_ids_are_their_own() -> None:
    """Each run gets another id."""
    assert new_session_id() != new_session_id()
