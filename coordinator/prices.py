"""What a millisecond and a megabyte cost in a problem's objective, on each node and link.

The objective is linear in them, so that every stage and hop has a price of its own; scoring a plan is cost's business.
"""

import heapq
import math
from dataclasses import dataclass

from coordinator.problem import BYTES_PER_MB, Problem

BITS_PER_BYTE = 8
BITS_PER_MBPS_MS = 1000  # 1 Mbit/s carries 1000 bits in a millisecond
MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Hop:
    """A link by the indices of its nodes: its time and its price, each a fixed part and one per byte sent."""

    src: int
    dst: int
    fixed_ms: float
    ms_per_byte: float
    fixed_price: float
    price_per_byte: float


@dataclass(frozen=True, slots=True)
class Prices:
    """The objective's prices: of 1 ms of compute on each node (in place of idling), and of each hop."""

    ms: float
    """The price of 1 ms of latency, the origin's idling included."""
    compute_ms: tuple[float, ...]
    """The price of 1 ms of compute on each node, its latency included."""
    hops: tuple[Hop, ...]


@dataclass(frozen=True, slots=True)
class WayBack:
    """The way of the result from a node to the origin, by node indices, both included; () on the origin itself."""

    nodes: tuple[int, ...]
    price: float
    ms: float


@dataclass(frozen=True, slots=True)
class OriginOnly:
    """The figures of the plan that runs everything on the origin, bounds ignored: what others are relative to."""

    latency_ms: float
    energy_j: float
    """Both the origin's and the total, since no other node takes part."""


def origin_only_figures(problem: Problem) -> OriginOnly:
    """The figures that the objective divides by; energy may be 0 where the objective does not weigh it."""
    origin = problem.nodes[problem.origin_index]
    latency_ms = sum(origin.op_ms) * origin.stretch
    return OriginOnly(latency_ms, origin.busy_w * latency_ms / MS_PER_S)


def prices_of(problem: Problem) -> Prices:
    """The prices that make the objective of any plan the sum over its stages, hops and way back."""
    reference, objective = origin_only_figures(problem), problem.objective
    of_latency = objective.latency / reference.latency_ms
    of_total_j = objective.total_energy / reference.energy_j if objective.total_energy else 0.0
    of_origin_j = objective.origin_energy / reference.energy_j if objective.origin_energy else 0.0
    origin = problem.origin_index
    of_node_j = [of_total_j + (of_origin_j if index == origin else 0.0) for index in range(len(problem.nodes))]
    ms = of_latency + of_node_j[origin] * problem.nodes[origin].idle_w / MS_PER_S
    index_of = {node.name: index for index, node in enumerate(problem.nodes)}
    hops = []
    for link in problem.links:
        src, dst = index_of[link.src], index_of[link.dst]
        fixed_ms, ms_per_byte = link.rtt_ms / 2, BITS_PER_BYTE / (BITS_PER_MBPS_MS * link.mbps)
        radio = of_node_j[src] * problem.nodes[src].tx_j_per_mb + of_node_j[dst] * problem.nodes[dst].rx_j_per_mb
        hops.append(Hop(src, dst, fixed_ms, ms_per_byte, ms * fixed_ms, ms * ms_per_byte + radio / BYTES_PER_MB))
    return Prices(
        ms=ms,
        compute_ms=tuple(
            ms + of_j * (node.busy_w - node.idle_w) / MS_PER_S
            for node, of_j in zip(problem.nodes, of_node_j, strict=True)
        ),
        hops=tuple(hops),
    )


def ways_back(problem: Problem, prices: Prices) -> list[WayBack | None]:
    """For each node, the way of the result to the origin that costs the objective least, and of these the quickest.

    None where there is no way.
    """
    size = problem.model.cut_bytes[-1]
    into: list[list[Hop]] = [[] for _ in problem.nodes]
    for hop in prices.hops:
        into[hop.dst].append(hop)
    found: list[WayBack | None] = [None] * len(problem.nodes)
    # Dijkstra backwards from the origin; the ordering (price, ms) makes ties go to the quickest.
    queue: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, (problem.origin_index,))]
    while queue:
        price, ms, nodes = heapq.heappop(queue)
        if found[nodes[0]] is not None:
            continue
        found[nodes[0]] = WayBack(nodes if len(nodes) > 1 else (), price, ms)
        for hop in into[nodes[0]]:
            if found[hop.src] is None:
                hop_price = hop.fixed_price + size * hop.price_per_byte
                hop_ms = hop.fixed_ms + size * hop.ms_per_byte
                heapq.heappush(queue, (price + hop_price, ms + hop_ms, (hop.src, *nodes)))
    return found


def within(value: float, bound: float | None) -> bool:
    """Whether a value keeps an upper bound, the rounding of sums forgiven."""
    return bound is None or value <= bound or math.isclose(value, bound, rel_tol=1e-9)
