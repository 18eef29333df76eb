"""The exact planner: the plan of least objective, over all nodes, orders, relays, codecs and bounds.

Without bounds it is a shortest path over (cut point, node). Where that plan breaks a bound, bounded takes over.
"""

import math
from collections.abc import Sequence

from coordinator.bounded import plan_within_bounds
from coordinator.cost import PartitionPlan, Stage, broken_bound, evaluate
from coordinator.prices import Prices, WayBack, prices_of, ways_back
from coordinator.problem import Problem
from coordinator.routes import Route, routes_of
from coordinator.walk import stages_of


def plan(problem: Problem) -> PartitionPlan:
    """The plan that keeps all bounds at the least objective. PlanInfeasibleError if none keeps them."""
    prices = prices_of(problem)
    back = ways_back(problem, prices)
    stages = _cheapest_stages(problem, prices, back)
    score = evaluate(problem, stages)
    if broken_bound(problem, stages, score) is None:
        return PartitionPlan(stages, score)
    return plan_within_bounds(problem, prices, back)


def _cheapest_stages(problem: Problem, prices: Prices, back: Sequence[WayBack | None]) -> tuple[Stage, ...]:
    """The plan of least objective, bounds ignored: a shortest path, cut point by cut point."""
    model, nodes = problem.model, range(len(problem.nodes))
    routes = routes_of(problem, prices, quick_ones=False)
    into = [
        [(src, _transfer_prices(problem, alternatives)) for (src, dst), alternatives in routes.items() if dst == node]
        for node in nodes
    ]
    compute = [
        [ms * node.stretch * price for ms in node.op_ms]
        for node, price in zip(problem.nodes, prices.compute_ms, strict=True)
    ]
    spent = [math.inf] * len(nodes)
    spent[problem.origin_index] = 0.0
    came_from: list[list[int]] = []
    for op in range(model.ops):
        after: list[float] = []
        chosen: list[int] = []
        for node in nodes:
            best, best_src = spent[node], node
            for src, transfer in into[node]:
                price = spent[src] + transfer[op]
                if price < best:
                    best, best_src = price, src
            after.append(best + compute[node][op])
            chosen.append(best_src)
        spent = after
        came_from.append(chosen)
    node = min(nodes, key=lambda last: spent[last] + _price(back[last]))
    op_nodes: list[int] = []
    taken: dict[int, Route] = {}
    for op in range(model.ops - 1, -1, -1):
        op_nodes.append(node)
        src = came_from[op][node]
        if src != node:
            size = model.cut_bytes[op]
            taken[op] = min(routes[src, node], key=lambda route: route.price(size))
            node = src
    return stages_of(problem, op_nodes[::-1], taken)


def _transfer_prices(problem: Problem, alternatives: Sequence[Route]) -> list[float]:
    """The price of the best of some routes at each cut point 0..N-1; infinite where the model cannot be cut."""
    sizes = problem.model.cut_bytes[:-1]
    first, *others = alternatives
    best = [first.fixed_price + size * first.price_per_byte for size in sizes]
    for route in others:
        best = [
            min(price, route.fixed_price + size * route.price_per_byte) for price, size in zip(best, sizes, strict=True)
        ]
    for cut in problem.model.forbidden_cuts:
        best[cut] = math.inf
    return best


def _price(back: WayBack | None) -> float:
    return back.price if back else math.inf
