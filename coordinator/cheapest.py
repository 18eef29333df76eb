"""The plan of least price where prices are all that counts: a shortest path over (cut point, node), op by op.

Bounds, deviations and the period are for others; this is the quickest of them, since most plans need no more.
"""

import math

from coordinator.cost import Stage
from coordinator.prices import Prices, WayBack, ways_back
from coordinator.problem import Problem
from coordinator.routes import Route, Routes
from coordinator.walk import stages_of


def cheapest_stages(problem: Problem, prices: Prices) -> tuple[Stage, ...]:
    """The stages of the plan of least price."""
    model, nodes = problem.model, range(len(problem.nodes))
    routes = Routes(problem, prices, quick_ones=False)
    into = [[(src, routes.least_prices((src, dst))) for src, dst in routes.pairs if dst == node] for node in nodes]
    compute = []
    for machine, of_ms in zip(problem.nodes, prices.compute_ms, strict=True):
        of_op_ms = machine.stretch * of_ms
        compute.append([ms * of_op_ms for ms in machine.op_ms])
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
    back = ways_back(problem, prices)
    node = min(nodes, key=lambda last: spent[last] + _price(back[last]))
    op_nodes: list[int] = []
    taken: dict[int, Route] = {}
    for op in range(model.ops - 1, -1, -1):
        op_nodes.append(node)
        src = came_from[op][node]
        if src != node:
            taken[op] = routes.cheapest((src, node), op)
            node = src
    return stages_of(problem, op_nodes[::-1], taken)


def _price(back: WayBack | None) -> float:
    return back.price if back else math.inf
