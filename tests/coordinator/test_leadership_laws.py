"""Any interleaving of delays, cuts, stops and kills under a model broker: agents never follow two leaders at once."""

from dataclasses import dataclass, field, replace

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_site import plan_message

from broker.messages import Leader, Plan
from broker.terms import follows
from coordinator.leadership import Candidate, Connected, Event, Heard, Leadership, TermSeen, Tick, apply

LEASE_S, HEARTBEAT_S = 6.0, 2.0
TICK_S = 0.25


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
