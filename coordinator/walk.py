"""A plan while it is being found: the node of each op and the route of each transfer, turned into stages."""

from collections.abc import Mapping, Sequence

from coordinator.cost import Stage
from coordinator.problem import Problem
from coordinator.routes import Route


def stages_of(problem: Problem, op_nodes: Sequence[int], routes: Mapping[int, Route]) -> tuple[Stage, ...]:
    """The stages that run op k on node `op_nodes[k]`, `routes` having the transfers by cut point."""
    stages: list[Stage] = []
    starts = sorted({0, *routes})
    for start, stop in zip(starts, [*starts[1:], problem.model.ops], strict=True):
        route = routes.get(start)
        if route:
            stages += (Stage(problem.nodes[relay].name, start, start, route.codec) for relay in route.nodes[1:-1])
        stages.append(Stage(problem.nodes[op_nodes[start]].name, start, stop, route.codec if route else None))
    return tuple(stages)
