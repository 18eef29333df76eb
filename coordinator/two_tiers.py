"""A model on two nodes, the origin and one other: what every single cut between them costs, one table for each other.

Which cut is taken is left to the strategies that know two tiers only.
"""

import itertools
from dataclasses import dataclass

import msgspec

from coordinator.cost import Stage
from coordinator.prices import prices_of, ways_back
from coordinator.problem import Objective, Problem
from coordinator.routes import Route, Routes
from coordinator.walk import stages_of

ORIGIN_ONLY = 1.0
"""What all ops on the origin cost: the objective is relative to it."""


@dataclass(frozen=True, slots=True)
class TwoTiers:
    """The origin and one other node; all costs are shares of an objective, as `prices` has them."""

    problem: Problem
    other: int
    """The other node's index."""
    here: list[float]
    """Of each op on the origin."""
    there: list[float]
    """Of each op on the other node."""
    transfer: list[float]
    """Of the transfer at each cut point 0..N-1, by the best route; infinite where the model cannot be cut."""
    routes: list[Route]
    """The best route at each cut point 0..N-1."""
    back: float
    """Of the result's way back from the other node."""

    @property
    def done_here(self) -> list[float]:
        """By cut point 0..N: the cost of all ops before it on the origin."""
        return [0.0, *itertools.accumulate(self.here)]

    @property
    def left_there(self) -> list[float]:
        """By cut point 0..N: the cost of all ops from it on, on the other node."""
        return [*itertools.accumulate(reversed(self.there), initial=0.0)][::-1]

    def stages(self, cut: int) -> tuple[Stage, ...]:
        """The plan that runs the ops before `cut`, at most N-1, on the origin and the rest on the other node."""
        op_nodes = [self.problem.origin_index] * cut + [self.other] * (self.problem.model.ops - cut)
        return stages_of(self.problem, op_nodes, {cut: self.routes[cut]})


def two_tiers(problem: Problem, objective: Objective) -> list[TwoTiers]:
    """The origin with each other node that it can reach and that can return, priced by an objective.

    Relays and the links between them count as the one network that the methods with two tiers know.
    """
    priced = msgspec.structs.replace(problem, objective=objective, risk=None)
    prices, model, origin = prices_of(priced), problem.model, problem.origin_index
    back = ways_back(priced, prices)
    compute = [
        [ms * node.stretch * price for ms in node.op_ms]
        for node, price in zip(problem.nodes, prices.compute_ms, strict=True)
    ]
    tables = []
    routes = Routes(priced, prices, quick_ones=False)
    for pair in routes.pairs:
        src, dst = pair
        way_back = back[dst]
        if src != origin or way_back is None:
            continue
        best = [routes.cheapest(pair, cut) for cut in range(model.ops)]
        transfer = routes.least_prices(pair)
        tables.append(TwoTiers(problem, dst, compute[origin], compute[dst], transfer, best, way_back.price))
    return tables
