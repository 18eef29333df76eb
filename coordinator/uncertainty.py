"""How far the difference between two plans may be off, as far as links and loads are not known for sure.

The beliefs and their spread are `coordinator.estimates`' part.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from coordinator.cost import PartitionPlan, Stage
from coordinator.estimates import LINK_DRIFT, LOAD_DRIFT
from coordinator.fleet_load import compute_ms, transfers
from coordinator.prices import BITS_PER_BYTE, BITS_PER_MBPS_MS, prices_of
from coordinator.problem import Problem
from coordinator.site import Pair, State, load_of


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a plan's latency is made of, in ms: compute on each node, and bytes and round trips on each link."""

    nodes: Mapping[str, float]
    bytes_ms: Mapping[Pair, float]
    hops: Mapping[Pair, int]


def exposure(problem: Problem, stages: Sequence[Stage], way_back: Sequence[str]) -> Exposure:
    """What a plan is exposed to."""
    links = {(link.src, link.dst): link for link in problem.links}
    stretch = {node.name: node.stretch for node in problem.nodes}
    bytes_ms: dict[Pair, float] = {}
    hops: dict[Pair, int] = {}
    carried = [(each.path, each.sent_bytes) for each in transfers(problem, stages)]
    for path, size in (*carried, (tuple(way_back), problem.model.cut_bytes[-1])):
        for pair in pairwise(path):
            ms = BITS_PER_BYTE * size / (BITS_PER_MBPS_MS * links[pair].mbps)
            bytes_ms[pair] = bytes_ms.get(pair, 0.0) + ms
            hops[pair] = hops.get(pair, 0) + 1
    nodes = {name: ms * stretch[name] for name, ms in compute_ms(problem, stages).items() if ms}
    return Exposure(nodes, bytes_ms, hops)


def difference_std(problem: Problem, state: State, one: PartitionPlan, other: PartitionPlan, now: float) -> float:
    """The standard deviation of the difference between two plans' objective values.

    To first order: a link that is slower by 1 % moves the difference by 1 % of the bytes' time that only one of the
    plans spends on it, and so for loads. Energy counts with its share of a ms; links and loads are independent.
    """
    a, b = (exposure(problem, plan.stages, plan.score.way_back) for plan in (one, other))
    variance_ms2 = 0.0
    for pair in a.hops.keys() | b.hops.keys():
        belief = state.links[pair].belief
        ms = a.bytes_ms.get(pair, 0.0) - b.bytes_ms.get(pair, 0.0)
        hops = a.hops.get(pair, 0) - b.hops.get(pair, 0)
        variance_ms2 += ms**2 * belief.bandwidth.variance_at(now, LINK_DRIFT)
        variance_ms2 += (hops * belief.rtt_ms_std(now) / 2.0) ** 2
    for name in a.nodes.keys() | b.nodes.keys():
        ms = a.nodes.get(name, 0.0) - b.nodes.get(name, 0.0)
        variance_ms2 += ms**2 * load_of(state.nodes[name], state).stretch.variance_at(now, LOAD_DRIFT)
    prices = prices_of(problem)
    return (prices.ms + prices.period_ms) * math.sqrt(variance_ms2)
