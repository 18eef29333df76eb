"""The busiest stage or hop that a rest of a plan must have: what its period is at the least.

Exact for plans that use no node and no link twice.
"""

import math

from coordinator.distances import Reach
from coordinator.routes import Pair
from coordinator.steps import Steps


def bottlenecks(steps: Steps, reach: Reach) -> list[list[float]]:
    """The least period, in ms, of what comes after tensors arrive, by node and cut."""
    ops = steps.ops
    sent = [(*pair, _least_uses(steps, pair)) for pair in steps.transfers]
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
        for src, dst, uses in sent:
            leaving[src][cut] = min(leaving[src][cut], max(uses[cut], arriving[dst][cut]))
    return arriving


def _least_uses(steps: Steps, pair: Pair) -> list[float]:
    """How long the busiest node or link is in use at each cut 0..N-1 by the transfer that keeps it so the least."""
    sizes = steps.sizes[:-1]
    best = [math.inf] * steps.ops
    for transfer in steps.transfers[pair]:
        uses = zip(transfer.fixed[steps.uses_from :], transfer.per_byte[steps.uses_from :], strict=True)
        busy = [(fixed, per_byte) for fixed, per_byte in uses if fixed or per_byte]
        for cut, size in enumerate(sizes):
            if size <= transfer.most_bytes:
                best[cut] = min(best[cut], max([fixed + size * per_byte for fixed, per_byte in busy], default=0.0))
    for cut, sent in steps.at_cut[pair].items():
        best[cut] = min([best[cut], *(max(figures[steps.uses_from :], default=0.0) for figures, _ in sent)])
    for cut in steps.forbidden:
        best[cut] = math.inf
    return best
