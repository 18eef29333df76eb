"""What a millisecond and a megabyte cost in a problem's objective, on each node and link.

All but two figures are linear in them, so that every stage and hop has a price of its own; the whole plan's standard
deviation and period have one price each. Scoring a plan is cost's business.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from coordinator.problem import BYTES_PER_MB, Problem
from coordinator.spread import compute_variance_ms2, deviations, link_variances, quantile_ms, spread_counts

BITS_PER_BYTE = 8
BITS_PER_MBPS_MS = 1000  # 1 Mbit/s carries 1000 bits in a millisecond
MS_PER_S = 1000
EQUAL = 1e-12
"""Prices and objectives this close, relatively, are equal: sums in another order differ in the last digits."""


@dataclass(frozen=True, slots=True)
class Hop:
    """A link by the indices of its nodes: its time and its price, each a fixed part and one per byte sent.

    Its variance has a fixed part in ms^2 and one per square of the bytes sent.
    """

    src: int
    dst: int
    fixed_ms: float
    ms_per_byte: float
    fixed_price: float
    price_per_byte: float
    fixed_variance_ms2: float
    variance_ms2_per_byte2: float


@dataclass(frozen=True, slots=True)
class Prices:
    """The objective's prices: of 1 ms of compute on each node (in place of idling), of each hop, and of the whole."""

    ms: float
    """The price of 1 ms of latency, the origin's idling included."""
    compute_ms: tuple[float, ...]
    """The price of 1 ms of compute on each node, its latency included."""
    hops: tuple[Hop, ...]
    std_ms: float
    """The price of 1 ms of the latency's standard deviation; 0 where the mean counts, or all times are certain."""
    period_ms: float
    """The price of 1 ms of the period."""
    deviations: float
    """How many standard deviations above its mean a latency counts; 0 where all times are certain."""

    @property
    def additive(self) -> bool:
        """Whether the objective and the latency that counts are sums over a plan's stages, hops and way back."""
        return not self.deviations and not self.period_ms


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
    """Its mean; the period too, since one node does it all."""
    latency_quantile_ms: float
    energy_j: float
    """Both the origin's and the total, since no other node takes part."""


def origin_only_figures(problem: Problem) -> OriginOnly:
    """The figures that the objective divides by; energy may be 0 where the objective does not weigh it."""
    origin = problem.nodes[problem.origin_index]
    latency_ms = sum(origin.op_ms) * origin.stretch
    variance_ms2 = compute_variance_ms2(origin, 0, len(origin.op_ms))
    return OriginOnly(
        latency_ms, quantile_ms(latency_ms, variance_ms2, problem.risk), origin.busy_w * latency_ms / MS_PER_S
    )


def prices_of(problem: Problem) -> Prices:
    """The prices that make a plan's objective the sum over its stages, hops and way back, its deviation and period."""
    reference, objective = origin_only_figures(problem), problem.objective
    of_latency = objective.latency / reference.latency_quantile_ms
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
        fixed_price, price_per_byte = ms * fixed_ms, ms * ms_per_byte + radio / BYTES_PER_MB
        hops.append(
            Hop(src, dst, fixed_ms, ms_per_byte, fixed_price, price_per_byte, *link_variances(link, ms_per_byte))
        )
    above_mean = deviations(problem.risk) if spread_counts(problem) else 0.0
    return Prices(
        ms=ms,
        compute_ms=tuple(
            ms + of_j * (node.busy_w - node.idle_w) / MS_PER_S
            for node, of_j in zip(problem.nodes, of_node_j, strict=True)
        ),
        hops=tuple(hops),
        std_ms=of_latency * above_mean,
        period_ms=objective.throughput / reference.latency_ms,
        deviations=above_mean,
    )


def ways_back(problem: Problem, prices: Prices) -> list[WayBack | None]:
    """For each node, the way of the result to the origin of least price, and of these the quickest.

    None where there is no way. Where the prices are not additive the best way depends on the plan before it:
    returning decides it.
    """
    size, count = problem.model.cut_bytes[-1], len(problem.nodes)
    priced = [(hop, hop.fixed_price + size * hop.price_per_byte) for hop in prices.hops]
    least = [cost for cost, _ in _to_origin(problem.origin_index, count, priced)]
    cheapest = [
        (hop, hop.fixed_ms + size * hop.ms_per_byte)
        for hop, price in priced
        if price + least[hop.dst] <= least[hop.src] + EQUAL * least[hop.src] < math.inf
    ]
    quickest = _to_origin(problem.origin_index, count, cheapest)
    return [
        WayBack(nodes if len(nodes) > 1 else (), price, ms) if nodes else None
        for price, (ms, nodes) in zip(least, quickest, strict=True)
    ]


def _to_origin(origin: int, count: int, costs: Iterable[tuple[Hop, float]]) -> list[tuple[float, tuple[int, ...]]]:
    """For each node, the least cost of a way to the origin and its nodes; infinite and none where there is no way."""
    into: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for hop, cost in costs:
        into[hop.dst].append((hop.src, cost))
    found: list[tuple[float, tuple[int, ...]]] = [(math.inf, ())] * count
    queue: list[tuple[float, tuple[int, ...]]] = [(0.0, (origin,))]
    while queue:
        cost, nodes = heapq.heappop(queue)
        if found[nodes[0]][1]:
            continue
        found[nodes[0]] = cost, nodes
        for src, more in into[nodes[0]]:
            if not found[src][1]:
                heapq.heappush(queue, (cost + more, (src, *nodes)))
    return found


def within(value: float, bound: float | None) -> bool:
    """Whether a value keeps an upper bound, the rounding of sums forgiven."""
    return bound is None or value <= bound or math.isclose(value, bound, rel_tol=1e-9)
