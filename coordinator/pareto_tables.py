"""A problem as arrays: figures, moves and memory, as the search for the front and its lower bounds read them."""

import math

import numpy as np

from coordinator.pareto_dominance import Points
from coordinator.pareto_steps import FigureSteps, Transfer
from coordinator.prices import within
from coordinator.problem import Problem
from coordinator.spread import deviations

SLACK = 1.0 + 1e-9
"""What a bound forgives, so that the rounding of sums breaks none; prices.within forgives the same."""
LATENCY, ORIGIN_J, TOTAL_J, VARIANCE = range(4)
COMPARED = 3
"""How many figures a front compares."""


class Tables:
    """The tables of one problem, by node index; op N, after the last, is the way back and ends on the origin.

    A row of figures is in the order of pareto_steps; a row that is `spent` goes on with the MB stored on each tight
    node, which is one that cannot hold all weights.
    """

    def __init__(self, problem: Problem) -> None:
        steps = FigureSteps(problem)
        self.problem = problem
        self.origin = problem.origin_index
        self.nodes = range(len(problem.nodes))
        self.ops = problem.model.ops
        self.figures = steps.count
        self.transfers: list[list[Transfer]] = steps.transfers
        self.compute = np.zeros((self.ops + 1, len(self.nodes), self.figures))
        self.compute[: self.ops] = np.array(steps.compute).swapaxes(0, 1)
        self.weight_mb = (*(problem.model.weight_mb or (0.0,) * self.ops), 0.0)
        total_mb = math.fsum(self.weight_mb)
        self.tight = [index for index, node in enumerate(problem.nodes) if not within(total_mb, node.memory_mb)]
        self.room_mb = np.array([(problem.nodes[index].memory_mb or 0.0) * SLACK for index in self.tight])
        self.to_come_mb = [math.fsum(self.weight_mb[done:]) for done in range(self.ops + 2)]
        self.to_go = self._least_to_go()
        self._deviations = deviations(problem.risk)

    def _least_to_go(self) -> list[Points]:
        """The least of each figure from each node to the end: arrays (nodes, figures) by the number of ops done."""
        to_go = np.full((len(self.nodes), self.figures), np.inf)
        to_go[self.origin] = 0.0
        found = [to_go]
        for op in range(self.ops, -1, -1):
            run = found[-1] + self.compute[op]
            least = run.copy()
            for transfer in self.transfers[op]:
                src, dst = transfer.path[0], transfer.path[-1]
                least[src] = np.minimum(least[src], run[dst] + np.array(transfer.figures))
            found.append(least)
        return found[::-1]

    def compared(self, spent: Points) -> Points:
        """What a front compares of rows: the latency that counts in ms, the origin's J and all nodes' J."""
        found = spent[:, :COMPARED].copy()
        if self.figures > VARIANCE:
            found[:, LATENCY] += self._deviations * np.sqrt(spent[:, VARIANCE])
        return found
