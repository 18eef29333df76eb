"""What a birth says of the time: when its connection began, by the node's own clock."""

import itertools
import queue

from test_presence import ANNOUNCEMENT, Observer

from broker.messages import NameQuestion, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.presence import Presence, last_will
from broker.session import Incoming, Session


def next_birth(statuses: "queue.Queue[NodeStatus]") -> NodeStatus:
    while True:
        status = statuses.get(timeout=20)
        if status.state == "online":
            return status


def test_births_of_one_connection_say_the_same_time(mosquitto: PrivateMosquitto, site: str) -> None:
    """However often one is repeated: so who hears them again knows that it is no news."""
    hours = itertools.count(100.0)
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-pi", last_will=last_will("pi", "s1"))
    presence = Presence(session, node="pi", session_id="s1", announcement=ANNOUNCEMENT, wall_clock=lambda: next(hours))
    with Observer(mosquitto, site) as observer, session:
        presence.join()
        presence.announce()
        first = next_birth(observer.statuses)
        question = NameQuestion(node="pi", question="s2.1")
        presence._hear_question(Incoming(question, ("pi",), False, None, None))
        assert next_birth(observer.statuses).at == first.at > 0.0
        presence._ask()
        assert next_birth(observer.statuses).at > first.at, "a new connection is news"
