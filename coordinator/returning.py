"""The way back of the result where its cost depends on the plan before it: under a risk, or for throughput.

Where the objective is a sum, the way is the same for all plans that end on one node: prices.ways_back.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import le

from coordinator.prices import EQUAL, Hop, Prices
from coordinator.problem import Problem


@dataclass(frozen=True, slots=True)
class Spent:
    """What of a plan decides its way back: its latency's mean and variance, its period, and each link's time."""

    ms: float
    variance_ms2: float
    period_ms: float
    link_ms: Mapping[tuple[int, int], float]
    """By node indices; a link that is left out has carried nothing."""


@dataclass(frozen=True, slots=True)
class _Way:
    nodes: tuple[int, ...]
    price: float
    ms: float
    variance_ms2: float
    period_ms: float


def best_way_back(problem: Problem, prices: Prices, last: int, spent: Spent) -> tuple[int, ...] | None:
    """The way from node `last` to the origin of least objective for the whole plan, and of equals the quickest.

    Node indices, both ends included; () on the origin itself, None where there is no way.
    """
    if last == problem.origin_index:
        return ()
    ways = _ways(problem, prices, last, spent)
    if not ways:
        return None
    judged = [(_objective(prices, way), _latency_ms(prices, way), way.nodes) for way in ways]
    least = min(objective for objective, _, _ in judged)
    equals = [found for found in judged if found[0] <= least + EQUAL * abs(least)]
    return min(equals, key=lambda found: found[1])[2]


def _objective(prices: Prices, way: _Way) -> float:
    return way.price + prices.std_ms * math.sqrt(way.variance_ms2) + prices.period_ms * way.period_ms


def _latency_ms(prices: Prices, way: _Way) -> float:
    return way.ms + prices.deviations * math.sqrt(way.variance_ms2)


def _ways(problem: Problem, prices: Prices, last: int, spent: Spent) -> list[_Way]:
    """The ways to the origin that no other beats in price, time, variance and the plan's period."""
    size = problem.model.cut_bytes[-1]
    leaving: dict[int, list[Hop]] = {}
    for hop in prices.hops:
        leaving.setdefault(hop.src, []).append(hop)
    kept: dict[int, list[_Way]] = {}
    frontier = [_Way((last,), 0.0, spent.ms, spent.variance_ms2, spent.period_ms)]
    while frontier:
        longer: list[_Way] = []
        for way in frontier:
            for hop in leaving.get(way.nodes[-1], ()):
                if hop.dst in way.nodes:
                    continue
                hop_ms = hop.fixed_ms + size * hop.ms_per_byte
                after = _Way(
                    (*way.nodes, hop.dst),
                    way.price + hop.fixed_price + size * hop.price_per_byte,
                    way.ms + hop_ms,
                    way.variance_ms2 + hop.fixed_variance_ms2 + size * size * hop.variance_ms2_per_byte2,
                    max(way.period_ms, spent.link_ms.get((hop.src, hop.dst), 0.0) + hop_ms),
                )
                if _keep(kept.setdefault(hop.dst, []), after) and hop.dst != problem.origin_index:
                    longer.append(after)
        frontier = longer
    return kept.get(problem.origin_index, [])


def _keep(kept: list[_Way], way: _Way) -> bool:
    """Add a way unless one that is kept is as good; drop those that it beats."""
    mine = _figures(way)
    if any(all(map(le, _figures(theirs), mine)) for theirs in kept):
        return False
    kept[:] = [theirs for theirs in kept if not all(map(le, mine, _figures(theirs)))]
    kept.append(way)
    return True


def _figures(way: _Way) -> tuple[float, ...]:
    return (way.price, way.ms, way.variance_ms2, way.period_ms)
