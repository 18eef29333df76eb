"""The steps that any plan of a problem is made of, with their price and time, and shortest paths over them.

Bounds are not known here; the search and the relaxation that use these tables know them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.prices import Prices, WayBack, within
from coordinator.problem import Problem
from coordinator.routes import Route, routes_of

Step = tuple[int, float, float, Route | None]
"""From one op to the next: the node of the next op, the price and the ms of the transfer, its route if there is one."""


@dataclass(frozen=True, slots=True)
class Weighting:
    """What a shortest path counts: its price, its ms, and the MB that it stores on each node that is tight."""

    price: float
    ms: float
    stored_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a plan, or a part of one, comes to."""

    price: float
    ms: float
    stored_mb: tuple[float, ...]
    """Weights on each tight node."""


class Steps:
    """The tables of one problem, by node index; a node is tight if it cannot hold all weights."""

    def __init__(self, problem: Problem, prices: Prices, back: Sequence[WayBack | None]) -> None:
        model = problem.model
        self.ops = model.ops
        self.back = back
        self.origin = problem.origin_index
        self.compute_ms = [[ms * node.stretch for ms in node.op_ms] for node in problem.nodes]
        self.compute_price = [
            [ms * price for ms in row] for row, price in zip(self.compute_ms, prices.compute_ms, strict=True)
        ]
        self.weight_mb = model.weight_mb or (0.0,) * model.ops
        total_mb = math.fsum(self.weight_mb)
        self.tight = [index for index, node in enumerate(problem.nodes) if not within(total_mb, node.memory_mb)]
        self.slot = [self.tight.index(node) if node in self.tight else None for node in range(len(problem.nodes))]
        self._routes = routes_of(problem, prices, quick_ones=True)
        self.at = [self._at(problem, cut) for cut in range(model.ops)]

    def _at(self, problem: Problem, cut: int) -> list[list[Step]]:
        """For each node, the steps at a cut: to stay, and the transfers that none beats in both price and time."""
        steps: list[list[Step]] = [[(node, 0.0, 0.0, None)] for node in range(len(problem.nodes))]
        if cut in problem.model.forbidden_cuts:
            return steps
        size = problem.model.cut_bytes[cut]
        for (src, dst), routes in self._routes.items():
            quickest = math.inf
            priced = sorted(((route.price(size), route.ms(size), route) for route in routes), key=lambda it: it[:2])
            for price, ms, route in priced:
                if ms < quickest:
                    quickest = ms
                    steps[src].append((dst, price, ms, route))
        return steps

    def least_to_go(self, weighting: Weighting) -> list[list[float]]:
        """For each number of ops done and each node, the least of a weighting up to the end and back at the origin."""
        to_go = [[weighting.price * back.price + weighting.ms * back.ms if back else math.inf for back in self.back]]
        of_mb = [0.0 if slot is None else weighting.stored_mb[slot] for slot in self.slot]
        for op in range(self.ops - 1, -1, -1):
            weight_mb = self.weight_mb[op]
            run = [
                weighting.price * price[op] + weighting.ms * ms[op] + mb * weight_mb + later
                for ms, price, mb, later in zip(self.compute_ms, self.compute_price, of_mb, to_go[-1], strict=True)
            ]
            to_go.append(
                [
                    min(weighting.price * price + weighting.ms * ms + run[dst] for dst, price, ms, _ in steps)
                    for steps in self.at[op]
                ]
            )
        return to_go[::-1]

    def usage(self, weighting: Weighting, to_go: Sequence[Sequence[float]]) -> Usage:
        """What the plan comes to that a table of `least_to_go` is of, from the origin on."""
        node = self.origin
        price, ms = 0.0, 0.0
        stored_mb = [0.0] * len(self.tight)
        for op in range(self.ops):

            def after(step: Step, op: int = op) -> float:
                slot = self.slot[step[0]]
                run = weighting.price * self.compute_price[step[0]][op] + weighting.ms * self.compute_ms[step[0]][op]
                held = 0.0 if slot is None else weighting.stored_mb[slot] * self.weight_mb[op]
                return weighting.price * step[1] + weighting.ms * step[2] + run + held + to_go[op + 1][step[0]]

            node, step_price, step_ms, _ = min(self.at[op][node], key=after)
            price += step_price + self.compute_price[node][op]
            ms += step_ms + self.compute_ms[node][op]
            slot = self.slot[node]
            if slot is not None:
                stored_mb[slot] += self.weight_mb[op]
        back = self.back[node]
        if back:
            price, ms = price + back.price, ms + back.ms
        return Usage(price, ms, tuple(stored_mb))
