"""One coordinator leads: the rules one by one, and any interleaving of delays, cuts and pauses under a model broker."""

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_site import plan_message

from broker.messages import Leader, Plan
from broker.terms import follows
from coordinator.leadership import Candidate, Connected, Event, Heard, Leadership, Stop, TermSeen, Tick, apply

LEASE_S, HEARTBEAT_S = 6.0, 2.0
TICK_S = 0.25


def candidate(name: str, *, predecessor: str | None = None, jitter: float = 0.5) -> Candidate:
    return Candidate(name, f"session-{name}", f"http://{name}", HEARTBEAT_S, LEASE_S, jitter, predecessor)


def said(name: str, term: int, *, released: bool = False) -> Leader:
    return candidate(name).says(term, leading=not released)


def after(known: Leadership, *events: Event) -> tuple[Leadership, list[Leader]]:
    sent: list[Leader] = []
    for event in events:
        known, messages = apply(event, known)
        sent += messages
    return known, sent


def ticks(start: float, end: float) -> list[Event]:
    return [Tick(start + TICK_S * number, connected=True) for number in range(int((end - start) / TICK_S) + 1)]


def leading(name: str = "a", term: int = 1) -> Leadership:
    """A coordinator that leads under `term` since it was confirmed at 1 s."""
    known, sent = after(Leadership(candidate(name), term=term - 1), Connected(0.0), *ticks(0.0, 1.0))
    assert [message.term for message in sent] == [term]
    known, _ = after(known, Heard(sent[0], retained=False, at=1.0))
    assert known.leads_at(1.0)
    return known


def test_where_nobody_leads_the_next_term_is_claimed_after_listening() -> None:
    """What the broker has kept comes within a moment; then the term after the highest one is claimed, once."""
    known, sent = after(Leadership(candidate("a"), term=7), Connected(0.0), *ticks(0.0, 1.0))
    assert sent == [said("a", 8)]
    assert not known.leads_at(1.0), "it leads only when its own message has come back"


def test_whose_message_comes_first_leads() -> None:
    """The other one of the same term stands back, and does not answer."""
    known, _ = after(Leadership(candidate("a")), Connected(0.0), *ticks(0.0, 0.5))
    known, sent = after(known, Heard(said("b", 1), False, 0.6), Heard(said("a", 1), False, 0.7), *ticks(0.75, 5.0))
    assert sent == []
    assert not known.leads_at(1.0)
    assert known.leader == said("b", 1)


def test_the_winner_repeats_itself_over_a_rival() -> None:
    """The rival's message is the one that the broker now keeps; later ones must find the leader's."""
    known, sent = after(leading(), Heard(said("b", 1), False, 1.1), Tick(1.25, connected=True))
    assert sent == [said("a", 1)]
    assert known.leads_at(1.25)


def test_two_that_lead_under_one_term_leave_it() -> None:
    """A broker that forgot can bring it about; whoever claims the next term first ends it."""
    known, sent = after(leading(), Heard(said("b", 1), False, 1.1), Tick(1.25, connected=True))
    known, sent = after(known, Heard(said("b", 1), False, 1.3), *ticks(1.5, 2.0))
    assert sent == [said("a", 2)]


def test_the_leader_shows_that_it_lives() -> None:
    """Every heartbeat, and not more often."""
    known, sent = leading(), []
    for number in range(40):
        at = 1.0 + TICK_S * number
        known, messages = after(known, Tick(at, connected=True))
        for message in messages:
            known, _ = after(known, Heard(message, False, at + 0.01))
        sent += messages
    assert len(sent) == pytest.approx(10.0 / HEARTBEAT_S, abs=1)
    assert set(sent) == {said("a", 1)}


def test_a_leader_that_is_not_heard_for_its_lease_is_succeeded() -> None:
    """And not before; the successor takes the next term."""
    known, _ = after(Leadership(candidate("b")), Connected(0.0), Heard(said("a", 3), True, 0.1))
    known, sent = after(known, *ticks(0.25, 6.0))
    assert sent == []
    _, sent = after(known, *ticks(6.25, 10.0))
    assert sent[0] == said("b", 4)


def test_a_clean_stop_releases_at_once() -> None:
    """The leader says so, and who hears it does not wait for the lease."""
    _, sent = after(leading(term=3), Stop())
    assert sent == [said("a", 3, released=True)]
    known, _ = after(Leadership(candidate("b")), Connected(0.0), Heard(said("a", 3), True, 0.1))
    _, sent = after(known, *ticks(0.25, 1.0), Heard(sent[0], False, 1.1), *ticks(1.25, 2.0))
    assert sent == [said("b", 4)]


def test_a_restart_on_the_same_store_takes_over_at_once() -> None:
    """Its predecessor is surely over, so its lease need not run out."""
    known = Leadership(candidate("a2", predecessor="session-a"), term=5)
    _, sent = after(known, Connected(0.0), Heard(said("a", 5), True, 0.01), *ticks(0.1, 0.2))
    assert sent == [said("a2", 6)]


def test_a_leader_that_does_not_hear_itself_publishes_nothing() -> None:
    """Its lease counts from when it sent what it has heard, not from when it heard it."""
    known = leading()
    known, sent = after(known, *ticks(1.0, 5.0))
    assert sent
    assert known.leads_at(6.0)
    assert not known.leads_at(7.0)


def test_a_leader_that_was_stopped_listens_before_it_speaks() -> None:
    """What came meanwhile is heard first; a successor's term makes it stand by without a word."""
    known, sent = after(leading(), Tick(1.25, connected=True), Tick(60.0, connected=True))
    assert sent == []
    assert not known.leads_at(60.0)
    known, sent = after(known, Heard(said("b", 2), False, 60.1), *ticks(60.25, 62.0))
    assert sent == []
    assert known.leader == said("b", 2)


def test_a_leader_that_was_stopped_and_not_succeeded_goes_on() -> None:
    """Under its own term, once it has heard itself."""
    known, _ = after(leading(), Tick(1.25, connected=True), Tick(60.0, connected=True))
    known, sent = after(known, *ticks(60.25, 61.0))
    assert sent == [said("a", 1)]
    known, _ = after(known, Heard(sent[0], False, 61.0))
    assert known.leads_at(61.0)


def test_a_leader_that_connects_again_must_hear_itself_first() -> None:
    """It may have been succeeded while the broker was out of its reach."""
    known, sent = after(leading(), Connected(2.0), Tick(2.1, connected=True))
    assert sent == []
    assert not known.leads_at(2.1)
    known, sent = after(known, *ticks(2.25, 3.0))
    assert sent == [said("a", 1)]


def test_a_term_that_a_plan_shows_counts() -> None:
    """A leader of whom only a plan is left was there all the same."""
    known, sent = after(leading(), TermSeen(9, 1.2), *ticks(1.25, 20.0))
    assert sent[0] == said("a", 10)
    assert not known.leads_at(1.25)


def test_while_the_broker_is_away_nothing_is_sent() -> None:
    """Whatever waited in the queue would come out late."""
    _, sent = after(leading(), *(Tick(1.0 + number, connected=False) for number in range(60)))
    assert sent == []


# ---- any interleaving, under a model of the broker ----------------------------------------------------------------


@dataclass
class Client:
    """What the broker has for one subscriber, and what that has not handed over yet."""

    inbox: list[tuple[Leader | Plan, bool]] = field(default_factory=list)
    outbox: list[Leader | Plan] = field(default_factory=list)
    connected: bool = False
    paused: bool = False


@dataclass
class Coordinator:
    """A coordinator that publishes a plan whenever it may, with the epoch above all that it has seen."""

    index: int
    client: Client
    known: Leadership
    epoch: int = 0
    runs: int = 0
    stored: int = 0


@dataclass
class Agent:
    """Follows the rule of `broker.terms`, and remembers what it has accepted."""

    client: Client
    term: int = 0
    plan: Plan | None = None
    accepted: list[Plan] = field(default_factory=list)

    def hear(self, message: Leader | Plan) -> None:
        if isinstance(message, Plan) and follows(message, self.plan, self.term):
            self.plan = message
            self.accepted.append(message)
        self.term = max(self.term, message.term)


class World:
    """Coordinators, agents and a broker that orders what it is given, keeps the last of each topic, and delays."""

    def __init__(self, coordinators: int, agents: int) -> None:
        self.now = 100.0
        self.leader: Leader | None = None
        self.plan: Plan | None = None
        self.coordinators = [Coordinator(index, Client(), Leadership(_run(index, 0))) for index in range(coordinators)]
        self.agents = [Agent(Client()) for _ in range(agents)]

    @property
    def clients(self) -> list[Client]:
        return [each.client for each in (*self.coordinators, *self.agents)]

    def connect(self, client: Client) -> None:
        client.connected = True
        client.inbox = [(kept, True) for kept in (self.leader, self.plan) if kept is not None]
        for each in self.coordinators:
            if each.client is client and not client.paused:
                self.fold(each, Connected(self.now))

    def cut(self, client: Client) -> None:
        client.connected = False
        client.inbox = []

    def restart(self, each: Coordinator) -> None:
        """Killed and started anew: what it knew is gone but for its store."""
        each.runs += 1
        predecessor = each.known.own.session
        each.client.inbox, each.client.outbox = [], []
        each.client.connected, each.client.paused = False, False
        each.known = Leadership(replace(_run(each.index, each.runs), predecessor=predecessor), term=each.stored)
        each.epoch = 0

    def fold(self, each: Coordinator, event: Event) -> None:
        each.known, messages = apply(event, each.known)
        each.stored = max(each.stored, each.known.term)
        each.client.outbox += messages

    def tick(self, each: Coordinator) -> None:
        if each.client.paused:
            return
        self.fold(each, Tick(self.now, each.client.connected))
        if each.known.leads_at(self.now) and each.client.connected:
            each.epoch += 1
            plan = plan_message(each.epoch, ("pi", 0, 4))
            plan = msgspec.structs.replace(plan, term=each.known.claimed, reason=each.known.own.session)
            each.client.outbox.append(plan)

    def send(self, client: Client, most: int) -> None:
        """The broker takes what the client's socket holds; a stopped process has handed that over already."""
        while client.connected and client.outbox and most:
            message, most = client.outbox.pop(0), most - 1
            if isinstance(message, Leader):
                self.leader = message
            else:
                self.plan = message
            for each in self.clients:
                if each.connected:
                    each.inbox.append((message, False))

    def receive(self, client: Client, most: int) -> None:
        while client.inbox and most and not client.paused:
            (message, retained), most = client.inbox.pop(0), most - 1
            for each in self.coordinators:
                if each.client is client:
                    event: Event = TermSeen(message.term, self.now)
                    if isinstance(message, Leader):
                        event = Heard(message, retained, self.now)
                    else:
                        each.epoch = max(each.epoch, message.epoch)
                    self.fold(each, event)
            for agent in self.agents:
                if agent.client is client:
                    agent.hear(message)

    def settle(self, seconds: float) -> None:
        """Everybody connected and awake, nothing delayed."""
        for client in self.clients:
            client.paused = False
            if not client.connected:
                self.connect(client)
        for _ in range(int(seconds / TICK_S)):
            self.now += TICK_S
            for each in self.coordinators:
                self.tick(each)
            for client in self.clients:
                self.send(client, 1_000)
            for client in self.clients:
                self.receive(client, 1_000)


def _run(index: int, run: int) -> Candidate:
    name = f"c{index}"
    return Candidate(name, f"{name}-{run}", f"http://{name}", HEARTBEAT_S, LEASE_S, index / 3.0)


STEPS = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([0.25, 0.25, 1.0, 3.0, 8.0]), st.just(0)),
    st.tuples(st.sampled_from(["send", "receive"]), st.integers(0, 4), st.sampled_from([1, 2, 100])),
    st.tuples(
        st.sampled_from(["cut", "connect", "pause", "resume", "restart", "quick"]), st.integers(0, 4), st.just(0)
    ),
)


def interpret(world: World, step: tuple[str, float, int]) -> None:
    what, which, most = step
    if what == "pass":
        world.now += which
        for each in world.coordinators:
            world.tick(each)
        return
    clients = world.clients
    client = clients[int(which) % len(clients)]
    if what == "send":
        world.send(client, most)
    elif what == "receive":
        world.receive(client, most)
    elif what == "cut":
        world.cut(client)
    elif what == "connect" and not client.connected:
        world.connect(client)
    elif what in ("pause", "resume"):
        client.paused = what == "pause"
    elif what == "restart":
        world.restart(world.coordinators[int(which) % len(world.coordinators)])
    elif what == "quick":
        world.settle(1.0)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 3), st.lists(STEPS, max_size=80))
def test_agents_never_follow_two_leaders_of_one_term_nor_an_older_one(
    coordinators: int, steps: list[tuple[str, float, int]]
) -> None:
    """Whatever is delayed, cut, stopped or killed; and when that ends, one leads and all know it."""
    world = World(coordinators, agents=2)
    for client in world.clients:
        world.connect(client)
    for step in steps:
        interpret(world, step)
    world.settle(4.0 * LEASE_S)
    authors: dict[int, set[str]] = {}
    for agent in world.agents:
        terms = [plan.term for plan in agent.accepted]
        assert terms == sorted(terms)
        for plan in agent.accepted:
            authors.setdefault(plan.term, set()).add(plan.reason)
    assert all(len(of_term) == 1 for of_term in authors.values()), authors
    leaders = [each for each in world.coordinators if each.known.leads_at(world.now)]
    assert len(leaders) == 1
    assert {each.known.leader.session for each in world.coordinators if each.known.leader} == {
        leaders[0].known.own.session
    }
    for agent in world.agents:
        assert agent.plan is not None
        assert agent.plan.reason == leaders[0].known.own.session
