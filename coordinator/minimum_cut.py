"""The minimum cut between two vertices of a directed graph, by Dinic's maximum flow (Soviet Math. Doklady 11, 1970).

It knows nothing of models and nodes.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arc:
    """A directed edge; an infinite capacity is one that no cut may take."""

    tail: int
    head: int
    capacity: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The vertices on the source's side, and the capacity of the arcs that lead out of them; infinite if all must."""

    capacity: float
    source_side: frozenset[int]


def minimum_cut(arcs: Sequence[Arc], source: int, sink: int) -> Cut:
    """The cut of least capacity that parts `sink` from `source`; of several, the one with the smallest source side."""
    finite = sum(arc.capacity for arc in arcs if arc.capacity < math.inf)
    never = 2.0 * finite + 1.0  # more than any finite cut comes to, and still a number to subtract from
    residual = _Residual(arcs, never)
    capacity = 0.0
    while True:
        levels = residual.levels(source)
        if sink not in levels:
            return Cut(math.inf if capacity >= never else capacity, frozenset(levels))
        capacity += residual.blocking_flow(source, sink, levels)


class _Residual:
    """What every arc, and its reverse, can still carry; arc 2k+1 is the reverse of arc 2k."""

    def __init__(self, arcs: Sequence[Arc], never: float) -> None:
        self._head: list[int] = []
        self._left: list[float] = []
        self._leaving: dict[int, list[int]] = {}
        for arc in arcs:
            for tail, head, capacity in ((arc.tail, arc.head, min(arc.capacity, never)), (arc.head, arc.tail, 0.0)):
                self._leaving.setdefault(tail, []).append(len(self._head))
                self._head.append(head)
                self._left.append(capacity)

    def levels(self, source: int) -> dict[int, int]:
        """How many arcs that can still carry something lead to each vertex that can be reached."""
        found = {source: 0}
        queue = deque([source])
        while queue:
            tail = queue.popleft()
            for arc in self._leaving.get(tail, ()):
                if self._left[arc] > 0.0 and self._head[arc] not in found:
                    found[self._head[arc]] = found[tail] + 1
                    queue.append(self._head[arc])
        return found

    def blocking_flow(self, source: int, sink: int, levels: dict[int, int]) -> float:
        """Push flow along shortest paths until none is left; how much it was."""
        untried = {vertex: list(self._leaving.get(vertex, ())) for vertex in levels}
        pushed = 0.0
        path: list[int] = []
        vertex = source
        while True:
            if vertex == sink:
                least = min(self._left[arc] for arc in path)
                pushed += least
                for arc in path:
                    self._left[arc] -= least
                    self._left[arc ^ 1] += least
                # Go on from before the first arc that is full.
                full = next(index for index, arc in enumerate(path) if self._left[arc] <= 0.0)
                vertex = self._head[path[full] ^ 1]
                del path[full:]
            elif untried[vertex]:
                arc = untried[vertex][-1]
                onward = levels.get(self._head[arc], -1) == levels[vertex] + 1
                if onward and self._left[arc] > 0.0:
                    path.append(arc)
                    vertex = self._head[arc]
                else:
                    untried[vertex].pop()
            elif path:
                vertex = self._head[path.pop() ^ 1]
                untried[vertex].pop()
            else:
                return pushed
