"""A plan while it is being found, turned into stages."""

from collections.abc import Mapping, Sequence

from coordinator.cost import Stage
from coordinator.distances import Visit
from coordinator.problem import Problem
from coordinator.routes import Route


def stages_of(problem: Problem, op_nodes: Sequence[int], routes: Mapping[int, Route]) -> tuple[Stage, ...]:
    """The stages that run op k on node `op_nodes[k]`, `routes` having the transfers by cut point."""
    starts = sorted({0, *routes})
    stops = [*starts[1:], problem.model.ops]
    return stages_along(
        problem,
        [Visit(op_nodes[start], start, stop, routes.get(start)) for start, stop in zip(starts, stops, strict=True)],
    )


def stages_along(problem: Problem, visits: Sequence[Visit]) -> tuple[Stage, ...]:
    """The stages of some visits, with the relays between them."""
    stages: list[Stage] = []
    for node, start, stop, route in visits:
        if route:
            stages += (Stage(problem.nodes[relay].name, start, start, route.codec) for relay in route.nodes[1:-1])
        stages.append(Stage(problem.nodes[node].name, start, stop, route.codec if route else None))
    return tuple(stages)
