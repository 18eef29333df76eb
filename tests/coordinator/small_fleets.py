"""Random fleets small enough to try every combination of plans, and the judge that tries them.

The judge is written from the cost model's text; it knows plans without codecs, over each direct link or one relay.
"""

import itertools
import math
import random
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from coordinator.fleet import Member
from coordinator.problem import Link, Model, Node, Objective, Problem

Floats = NDArray[np.float64]

OPS = {2: (3, 4, 5), 3: (2, 3), 4: (2,)}
OBJECTIVES = (
    Objective(latency=1.0),
    Objective(latency=1.0),
    Objective(latency=0.5, origin_energy=0.5),
    Objective(latency=0.3, origin_energy=0.4, total_energy=0.3),
)
PI = Node(name="pi", op_ms=(), idle_w=2.7, busy_w=6.4, tx_j_per_mb=0.1, rx_j_per_mb=0.1)
FOG = Node(name="fog", op_ms=(), idle_w=9.0, busy_w=28.0, tx_j_per_mb=0.1, rx_j_per_mb=0.1)
CLOUD = Node(name="cloud", op_ms=(), idle_w=45.0, busy_w=120.0, tx_j_per_mb=0.1, rx_j_per_mb=0.1)


def small_fleet(seed: int) -> list[Member]:
    """Two to four deployments, each with a slow origin of its own, that share a fog and a cloud node under pressure."""
    dice = random.Random(seed)  # no secret
    count = dice.choice((2, 2, 3, 4))
    ops = dice.choice(OPS[count])
    load = {name: dice.choice((0.0, 0.0, 0.2, 0.4)) for name in ("fog", "cloud")}
    memory_mb = {name: dice.choice((None, None, None, dice.uniform(2, 2 * ops * count))) for name in load}
    shared = [
        msgspec.structs.replace(FOG, load=load["fog"], memory_mb=memory_mb["fog"]),
        msgspec.structs.replace(CLOUD, load=load["cloud"], memory_mb=memory_mb["cloud"]),
    ]
    return [_member(dice, number, ops, shared) for number in range(count)]


def _member(dice: random.Random, number: int, ops: int, shared: list[Node]) -> Member:
    origin = msgspec.structs.replace(PI, name=f"pi{number}")
    shape = [dice.uniform(2, 20) for _ in range(ops)]
    speeds = (dice.uniform(1, 4), 0.4, 0.2)
    nodes = [
        msgspec.structs.replace(node, op_ms=tuple(ms * speed * dice.uniform(0.7, 1.4) for ms in shape))
        for node, speed in zip((origin, *shared), speeds, strict=True)
    ]
    problem = Problem(
        model=Model(
            cut_bytes=tuple(dice.uniform(1e3, 3e5) for _ in range(ops + 1)),
            weight_mb=tuple(dice.uniform(0.1, 4) for _ in range(ops)),
        ),
        origin=origin.name,
        objective=dice.choice(OBJECTIVES),
        nodes=tuple(nodes),
        links=tuple(
            Link(src=src.name, dst=dst.name, rtt_ms=dice.uniform(1, 10), mbps=dice.uniform(20, 200))
            for src, dst in itertools.permutations(nodes, 2)
        ),
    )
    return Member(f"deployment{number}", problem, dice.choice((10.0, 40.0, 80.0, 160.0)) / ops)


class _Plans(NamedTuple):
    """All plans of a member, a row each; of compute and weights a column for each of its three nodes."""

    compute_ms: Floats
    weight_mb: Floats
    price: Floats
    """The part of the objective that no load changes."""
    compute_price: Floats
    """Of a stretched ms on each node."""


def _plans(member: Member) -> _Plans:
    problem, objective = member.problem, member.problem.objective
    origin, ops = problem.nodes[0], problem.model.ops
    alone_ms = sum(origin.op_ms) / (1 - origin.load)
    per_ms = objective.latency / alone_ms
    per_origin_j = objective.origin_energy / (origin.busy_w * alone_ms / 1000)
    per_total_j = objective.total_energy / (origin.busy_w * alone_ms / 1000)
    latency_price = per_ms + (per_origin_j + per_total_j) * origin.idle_w / 1000
    node_j = [per_origin_j + per_total_j, per_total_j, per_total_j]
    compute_price = [
        latency_price + price * (node.busy_w - node.idle_w) / 1000
        for node, price in zip(problem.nodes, node_j, strict=True)
    ]
    index = {node.name: number for number, node in enumerate(problem.nodes)}
    links = {(index[link.src], index[link.dst]): link for link in problem.links}

    def hop(src: int, dst: int, size: float) -> float:
        link = links[src, dst]
        radio_j = node_j[src] * problem.nodes[src].tx_j_per_mb + node_j[dst] * problem.nodes[dst].rx_j_per_mb
        return latency_price * (link.rtt_ms / 2 + 8 * size / (1000 * link.mbps)) + radio_j * size / 1e6

    def carry(src: int, dst: int, size: float) -> float:
        if src == dst:
            return 0.0
        relay = ({0, 1, 2} - {src, dst}).pop()
        return min(hop(src, dst, size), hop(src, relay, size) + hop(relay, dst, size))

    rows = list(itertools.product(range(3), repeat=ops))
    sizes = problem.model.cut_bytes
    prices = [
        sum(carry(src, dst, size) for src, dst, size in zip((0, *row), (*row, 0), sizes, strict=True)) for row in rows
    ]
    taken = [
        [sum(node.op_ms[op] for op in range(ops) if row[op] == at) for at, node in enumerate(problem.nodes)]
        for row in rows
    ]
    weights = [
        [sum(problem.model.weight_mb[op] for op in range(ops) if row[op] == node) for node in range(3)] for row in rows
    ]
    return _Plans(np.array(taken), np.array(weights), np.array(prices), np.array(compute_price))


def best_joint_objective(members: list[Member]) -> float:
    """The least sum of objectives over every combination of plans; infinite where none keeps the bounds."""
    plans = [_plans(member) for member in members]
    rates = [member.requests_per_s / 1000 for member in members]
    chosen = [rows.ravel() for rows in np.meshgrid(*(np.arange(len(own.price)) for own in plans), indexing="ij")]
    objective = np.zeros(len(chosen[0]))
    kept = np.ones(len(chosen[0]), dtype=bool)
    for own, rate, rows in zip(plans, rates, chosen, strict=True):
        objective += own.price[rows] + own.compute_price[0] * own.compute_ms[rows, 0]
        kept &= own.compute_ms[rows, 0] * rate < 1
    for at, node in ((1, members[0].problem.nodes[1]), (2, members[0].problem.nodes[2])):
        use = [own.compute_ms[rows, at] * rate for own, rate, rows in zip(plans, rates, chosen, strict=True)]
        total = node.load + sum(use)
        kept &= total < 1
        if node.memory_mb is not None:
            kept &= sum(own.weight_mb[rows, at] for own, rows in zip(plans, chosen, strict=True)) <= node.memory_mb
        with np.errstate(divide="ignore"):
            for own, rows, mine in zip(plans, chosen, use, strict=True):
                objective += own.compute_price[at] * own.compute_ms[rows, at] / (1 - (total - mine))
    return float(objective[kept].min(initial=math.inf))
