"""Requests that outlive the broker that carries them, and what is said of those that nobody answers."""

import queue
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from eventually import eventually
from messages_to_send import ANNOUNCEMENT, REQUEST

from broker.errors import ConnectionFailedError, NoReplyError
from broker.messages import InferReply, InferRequest, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Incoming, Session
from broker.topics import INFER, REPLY, STATUS
from edge_agent.answered import Answer, Answered

pytestmark = pytest.mark.usefixtures("nothing_left")

CLIENTS = 4
KILLS = 4


class Origin:
    """Answers each request after a moment, on a thread of its own, with the number of the run that made the answer.

    It starts and closes its session, so that the broker has taken its subscription when it is entered.
    """

    def __init__(self, session: Session, *, pause_s: float) -> None:
        self._session = session
        self._answered = Answered()
        self._pause_s = pause_s
        self._begun: queue.SimpleQueue[tuple[str, Answer] | None] = queue.SimpleQueue()
        self.runs: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._work)
        session.on(INFER, self._take)

    def __enter__(self) -> "Origin":
        self._thread.start()
        self._session.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self._begun.put(None)
        self._thread.join()

    def _take(self, incoming: Incoming[InferRequest]) -> None:
        request_id = incoming.message.request_id
        self._answered.take(
            incoming.levels[0],
            incoming.message,
            incoming.response_topic,
            lambda reply: self._session.reply(incoming, REPLY, reply),
            lambda answer: self._begun.put((request_id, answer)),
        )

    def _work(self) -> None:
        while (begun := self._begun.get()) is not None:
            request_id, answer = begun
            threading.Event().wait(self._pause_s)
            self.runs[request_id] += 1
            answer(InferReply(request_id=request_id, error=f"run {self.runs[request_id]}"))


def test_every_request_is_answered_once_though_its_broker_is_killed(tmp_path: Path, site: str) -> None:
    """Killed at random moments under load, the broker loses messages: each request still has one reply, of one run."""
    moments = random.Random(4)
    finished = threading.Event()
    with (
        PrivateMosquitto(tmp_path) as own,
        Origin(Session(own.settings, site=site, client_id="origin"), pause_s=0.002) as origin,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):

        def ask(client: int) -> list[tuple[str, InferReply]]:
            replies = []
            with Session(own.settings, site=site, client_id=f"client-{client}") as asking:
                for number in range(1_000_000):
                    if finished.is_set():
                        break
                    request = InferRequest(request_id=f"c{client}-{number}", image=b"image")
                    replies.append((request.request_id, asking.request(INFER, request, "deployment", timeout_s=60.0)))
            return replies

        futures = [clients.submit(ask, client) for client in range(CLIENTS)]
        try:
            for _ in range(KILLS):
                before = sum(origin.runs.values())
                assert eventually(lambda: sum(origin.runs.values()) > before + 50, 60)  # noqa: B023  # in this turn
                threading.Event().wait(moments.uniform(0.0, 0.3))
                own.kill()
                threading.Event().wait(moments.uniform(0.0, 0.5))
                own.start()
        finally:
            finished.set()
        told = [reply for future in futures for reply in future.result(90)]
    assert len(told) > KILLS * 50
    assert all(reply == InferReply(request_id=request_id, error="run 1") for request_id, reply in told)
    assert set(origin.runs.values()) == {1}
    assert len(origin.runs) == len(told)


@pytest.mark.parametrize("run", ["first", "second"])
def test_a_request_is_sent_again_to_an_origin_that_is_back(run: str, mosquitto: PrivateMosquitto, site: str) -> None:
    """What it was asked before is lost, with its connection or its run; the caller waits for one answer and gets it."""
    taken = threading.Event()
    with (
        Session(mosquitto.settings, site=site, client_id=f"{site}-client") as client,
        ThreadPoolExecutor(1) as thread,
    ):
        with Session(mosquitto.settings, site=site, client_id=f"{site}-first") as first:
            first.on(INFER, lambda _: taken.set())
            first.publish(STATUS, birth("first"), "pi")
            answer = thread.submit(client.request, INFER, REQUEST, "deployment", timeout_s=60.0, node="pi")
            assert taken.wait(20)
        second = Session(mosquitto.settings, site=site, client_id=f"{site}-second")
        with Origin(second, pause_s=0.0) as origin:
            second.publish(STATUS, birth(run), "pi")
            assert answer.result(30).request_id == REQUEST.request_id
            assert origin.runs == {REQUEST.request_id: 1}


def birth(session_id: str) -> NodeStatus:
    return NodeStatus(node="pi", session=session_id, state="online", announcement=ANNOUNCEMENT)


def ask_in_vain(client: Session, node: str | None) -> str:
    with pytest.raises(NoReplyError) as caught:
        client.request(INFER, REQUEST, "deployment", timeout_s=0.5, node=node)
    return str(caught.value).partition("no reply within 0.5 s: ")[2]


def test_an_error_says_what_is_known_of_the_origin(mosquitto: PrivateMosquitto, site: str) -> None:
    """Never heard of, offline, online and silent, or not named by the caller: each is another sentence."""
    with Session(mosquitto.settings, site=site, client_id=f"{site}-client") as client:
        assert ask_in_vain(client, None) == "`splitrail status` shows whether its origin is up"
        assert ask_in_vain(client, "pi") == "its origin pi has not announced itself; does its agent run?"
        client.publish(STATUS, birth("one"), "pi")
        assert ask_in_vain(client, "pi") == "its origin pi is online, but does not answer; its log may say why"
        client.publish(STATUS, NodeStatus(node="pi", session="another", state="offline"), "pi")
        assert ask_in_vain(client, "pi") == "its origin pi is online, but does not answer; its log may say why"
        client.publish(STATUS, NodeStatus(node="pi", session="one", state="offline"), "pi")
        assert ask_in_vain(client, "pi").startswith("its origin pi has been offline for")
    with Session(mosquitto.settings, site=site, client_id=f"{site}-late") as late:
        assert ask_in_vain(late, "pi") == "its origin pi is offline"


def test_an_error_says_that_the_broker_is_away(tmp_path: Path, site: str) -> None:
    """Then nothing can be known of the origin."""
    with PrivateMosquitto(tmp_path) as own, Session(own.settings, site=site, client_id="client") as client:
        own.kill()
        assert eventually(lambda: not client.connected)
        assert ask_in_vain(client, "pi").startswith(f"the broker {own.settings.endpoint} has been away for ")


def test_closing_the_session_ends_what_waits(mosquitto: PrivateMosquitto, site: str) -> None:
    """A caller on another thread is told at once, not after its timeout."""
    session = Session(mosquitto.settings, site=site, client_id=f"{site}-client")
    session.start()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(session.request, INFER, REQUEST, "deployment", timeout_s=3_600.0)
        assert eventually(lambda: session._requests._waiting)
        session.close()
        with pytest.raises(ConnectionFailedError, match="closed before a reply came"):
            waiting.result(20)


def test_subscriptions_are_made_in_the_order_of_registration(mosquitto: PrivateMosquitto, site: str) -> None:
    """What is retained arrives in that order, so that one family may be known before another counts."""
    order: list[str] = []
    with Session(mosquitto.settings, site=site, client_id=f"{site}-keeper") as keeper:
        for node in ("c", "a", "b", "e", "d"):
            keeper.publish(STATUS, NodeStatus(node=node, session="s", state="offline"), node)
    reader = Session(mosquitto.settings, site=site, client_id=f"{site}-reader")
    for node in ("e", "b", "d", "a", "c"):
        reader.on(STATUS, lambda incoming: order.append(incoming.message.node), levels=(node,))
    with reader:
        assert eventually(lambda: len(order) == 5)
    assert order == ["e", "b", "d", "a", "c"]
