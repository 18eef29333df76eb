"""The busiest stage or hop that a rest of a plan must have: what its period is at the least.

Exact for plans that use no node and no link twice.
"""

import math

from coordinator.distances import Reach
from coordinator.steps import Steps


def bottlenecks(steps: Steps, reach: Reach) -> list[list[float]]:
    """The least period, in ms, of what comes after tensors arrive, by node and cut."""
    ops = steps.ops
    sent = [_uses(steps, cut) for cut in range(ops)]
    leaving = [[math.inf] * (ops + 1) for _ in steps.nodes]
    arriving = [[math.inf] * (ops + 1) for _ in steps.nodes]
    for node, ways in enumerate(steps.ways_back):
        leaving[node][ops] = min((max(way[steps.uses_from :]) for way in ways), default=math.inf)
    for cut in range(ops - 1, -1, -1):
        for node, before in enumerate(steps.ms_before):
            limit = reach[node]
            last = limit[cut] if limit else ops
            least = math.inf
            for stop in range(cut + 1, last + 1):
                took = before[stop] - before[cut]
                if took >= least:
                    break
                least = min(least, max(took, leaving[node][stop]))
            arriving[node][cut] = least
        for src, dst, use in sent[cut]:
            leaving[src][cut] = min(leaving[src][cut], max(use, arriving[dst][cut]))
    return arriving


def _uses(steps: Steps, cut: int) -> list[tuple[int, int, float]]:
    """From where, to where, and how long the busiest node or link is in use by each transfer at a cut."""
    return [(src, arc.node, max(arc.figures[steps.uses_from :])) for src in steps.nodes for arc in steps.arcs(cut)[src]]
