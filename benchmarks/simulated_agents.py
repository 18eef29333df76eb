"""Many agents in one process, as a coordinator sees them: each an MQTT v5 client with what it says in a second.

Births and profiles are retained; a reading of a meter and one of a link a second, marked as out of a spool; what the
coordinator confirms is taken off again. They neither compute nor listen to each other. Run by `simulated_site.py`.
"""

import heapq
import json
import selectors
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final, NoReturn

import msgspec
from mqtt_packets import next_packet, packet, text

from broker.messages import (
    PROTOCOL_VERSION,
    EnergyReading,
    Hardware,
    LinkReading,
    NodeAnnouncement,
    NodeProfile,
    NodeStatus,
    PowerModel,
    SpoolMark,
    TelemetryStored,
)
from broker.topics import ENERGY, LINK, PROFILE, STATUS, STORED, M, Topic

SITE: Final = "control"
ORIGIN: Final = "agent0000"
PEERS: Final = 4
"""How many links each agent measures in turn, one of them that to the origin; the origin measures those to 64."""
PEERS_OF_THE_ORIGIN: Final = 64
MOVES: Final = 1 / 500
"""The share of a link's readings in which its bandwidth has moved by a third; else it is within 2 % of what it was."""
TICK_S: Final = 0.01
TELL_S: Final = 0.2
JOINS_PER_S: Final = 300.0
SESSION: Final = "simulated"
_STORED: Final = msgspec.json.Decoder(TelemetryStored)


@dataclass(frozen=True, slots=True)
class Orders:
    """What a process of agents is to do."""

    port: int
    first: int
    count: int
    agents: int
    """Of the whole site."""
    model: str
    ops: int


@dataclass(slots=True)
class Said:
    """What a process of agents has to say, five times a second; the counts since it began."""

    joined: bool = False
    energy: int = 0
    links: int = 0
    confirmed: int = 0
    confirmed_s: float = 0.0
    """How long a reading took at most until it was confirmed, or waits for it, since this was said before."""
    late_s: float = 0.0
    """How late a reading was sent at most since this was said before: then this process was the bottleneck."""
    silent: bool = False
    """Nothing more is said, and the counts are the last."""


@dataclass(slots=True)
class Agent:
    """One simulated agent."""

    name: str
    peers: tuple[str, ...]
    dice: Random
    connection: socket.socket
    mbps: dict[str, float]
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    sequence: int = 0
    readings: int = 0
    turn: int = 0
    packet: int = 0
    unconfirmed: deque[tuple[int, float]] = field(default_factory=deque)
    """Sequence numbers and when they were sent."""


def name_of(number: int) -> str:
    """What an agent is called."""
    return f"agent{number:04d}"


def peers_of(number: int, agents: int) -> tuple[str, ...]:
    """Whom an agent measures its links to: its neighbours and the origin, which measures those to the first agents."""
    most = PEERS_OF_THE_ORIGIN if number == 0 else PEERS
    near = [name_of((number + step) % agents) for step in range(1, most + 1)]
    own = name_of(number)
    ordered = near if number == 0 else [ORIGIN, *near]
    return tuple(peer for peer in dict.fromkeys(ordered) if peer != own)[:most]


def run(orders: Orders) -> None:
    """Join, one after the other, then speak once a second each, until the standard input ends."""
    said = Said()
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    agents: list[Agent] = []
    began = told = time.monotonic()
    due: list[tuple[float, str, Agent]] = []
    while True:
        now = time.monotonic()
        while len(agents) < min(orders.count, (now - began) * JOINS_PER_S):
            agent = joined(orders, orders.first + len(agents))
            selector.register(agent.connection, selectors.EVENT_READ, agent)
            agents.append(agent)
            heapq.heappush(due, (now + 1.0 + agent.dice.random(), agent.name, agent))
        said.joined = len(agents) == orders.count
        while due and due[0][0] <= now:
            at, name, agent = heapq.heappop(due)
            speak(agent, said, now)
            said.late_s = max(said.late_s, now - at)
            heapq.heappush(due, (at + 1.0, name, agent))
        for key, _ in selector.select(TICK_S):
            if key.data is None:
                said.silent = True
                print(json.dumps(msgspec.to_builtins(said)), flush=True)
                listen(selector, said)
            hear(key.data, said)
        if now - told >= TELL_S:
            told = now
            waiting_s = max((now - agent.unconfirmed[0][1] for agent in agents if agent.unconfirmed), default=0.0)
            said.confirmed_s = max(said.confirmed_s, waiting_s)
            print(json.dumps(msgspec.to_builtins(said)), flush=True)
            said.late_s = said.confirmed_s = 0.0


def listen(selector: selectors.BaseSelector, said: Said) -> NoReturn:
    """Send what is left, acknowledge what comes, and say no more; whoever began this process ends it."""
    selector.unregister(sys.stdin)
    while True:
        for key, _ in selector.select(1.0):
            send(key.data, b"")
            hear(key.data, said)


def joined(orders: Orders, number: int) -> Agent:
    """An agent that has connected and published its birth and its profile."""
    dice = Random(number)  # no secret
    connection = socket.create_connection(("127.0.0.1", orders.port), timeout=10.0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = name_of(number)
    peers = peers_of(number, orders.agents)
    agent = Agent(name, peers, dice, connection, {peer: dice.uniform(20.0, 200.0) for peer in peers})
    death = STATUS.encode(NodeStatus(node=name, session=SESSION, state="offline"))
    # Clean start, a will that is retained at QoS 1, no keep-alive, no properties.
    header = text(b"MQTT") + b"\x05\x2e\x00\x00\x00"
    body = header + text(name.encode()) + b"\x00" + text(STATUS.address(SITE, name).encode()) + text(death)
    connection.sendall(packet(0x10, body))
    answer = connection.recv(1_000)
    if answer[:1] != b"\x20" or answer[3] != 0:
        raise SystemExit(f"{name}: the broker refuses it")
    connection.setblocking(False)
    send(agent, packet(0x82, b"\x00\x01\x00" + text(STORED.address(SITE, name).encode()) + b"\x01"))
    agent.packet = 1
    publish(agent, STATUS, birth(agent), name)
    publish(agent, PROFILE, profile(agent, orders), name, orders.model)
    return agent


def birth(agent: Agent) -> NodeStatus:
    """That it is there."""
    announcement = NodeAnnouncement(
        tier="edge",
        version="0",
        protocol=PROTOCOL_VERSION,
        hardware=Hardware(
            architecture="none", cpu_model="none", cores=1, memory_mb=1_000.0, runtime="none", runtime_version="0"
        ),
        power=PowerModel(idle_w=2.7, busy_w=6.4),
        memory_mb=1_000.0,
        endpoint="tcp://127.0.0.1:1",
        emulated="a simulated agent of a benchmark",
    )
    return NodeStatus(
        node=agent.name, session=SESSION, state="online", announcement=announcement, connected_s=1.0, at=time.time()
    )


def profile(agent: Agent, orders: Orders) -> NodeProfile:
    """What each op takes there."""
    op_ms = tuple(agent.dice.uniform(0.5, 2.0) for _ in range(orders.ops))
    return NodeProfile(
        node=agent.name,
        model=orders.model,
        runtime="none",
        threads=1,
        op_ms=op_ms,
        op_ms_std=tuple(0.05 * ms for ms in op_ms),
        unsplit_ms=sum(op_ms),
        unsplit_ms_std=0.1,
        memory_mb=10.0,
        emulated="a simulated agent of a benchmark",
        at=time.time(),
    )


def speak(agent: Agent, said: Said, now: float) -> None:
    """A reading of its meter and one of the link whose turn it is."""
    at = time.time()
    agent.readings += 1
    reading = EnergyReading(
        node=agent.name,
        session=SESSION,
        sequence=agent.readings,
        at=at,
        energy_j=3.5 * agent.readings,
        power_w=3.5,
        interval_s=1.0,
        meter="model",
        source="modelled",
        scope="board",
        emulated=True,
        mark=mark(agent, now),
    )
    publish(agent, ENERGY, reading, agent.name)
    agent.turn = (agent.turn + 1) % len(agent.peers)
    dst = agent.peers[agent.turn]
    if agent.dice.random() < MOVES:
        agent.mbps[dst] *= agent.dice.choice((2 / 3, 3 / 2))
    link = LinkReading(
        src=agent.name,
        dst=dst,
        at=at,
        rtt_ms=3.5,
        rtt_ms_std=0.25,
        mbps=agent.mbps[dst] * agent.dice.uniform(0.98, 1.02),
        mbps_std=0.02 * agent.mbps[dst],
        method="probe",
        mark=mark(agent, now),
    )
    publish(agent, LINK, link, agent.name, dst)
    said.energy += 1
    said.links += 1


def mark(agent: Agent, now: float) -> SpoolMark:
    """The place of the next reading in its spool, which holds what is not confirmed."""
    agent.sequence += 1
    agent.unconfirmed.append((agent.sequence, now))
    return SpoolMark(session=SESSION, sequence=agent.sequence, oldest=agent.unconfirmed[0][0], age_s=0.01)


def publish(agent: Agent, topic: Topic[M], message: M, *levels: str) -> None:
    """A message at QoS 1."""
    agent.packet = agent.packet % 65_535 + 1
    head = text(topic.address(SITE, *levels).encode()) + struct.pack(">H", agent.packet) + b"\x00"
    send(agent, packet(0x33 if topic.retain else 0x32, head + topic.encode(message)))


def send(agent: Agent, data: bytes) -> None:
    """As much as the kernel takes now; the rest goes before what comes next."""
    agent.unsent += data
    if not agent.unsent:
        return
    try:
        sent = agent.connection.send(agent.unsent)
    except BlockingIOError:
        return
    del agent.unsent[:sent]


def hear(agent: Agent, said: Said) -> None:
    """What the broker says: acknowledgements, and what is stored."""
    try:
        data = agent.connection.recv(65_536)
    except BlockingIOError:
        return
    if not data:
        raise SystemExit(f"{agent.name}: the broker hung up")
    agent.received += data
    while (parsed := next_packet(agent.received)) is not None:
        kind, body = parsed
        if kind & 0xF0 == 0x30:
            length = struct.unpack_from(">H", body)[0]
            place = 2 + length
            if kind & 0x06:
                send(agent, b"\x40\x02" + body[place : place + 2])
                place += 2
            stored = _STORED.decode(body[place + 1 + body[place] :])
            while agent.unconfirmed and agent.unconfirmed[0][0] <= stored.sequence:
                said.confirmed_s = max(said.confirmed_s, time.monotonic() - agent.unconfirmed.popleft()[1])
                said.confirmed += 1


def main() -> None:
    """Read the orders, one argument, and carry them out."""
    run(msgspec.json.decode(sys.argv[1], type=Orders))


if __name__ == "__main__":
    main()
