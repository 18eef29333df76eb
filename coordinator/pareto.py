"""The whole Pareto front: every plan that no other beats in latency, origin energy and total energy at once.

Exact label setting over all nodes, relays, codecs, ways back and bounds; which plan to take is left to whoever asks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from coordinator import exact
from coordinator.cost import PartitionPlan, Stage, evaluate
from coordinator.pareto_bounds import Prospects, open_to
from coordinator.pareto_dominance import Points, Rows, non_dominated
from coordinator.pareto_steps import Transfer, with_return_as_op
from coordinator.pareto_tables import LATENCY, SLACK, Tables
from coordinator.problem import Objective, Problem

BEAM = 4
"""How many of the best partial plans by each bound a first, inexact search keeps on each node."""


@dataclass(frozen=True, slots=True)
class _Step:
    """From one op to the next: the node that the tensors are on, and their transfer unless they stay."""

    src: int
    transfer: Transfer | None


@dataclass(frozen=True, slots=True)
class _Labels:
    """Partial plans that have done the same ops, the last on the same node, none of them beaten by another.

    The plan of a row of `spent` goes on from row `before` of the labels one op earlier on the node of `steps[step]`.
    """

    spent: Points
    before: Rows
    step: Rows
    steps: tuple[_Step, ...]


_Columns = list[list[_Labels]]
"""The labels by the number of ops done, 0 to N+1, and by node."""


@dataclass(frozen=True, slots=True)
class _Guide:
    """What cuts a search short: lower bounds, the ceilings that known plans set, and the width of a beam."""

    prospects: Prospects
    ceilings: Points
    beam: int | None
    """How many of the best partial plans by each bound are kept on each node; None for all."""


def pareto_front(problem: Problem) -> tuple[PartitionPlan, ...]:
    """All plans that keep the bounds and that no other beats in all three figures, the quickest first; of equals one.

    The figures are the latency (its quantile, where the problem has a risk), the origin's energy and the total energy.
    Each plan has its own way back. PlanInfeasibleError, as from the exact planner, if no plan keeps the bounds.
    """
    tables = Tables(problem)
    columns = _searched(tables, _guide(tables) if tables.tight else None)
    last = columns[-1][tables.origin]
    plans = tuple(_plan(tables, columns, int(row)) for row in non_dominated(tables.compared(last.spent)))
    # Where there is none, the planner says which bound cannot be kept.
    return plans or (exact.plan(problem),)


def _guide(tables: Tables) -> _Guide:
    """What is known of a front where memory is scarce: one exact plan, and what a beam search finds from there."""
    # By latency alone, so that there is one where the way back that the objective likes best misses the deadline.
    score = exact.plan(msgspec.structs.replace(tables.problem, objective=Objective(latency=1.0))).score
    known = np.array([[score.latency_quantile_ms, score.origin_energy_j, score.total_energy_j]])
    prospects = Prospects(tables, known)
    found = _searched(tables, _Guide(prospects, prospects.ceilings(known), BEAM))[-1][tables.origin]
    known = np.concatenate([known, tables.compared(found.spent)])
    known = known[non_dominated(known)]
    prospects = Prospects(tables, known)
    return _Guide(prospects, prospects.ceilings(known), None)


def _searched(tables: Tables, guide: _Guide | None) -> _Columns:
    """The labels of all columns; without a beam, the last on the origin have every plan of the front."""
    nothing = np.empty(0, dtype=np.intp)
    width = tables.figures + len(tables.tight)
    columns = [[_Labels(np.zeros((int(node == tables.origin), width)), nothing, nothing, ()) for node in tables.nodes]]
    for op in range(tables.ops + 1):
        columns.append([_after(tables, guide, columns[-1], op, node) for node in tables.nodes])
    return columns


def _after(tables: Tables, guide: _Guide | None, before: Sequence[_Labels], op: int, node: int) -> _Labels:
    """The labels that run op `op` on a node."""
    steps = [
        _Step(node, None),
        *(_Step(move.path[0], move) for move in tables.transfers[op] if move.path[-1] == node),
    ]
    cost = np.zeros(tables.figures + len(tables.tight))
    cost[: tables.figures] = tables.compute[op, node]
    if node in tables.tight:
        cost[tables.figures + tables.tight.index(node)] = tables.weight_mb[op]
    parts = []
    for step in steps:
        spent = before[step.src].spent + cost
        if step.transfer:
            spent[:, : tables.figures] += np.array(step.transfer.figures)
        parts.append(spent)
    sizes = [len(part) for part in parts]
    spent = np.concatenate(parts)
    rows = np.concatenate([np.arange(size) for size in sizes])
    numbers = np.repeat(np.arange(len(steps)), sizes)
    alive = np.flatnonzero(_within_bounds(tables, spent, op + 1, node))
    if guide:
        alive = alive[open_to(guide.prospects.of(spent[alive], op + 1, node), guide.ceilings)]
    alive = alive[non_dominated(_weighed(tables, spent[alive], op + 1))]
    if guide and guide.beam:
        bounds = guide.prospects.of(spent[alive], op + 1, node)
        alive = alive[np.unique(np.argsort(bounds, axis=0)[: guide.beam])]
    return _Labels(spent[alive], rows[alive], numbers[alive], tuple(steps))


def _within_bounds(tables: Tables, spent: Points, done: int, node: int) -> npt.NDArray[np.bool_]:
    """Which labels can still keep every bound, as far as the least that lies ahead tells."""
    ahead = tables.compared(spent[:, : tables.figures] + tables.to_go[done][node])[:, LATENCY]
    alive = np.isfinite(ahead)
    if tables.problem.deadline_ms is not None:
        alive &= ahead <= tables.problem.deadline_ms * SLACK
    if tables.tight:
        room_mb = tables.room_mb - spent[:, tables.figures :]
        alive &= (room_mb >= 0.0).all(axis=1)
        if len(tables.tight) == len(tables.nodes):
            alive &= room_mb.sum(axis=1) >= tables.to_come_mb[done]
    return alive


def _weighed(tables: Tables, spent: Points, done: int) -> Points:
    """What labels are compared by: room that the ops to come could not fill is worth nothing."""
    if not tables.tight:
        return spent
    enough_mb = tables.room_mb - tables.to_come_mb[done]
    return np.hstack([spent[:, : tables.figures], np.maximum(spent[:, tables.figures :], enough_mb)])


def _plan(tables: Tables, columns: _Columns, row: int) -> PartitionPlan:
    """The plan of a row of the last labels on the origin."""
    problem, node = tables.problem, tables.origin
    op_nodes: list[int] = []
    moves: dict[int, Transfer] = {}
    for op in range(tables.ops, -1, -1):
        labels = columns[op + 1][node]
        step = labels.steps[labels.step[row]]
        op_nodes.append(node)
        if step.transfer:
            moves[op] = step.transfer
        node, row = step.src, int(labels.before[row])
    stages = _stages(problem, op_nodes[::-1], moves)
    last = moves.get(tables.ops)
    way_back = tuple(problem.nodes[at].name for at in last.path) if last else ()
    score = replace(evaluate(with_return_as_op(problem), stages), way_back=way_back)
    return PartitionPlan(tuple(stage for stage in stages if stage.start < tables.ops), score)


def _stages(problem: Problem, op_nodes: Sequence[int], moves: dict[int, Transfer]) -> list[Stage]:
    """The stages of a plan, its way back being the transfer into the last."""
    names, ops = [node.name for node in problem.nodes], problem.model.ops
    starts = sorted({0, *moves, ops})
    stages: list[Stage] = []
    for start, stop in zip(starts, [*starts[1:], ops + 1], strict=True):
        move = moves.get(start)
        if move:
            stages += (Stage(names[relay], start, start, move.codec) for relay in move.path[1:-1])
        stages.append(Stage(names[op_nodes[start]], start, stop, move.codec if move else None))
    return stages
