"""Who of several agents of one name stays; the broker is played by one list, and delivers as late as it likes."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_to_send import ANNOUNCEMENT

from broker.errors import NodeNameTakenError
from broker.messages import NodeStatus
from broker.presence import ANSWER_S, Presence
from broker.session import Incoming
from broker.topics import STATUS, Topic

NAMES = ("bb", "aa", "cc")


@dataclass
class Wire:
    """The broker: one order of all that is published, what it retains, and the time."""

    lines: list["Line"] = field(default_factory=list)
    birth: NodeStatus | None = None
    now_s: float = 0.0

    def publish(self, topic: Topic[Any], message: Any) -> None:
        if topic is STATUS:
            self.birth = message
        for line in self.lines:
            line.inbox.append((topic, message, False))


class Line:
    """The session of one agent, which hears what waits for it only when it is told to."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.inbox: list[tuple[Topic[Any], Any, bool]] = []
        self.handlers: dict[str, Any] = {}
        self.is_read = False

    @property
    def connected(self) -> bool:
        """Asked by whoever waits for the broker, to whom it delivers meanwhile."""
        if self.is_read:
            self.deliver(1)
        return True

    def on(self, topic: Topic[Any], handler: Any, levels: tuple[str, ...] | None = None) -> None:
        self.handlers[topic.pattern] = handler

    def on_connected(self, callback: Any) -> None:
        self.ask = callback

    def publish(self, topic: Topic[Any], message: Any, *levels: str) -> bool:
        self.wire.publish(topic, message)
        return True

    def deliver(self, most: int) -> None:
        for topic, message, retained in self.inbox[:most]:
            self.handlers[topic.pattern](Incoming(message, ("pi",), retained, None, None))
        del self.inbox[:most]


class Agent:
    """One that connects when it is told to, and leaves when it has to."""

    def __init__(self, wire: Wire, session_id: str) -> None:
        self.wire, self.session_id = wire, session_id
        self.line = Line(wire)
        self.presence = Presence(
            self.line,  # type: ignore[arg-type]  # as much of a session as a presence needs
            node="pi",
            session_id=session_id,
            announcement=ANNOUNCEMENT,
            clock_s=lambda: wire.now_s,
        )
        self.is_connected = self.is_announced = self.has_left = False

    def connect(self) -> None:
        self.is_connected = True
        self.wire.lines.append(self.line)
        if self.wire.birth is not None:
            self.line.inbox.append((STATUS, self.wire.birth, True))
        self.line.ask()

    def go_on(self, most: int) -> None:
        """Hear so many messages and do what is due."""
        self.line.deliver(most)
        try:
            self.presence.attend()
            if self.presence._settled.is_set() and not self.is_announced:
                self.is_announced = self.line.is_read = True
                self.presence.announce()
        except NodeNameTakenError:
            self.has_left = True
            self.wire.lines.remove(self.line)
            self.wire.publish(STATUS, NodeStatus(node="pi", session=self.session_id, state="offline"))
        finally:
            self.line.is_read = False


steps = st.lists(
    st.tuples(st.integers(0, len(NAMES) - 1), st.integers(0, 3), st.sampled_from((0.0, 0.1, ANSWER_S))), max_size=40
)


@given(steps)
def test_the_one_that_connected_first_stays_however_late_anything_comes(steps: list[tuple[int, int, float]]) -> None:
    """The others leave, also where they were born before it, and what the broker keeps is its birth."""
    wire = Wire()
    agents = [Agent(wire, name) for name in NAMES]
    order: list[Agent] = []

    def step(agent: Agent, most: int, passed_s: float) -> None:
        wire.now_s += passed_s
        if not agent.is_connected:
            agent.connect()
            order.append(agent)
        elif not agent.has_left:
            agent.go_on(most)

    for index, most, passed_s in steps:
        step(agents[index], most, passed_s)
    for _ in range(20):
        for agent in agents:
            step(agent, len(agent.line.inbox), ANSWER_S)
    assert [agent for agent in agents if not agent.has_left] == order[:1]
    assert wire.birth is not None
    assert (wire.birth.state, wire.birth.session) == ("online", order[0].session_id)


def test_an_announcement_ends_where_an_elder_was_born_just_before(caplog: pytest.LogCaptureFixture) -> None:
    """Two have settled before either is born: the younger's `announce` tells of the elder, and no later call has to."""
    wire = Wire()
    elder, younger = Agent(wire, "zz-elder"), Agent(wire, "aa-younger")
    elder.connect()
    elder.line.deliver(1)
    younger.connect()
    younger.line.deliver(1)
    elder.presence.attend()
    elder.line.is_read = younger.line.is_read = True
    elder.presence.announce()
    with pytest.raises(NodeNameTakenError, match="session zz-elder"):
        younger.presence.announce()
    elder.line.deliver(10)
    elder.presence.attend()


def test_whoever_connects_after_an_announcement_finds_the_birth() -> None:
    """It returns only when the broker has the birth, so a newcomer waits for its answer, and gets it."""
    wire = Wire()
    elder, newcomer = Agent(wire, "zz-elder"), Agent(wire, "aa-newcomer")
    elder.connect()
    elder.line.deliver(1)
    elder.line.is_read = True
    elder.presence.announce()
    assert elder.line.inbox == []
    newcomer.connect()
    newcomer.line.deliver(2)
    assert not newcomer.presence._settled.is_set()
    elder.line.deliver(10)
    newcomer.line.deliver(10)
    with pytest.raises(NodeNameTakenError, match="session zz-elder"):
        newcomer.presence.join()
