"""A node's presence: birth, death by kill and by farewell, and which of two sessions of one name stays."""

import logging
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eventually import eventually
from hypothesis import given
from hypothesis import strategies as st
from messages_to_send import ANNOUNCEMENT

from broker import presence
from broker.errors import NodeNameTakenError
from broker.messages import NameQuestion, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.presence import Presence, last_will, new_session_id, outlives
from broker.session import Incoming, Session
from broker.topics import STATUS

pytestmark = pytest.mark.usefixtures("nothing_left")


class Observer:
    """Keeps every birth and death of a site in the order of its arrival."""

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
        status = self.statuses.get(timeout=30)
        return status.state, status.session


class Node:
    """What an agent makes of its presence: joins, announces itself, and attends to it until it is told to leave."""

    def __init__(self, mosquitto: PrivateMosquitto, site: str, session_id: str, name: str = "pi") -> None:
        self.session = Session(
            mosquitto.settings, site=site, client_id=f"{site}-{session_id}", last_will=last_will(name, session_id)
        )
        self.births = 0
        self.presence = Presence(
            self.session, node=name, session_id=session_id, announcement=ANNOUNCEMENT, on_birth=self._born
        )
        self.error: NodeNameTakenError | None = None
        self.ended = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _born(self) -> None:
        self.births += 1

    def _run(self) -> None:
        try:
            self.session.start()
            self.presence.join()
            self.presence.announce()
            while not self._stop.wait(0.02):
                self.presence.attend()
        except NodeNameTakenError as error:
            self.error = error
        finally:
            self.session.close()
            self.ended.set()

    def __enter__(self) -> "Node":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def retained(mosquitto: PrivateMosquitto, site: str) -> tuple[str, str]:
    """What a subscriber that comes now learns of the node."""
    heard: queue.Queue[NodeStatus] = queue.Queue()
    with Session(mosquitto.settings, site=site, client_id=f"{site}-late-{new_session_id()}") as late:
        late.on(STATUS, lambda incoming: heard.put(incoming.message))
        status = heard.get(timeout=20)
    return status.state, status.session


def ask(node: Node, session_id: str) -> None:
    """Let a node hear what another session asks that connects now."""
    question = NameQuestion(node="pi", question=f"{session_id}.1")
    node.presence._hear_question(Incoming(question, ("pi",), False, None, None))


CHILD = """
import sys
sys.path[:0] = {path!r}
from test_presence import Node
from broker.mosquitto import PrivateMosquitto
from pathlib import Path
with Node(PrivateMosquitto(Path("unused"), {port}), {site!r}, {session!r}) as node:
    node.ended.wait()
"""


@contextmanager
def process(mosquitto: PrivateMosquitto, site: str, session_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node in a process of its own, which may be stopped and killed."""
    program = CHILD.format(path=sys.path, port=mosquitto.port, site=site, session=session_id)
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_node_is_born_and_says_farewell(mosquitto: PrivateMosquitto, site: str) -> None:
    """Starting publishes the birth with the announcement, closing the death of the same session."""
    with Observer(mosquitto, site) as observer:
        with Node(mosquitto, site, "run1"):
            birth = observer.statuses.get(timeout=20)
        assert (birth.node, birth.session, birth.state, birth.announcement) == ("pi", "run1", "online", ANNOUNCEMENT)
        assert observer.next() == ("offline", "run1")
    assert observer.statuses.empty()


def test_the_broker_tells_of_a_killed_node(mosquitto: PrivateMosquitto, site: str) -> None:
    """A process that is killed without a word is reported dead by its last will."""
    with Observer(mosquitto, site) as observer:
        with process(mosquitto, site, "doomed") as child:
            assert observer.next() == ("online", "doomed")
            child.kill()
        assert observer.next() == ("offline", "doomed")


def test_a_late_death_of_an_older_session_is_corrected(mosquitto: PrivateMosquitto, site: str) -> None:
    """Where an old last will overwrites the retained birth, the living session publishes its birth again."""
    with Observer(mosquitto, site) as observer, Node(mosquitto, site, "new"):
        assert observer.next() == ("online", "new")
        observer.session.publish(STATUS, NodeStatus(node="pi", session="old", state="offline"), "pi")
        assert [observer.next(), observer.next()] == [("offline", "old"), ("online", "new")]


def test_an_old_retained_death_does_not_make_a_node_repeat_itself(mosquitto: PrivateMosquitto, site: str) -> None:
    """What was retained before the birth is history: one birth is enough."""
    with Observer(mosquitto, site) as observer:
        for session_id in ("first", "second"):
            with Node(mosquitto, site, session_id):
                assert observer.next() == ("online", session_id)
            assert observer.next() == ("offline", session_id)


def test_a_free_name_is_taken_without_waiting(
    mosquitto: PrivateMosquitto, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is retained, or a death, nobody's answer is waited for."""
    monkeypatch.setattr(presence, "ANSWER_S", math.inf)
    for session_id in ("first", "second"):
        with Node(mosquitto, site, session_id) as node:
            assert eventually(lambda: node.births == 1)  # called in this turn of the loop


def test_a_newcomer_leaves_before_anybody_hears_of_it(
    mosquitto: PrivateMosquitto, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second agent of a name asks, is answered, and ends with one sentence; at no subscriber is it ever born."""
    monkeypatch.setattr(presence, "ANSWER_S", math.inf)
    with Observer(mosquitto, site) as observer, Node(mosquitto, site, "zz-elder") as elder:
        assert observer.next() == ("online", "zz-elder")
        with Node(mosquitto, site, "aa-newcomer") as newcomer:
            assert newcomer.ended.wait(20)
        assert newcomer.births == 0
        assert str(newcomer.error) == (
            "another agent of this site calls itself 'pi' and has been connected for longer (session zz-elder): "
            "give this one a name of its own, or stop the other"
        )
        assert eventually(lambda: retained(mosquitto, site) == ("online", "zz-elder"))
        assert not elder.ended.is_set()
        heard = [(status.state, status.session) for status in list(observer.statuses.queue)]
    assert ("online", "aa-newcomer") not in heard
    assert heard[-1] == ("online", "zz-elder")


@pytest.mark.parametrize("names", [("aa", "bb"), ("bb", "aa")])
def test_of_two_that_start_at_once_one_stays(mosquitto: PrivateMosquitto, site: str, names: tuple[str, str]) -> None:
    """Whoever comes first by a hair, exactly one goes on, and its birth is what the broker keeps."""
    with Node(mosquitto, site, names[0]) as one, Node(mosquitto, site, names[1]) as two:
        assert eventually(lambda: one.ended.is_set() or two.ended.is_set())
        stays, left = (two, one) if one.ended.is_set() else (one, two)
        assert left.error is not None
        assert eventually(lambda: retained(mosquitto, site) == ("online", left.error.rival))  # type: ignore[union-attr]  # asserted above
        assert not stays.ended.is_set()


def test_a_session_that_is_gone_keeps_nobody_out(mosquitto: PrivateMosquitto, site: str) -> None:
    """Where the broker still has the birth of one that was killed, its successor is born after a moment."""
    dead = NodeStatus(node="pi", session="dead", state="online", announcement=ANNOUNCEMENT, connected_s=1e6)
    with Observer(mosquitto, site) as observer:
        observer.session.publish(STATUS, dead, "pi")
        assert observer.next() == ("online", "dead")
        with Node(mosquitto, site, "successor"):
            assert observer.next() == ("online", "successor")
            observer.session.publish(STATUS, NodeStatus(node="pi", session="dead", state="offline"), "pi")
            assert observer.next() == ("offline", "dead")
            assert observer.next() == ("online", "successor")


def test_a_stopped_elder_that_goes_on_is_the_one_that_stays(mosquitto: PrivateMosquitto, site: str) -> None:
    """Its connection was never lost: it has been connected for longer than the one that took its place meanwhile."""
    with Observer(mosquitto, site) as observer, process(mosquitto, site, "elder") as elder:
        assert observer.next() == ("online", "elder")
        os.kill(elder.pid, signal.SIGSTOP)
        with Node(mosquitto, site, "a-newcomer") as newcomer:
            assert observer.next() == ("online", "a-newcomer")
            os.kill(elder.pid, signal.SIGCONT)
            assert newcomer.ended.wait(20)
            assert newcomer.error is not None
        assert eventually(lambda: retained(mosquitto, site) == ("online", "elder"))


def test_an_elder_that_lost_its_connection_leaves_to_its_successor(tmp_path: Path, site: str) -> None:
    """Stopped until the broker gave it up, it has been connected for less long when it goes on."""
    with PrivateMosquitto(tmp_path) as own, Observer(own, site) as observer, process(own, site, "a-elder") as elder:
        assert observer.next() == ("online", "a-elder")
        os.kill(elder.pid, signal.SIGSTOP)
        own.kill()
        own.start()
        with Node(own, site, "successor"):
            while observer.next() != ("online", "successor"):
                pass
            os.kill(elder.pid, signal.SIGCONT)
            assert elder.wait(60) == 0
            assert eventually(lambda: retained(own, site) == ("online", "successor"))


def test_after_a_broker_was_killed_each_node_is_born_again_once(tmp_path: Path, site: str) -> None:
    """A reconnect asks too, finds its own birth or nothing, and goes on under the same session."""
    with PrivateMosquitto(tmp_path) as own, Node(own, site, "run") as node:
        assert eventually(lambda: node.births == 1)
        own.kill()
        assert eventually(lambda: not node.session.connected)
        own.start()
        assert eventually(lambda: node.births == 2, 60)
        assert retained(own, site) == ("online", "run")
        assert not node.ended.is_set()


def test_births_that_queued_while_it_was_away_send_nobody_away(mosquitto: PrivateMosquitto, site: str) -> None:
    """A rival that came and went meanwhile is history: only one that still answers counts."""
    with Node(mosquitto, site, "run") as node, Observer(mosquitto, site) as observer:
        assert observer.next() == ("online", "run")
        hear = node.presence._hear
        node.presence._ask()
        rival = NodeStatus(node="pi", session="rival", state="online", announcement=ANNOUNCEMENT, connected_s=50.0)
        for message in (rival, NodeStatus(node="pi", session="rival", state="offline")):
            hear(Incoming(message, ("pi",), False, None, None))
        assert eventually(lambda: node.births == 2)
        assert not node.ended.is_set()


def test_a_broker_that_tells_a_node_nothing_of_itself_keeps_it_out_only_so_long(
    tmp_path: Path, site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An ACL without that right is said, and the node goes on as well as it can."""
    monkeypatch.setattr(presence, "ECHO_S", 0.3)
    acl = tmp_path / "acl"
    acl.write_text("topic write #\n")
    acl.chmod(0o644)
    with (
        PrivateMosquitto(tmp_path / "mosquitto", extra_configuration=f"acl_file {acl}\n") as own,
        Node(own, site, "run") as node,
    ):
        assert eventually(lambda: node.births == 1)
    assert "let this node read what it writes to nodes/pi/question" in caplog.text


def test_a_rival_that_never_leaves_is_answered_only_so_often(mosquitto: PrivateMosquitto, site: str) -> None:
    """Not even a hostile client of the same name makes a node publish without limit."""
    with Observer(mosquitto, site) as observer, Node(mosquitto, site, "run", name="pi") as node:
        assert observer.next() == ("online", "run")
        for number in range(200):
            ask(node, f"rival{number}")
            rival = NodeStatus(node="pi", session=f"rival{number}", state="online", announcement=ANNOUNCEMENT)
            node.presence._hear(Incoming(rival, ("pi",), False, None, None))
        node.session.publish(STATUS, NodeStatus(node="pi", session="end", state="offline"), "pi")
        births = 0
        while (heard := observer.next()) != ("offline", "end"):
            births += heard == ("online", "run")
        assert 0 < births <= presence.MAX_BIRTHS
        assert observer.next() == ("online", "run")


def test_one_error_is_logged_for_each_rival(
    mosquitto: PrivateMosquitto, site: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that stays names the session of the one that has to leave."""
    with caplog.at_level(logging.ERROR, "splitrail.broker"), Node(mosquitto, site, "elder") as elder:
        assert eventually(lambda: elder.births == 1)
        ask(elder, "rival")
        rival = NodeStatus(node="pi", session="rival", state="online", announcement=ANNOUNCEMENT)
        for _ in range(3):
            elder.presence._hear(Incoming(rival, ("pi",), False, None, None))
    assert [record.getMessage() for record in caplog.records] == [
        "another agent calls itself 'pi' too (session rival) and has to leave: give each node a name of its own"
    ]


connected = st.floats(0.0, 1e6)
delays = st.floats(0.0, 30.0)


@given(connected, connected, delays, delays)
def test_never_do_both_of_two_sessions_leave(one_s: float, two_s: float, to_one_s: float, to_two_s: float) -> None:
    """However long each birth was on its way, at least one of the two thinks that it stays."""
    one_stays = outlives(
        "one", one_s + to_one_s, NodeStatus(node="pi", session="two", state="online", connected_s=two_s)
    )
    two_stays = outlives(
        "two", two_s + to_two_s, NodeStatus(node="pi", session="one", state="online", connected_s=one_s)
    )
    assert one_stays or two_stays


@given(connected, connected)
def test_without_delay_exactly_one_stays(one_s: float, two_s: float) -> None:
    """Both sides come to the same end by the same rule: the longer connected, else the lower id."""
    one_stays = outlives("one", one_s, NodeStatus(node="pi", session="two", state="online", connected_s=two_s))
    two_stays = outlives("two", two_s, NodeStatus(node="pi", session="one", state="online", connected_s=one_s))
    assert one_stays is not two_stays


def test_session_ids_are_their_own() -> None:
    """Each run gets another id."""
    assert new_session_id() != new_session_id()
