"""Says why a model's weights do not fit on the nodes, and what is missing; the planner finds that they do not."""

import math
from collections.abc import Sequence

from coordinator.prices import WayBack, within
from coordinator.problem import Node, Problem


def not_enough_memory(problem: Problem, back: Sequence[WayBack | None]) -> str | None:
    """One sentence if the weights exceed all memory within reach, or a part that cannot be cut exceeds each node's."""
    reach = _within_reach(problem, back)
    total_mb, room_mb = math.fsum(problem.model.weight_mb), math.fsum(map(_room_mb, reach))
    if not within(total_mb, room_mb):
        return (
            f"the model's weights are {total_mb:.6g} MB, but the memory_mb of the nodes within reach adds up to "
            f"{room_mb:.6g} ({_listing(reach)}): {total_mb - room_mb:.6g} MB are missing"
        )
    block_mb, start, stop = max(_blocks(problem))
    largest_mb = max(map(_room_mb, reach))
    if not within(block_mb, largest_mb):
        subject = f"op {start} weighs" if stop == start + 1 else f"ops [{start}, {stop}) cannot be cut apart and weigh"
        return (
            f"{subject} {block_mb:.6g} MB, but the largest memory_mb within reach is {largest_mb:.6g} "
            f"({_listing(reach)}): {block_mb - largest_mb:.6g} MB are missing"
        )
    return None


def memory_shortage(problem: Problem, back: Sequence[WayBack | None]) -> str:
    """One sentence for a problem whose weights fit in sum but not op by op: what would do."""
    reach = _within_reach(problem, back)
    blocks_mb = [block_mb for block_mb, _, _ in _blocks(problem)]
    more_mb, name = min((_more_mb(node, reach, blocks_mb), node.name) for node in reach)
    return (
        f"the ops cannot be shared out so that each node keeps its memory_mb ({_listing(reach)}), although the "
        f"weights of {sum(blocks_mb):.6g} MB fit in sum: {more_mb:.6g} MB more on {name!r} would do"
    )


def _blocks(problem: Problem) -> list[tuple[float, int, int]]:
    """The parts that cannot be cut: their weights in MB, their first op and the op after their last."""
    weights = problem.model.weight_mb or (0.0,) * problem.model.ops
    starts = [0, *sorted(set(range(1, problem.model.ops)) - set(problem.model.forbidden_cuts))]
    stops = [*starts[1:], problem.model.ops]
    return [(math.fsum(weights[start:stop]), start, stop) for start, stop in zip(starts, stops, strict=True)]


def _listing(nodes: Sequence[Node]) -> str:
    return ", ".join(f"{node.name} {_room_mb(node):.6g}" for node in nodes)


def _within_reach(problem: Problem, back: Sequence[WayBack | None]) -> list[Node]:
    """The nodes that the origin's tensors can get to and whose result can get back."""
    found = {problem.origin}
    frontier = [problem.origin]
    while frontier:
        name = frontier.pop()
        for link in problem.links:
            if link.src == name and link.dst not in found:
                found.add(link.dst)
                frontier.append(link.dst)
    return [node for node, way in zip(problem.nodes, back, strict=True) if way and node.name in found]


def _more_mb(node: Node, reach: Sequence[Node], blocks_mb: Sequence[float]) -> float:
    """What a node lacks to take the blocks that the others do not: largest first, each to the fullest fit."""
    rooms = [_room_mb(other) for other in reach if other is not node]
    rest_mb = 0.0
    for block_mb in sorted(blocks_mb, reverse=True):
        fits = [index for index, room in enumerate(rooms) if block_mb <= room]
        if fits:
            rooms[min(fits, key=rooms.__getitem__)] -= block_mb
        else:
            rest_mb += block_mb
    return rest_mb - _room_mb(node)


def _room_mb(node: Node) -> float:
    return math.inf if node.memory_mb is None else node.memory_mb
