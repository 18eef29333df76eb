"""The whole Pareto front: every plan that no other beats in latency, origin energy and total energy at once.

Exact label setting over all nodes, relays, codecs, ways back and bounds; which plan to take is left to whoever asks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coordinator import exact
from coordinator.cost import PartitionPlan, Score, Stage, evaluate
from coordinator.pareto_dominance import Points, Rows, non_dominated
from coordinator.pareto_steps import FigureSteps, Transfer, with_return_as_op
from coordinator.prices import within
from coordinator.problem import Problem
from coordinator.spread import deviations

SLACK = 1.0 + 1e-9
"""What a bound forgives, so that the rounding of sums breaks none; prices.within forgives the same."""
LATENCY, VARIANCE = 0, 3


@dataclass(frozen=True, slots=True)
class _Labels:
    """Partial plans that have done the same ops, the last on the same node, none of them beaten by another.

    A row of `spent` has the figures of pareto_steps, then the weights in MB on each tight node. Its plan goes on from
    row `before` of the labels one op earlier on the node where `steps[step]` begins.
    """

    spent: Points
    before: Rows
    step: Rows
    steps: tuple["_Step", ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """From one op to the next: the node that the tensors are on, and their transfer unless they stay."""

    src: int
    transfer: Transfer | None


def pareto_front(problem: Problem) -> tuple[PartitionPlan, ...]:
    """All plans that keep the bounds and that no other beats in all three figures, the quickest first; of equals one.

    The figures are the latency (its quantile, where the problem has a risk), the origin's energy and the total energy.
    Each plan has its own way back. PlanInfeasibleError, as from the exact planner, if no plan keeps the bounds.
    """
    search = _Search(problem)
    columns = search.columns()
    last = columns[-1][problem.origin_index]
    rows = search.best_of(last.spent)
    plans = [search.plan(columns, int(row)) for row in rows]
    # The planner says which bound cannot be kept.
    return tuple(plans) if plans else (exact.plan(problem),)


class _Search:
    """Labels op by op; the last op is the way back, which ends on the origin."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._with_return = with_return_as_op(problem)
        self._steps = FigureSteps(problem)
        self._ops = problem.model.ops
        self._nodes = range(len(problem.nodes))
        self._weight_mb = (*(problem.model.weight_mb or (0.0,) * self._ops), 0.0)
        total_mb = math.fsum(self._weight_mb)
        self._tight = [index for index, node in enumerate(problem.nodes) if not within(total_mb, node.memory_mb)]
        self._room_mb = np.array([(problem.nodes[index].memory_mb or 0.0) * SLACK for index in self._tight])
        self._deviations = deviations(problem.risk)
        self._to_go = self._least_to_go()

    def _least_to_go(self) -> list[Points]:
        """The least of each figure from each node to the end: arrays (nodes, figures) by the number of ops done."""
        figures = self._steps.count
        to_go = np.full((len(self._nodes), figures), np.inf)
        to_go[self._problem.origin_index] = 0.0
        found = [to_go]
        for op in range(self._ops, -1, -1):
            run = found[-1] + self._compute(op)
            least = run.copy()
            for transfer in self._steps.transfers[op]:
                src, dst = transfer.path[0], transfer.path[-1]
                least[src] = np.minimum(least[src], run[dst] + np.array(transfer.figures))
            found.append(least)
        return found[::-1]

    def _compute(self, op: int) -> Points:
        """The figures of an op on each node; the way back, after the last, computes nothing."""
        if op == self._ops:
            return np.zeros((len(self._nodes), self._steps.count))
        return np.array([row[op] for row in self._steps.compute])

    def columns(self) -> list[list[_Labels]]:
        """The labels after each number of ops, 0 to N+1, on each node."""
        width = self._steps.count + len(self._tight)
        nothing = np.empty(0, dtype=np.intp)
        start = [_Labels(np.empty((0, width)), nothing, nothing, ()) for _ in self._nodes]
        start[self._problem.origin_index] = _Labels(np.zeros((1, width)), nothing, nothing, ())
        columns = [start]
        for op in range(self._ops + 1):
            columns.append([self._after(columns[-1], op, node) for node in self._nodes])
        return columns

    def _after(self, before: Sequence[_Labels], op: int, node: int) -> _Labels:
        """The labels that run op `op` on a node."""
        steps = [
            _Step(node, None),
            *(_Step(move.path[0], move) for move in self._steps.transfers[op] if move.path[-1] == node),
        ]
        cost = np.zeros(self._steps.count + len(self._tight))
        cost[: self._steps.count] = self._compute(op)[node]
        if node in self._tight:
            cost[self._steps.count + self._tight.index(node)] = self._weight_mb[op]
        parts, sizes = [], []
        for step in steps:
            spent = before[step.src].spent + cost
            if step.transfer:
                spent[:, : self._steps.count] += np.array(step.transfer.figures)
            parts.append(spent)
            sizes.append(len(spent))
        spent = np.concatenate(parts)
        rows = np.concatenate([np.arange(size) for size in sizes])
        numbers = np.repeat(np.arange(len(steps)), sizes)
        alive = np.flatnonzero(self._within_bounds(spent, op + 1, node))
        alive = alive[non_dominated(self._compared(spent[alive], op + 1))]
        return _Labels(spent[alive], rows[alive], numbers[alive], tuple(steps))

    def _within_bounds(self, spent: Points, done: int, node: int) -> "np.typing.NDArray[np.bool_]":
        """Which labels can still keep every bound, as far as the least that lies ahead tells."""
        figures = self._steps.count
        ahead = spent[:, :figures] + self._to_go[done][node]
        alive: np.typing.NDArray[np.bool_] = np.isfinite(ahead[:, LATENCY])
        if self._problem.deadline_ms is not None:
            alive &= self._latency(ahead) <= self._problem.deadline_ms * SLACK
        if self._tight:
            room_mb = self._room_mb - spent[:, figures:]
            alive &= (room_mb >= 0.0).all(axis=1)
            if len(self._tight) == len(self._nodes):
                alive &= room_mb.sum(axis=1) >= math.fsum(self._weight_mb[done:])
        return alive

    def _compared(self, spent: Points, done: int) -> Points:
        """The figures by which labels are compared: room that the ops to come could not fill is worth nothing."""
        if not self._tight:
            return spent
        figures = self._steps.count
        enough_mb = self._room_mb - math.fsum(self._weight_mb[done:])
        return np.hstack([spent[:, :figures], np.maximum(spent[:, figures:], enough_mb)])

    def _latency(self, spent: Points) -> Points:
        """The latency in ms that counts, of rows of figures."""
        if self._steps.count <= VARIANCE:
            return spent[:, LATENCY]
        latency: Points = spent[:, LATENCY] + self._deviations * np.sqrt(spent[:, VARIANCE])
        return latency

    def best_of(self, spent: Points) -> Rows:
        """The rows of whole plans that no other beats in latency and the energies, the quickest first."""
        return non_dominated(np.column_stack([self._latency(spent), spent[:, 1:3]]))

    def plan(self, columns: Sequence[Sequence[_Labels]], row: int) -> PartitionPlan:
        """The plan of a row of the last labels on the origin."""
        node = self._problem.origin_index
        op_nodes: list[int] = []
        moves: dict[int, Transfer] = {}
        for op in range(self._ops, -1, -1):
            labels = columns[op + 1][node]
            step = labels.steps[labels.step[row]]
            op_nodes.append(node)
            if step.transfer:
                moves[op] = step.transfer
            node, row = step.src, int(labels.before[row])
        stages = self._stages(op_nodes[::-1], moves)
        last = moves.get(self._ops)
        way_back = tuple(self._problem.nodes[at].name for at in last.path) if last else ()
        score: Score = replace(evaluate(self._with_return, stages), way_back=way_back)
        return PartitionPlan(tuple(stage for stage in stages if stage.start < self._ops), score)

    def _stages(self, op_nodes: Sequence[int], moves: dict[int, Transfer]) -> list[Stage]:
        """The stages of a plan, its way back being the transfer into the last."""
        names = [node.name for node in self._problem.nodes]
        starts = sorted({0, *moves, self._ops})
        stages: list[Stage] = []
        for start, stop in zip(starts, [*starts[1:], self._ops + 1], strict=True):
            move = moves.get(start)
            if move:
                stages += (Stage(names[relay], start, start, move.codec) for relay in move.path[1:-1])
            stages.append(Stage(names[op_nodes[start]], start, stop, move.codec if move else None))
        return stages
