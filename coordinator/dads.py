"""DADS, dynamic adaptive DNN surgery (Hu et al., INFOCOM 2019): an s-t minimum cut between edge and cloud.

Scoring is the cost model's; which second node, and over which network, is what `two_tiers` offers.
"""

import itertools
import math
from operator import itemgetter

from coordinator.cost import PartitionPlan, Stage
from coordinator.first_within_bounds import first_within_bounds
from coordinator.minimum_cut import Arc, minimum_cut
from coordinator.prices import within
from coordinator.problem import Objective, Problem
from coordinator.raw_transfers import sending_raw
from coordinator.two_tiers import ORIGIN_ONLY, TwoTiers, two_tiers


def plan(problem: Problem) -> PartitionPlan:
    """The cut between the origin and one other node by DADS. PlanInfeasibleError if none keeps the bounds.

    As published: light load is the least delay of one inference, by a minimum cut; heavy load, here an objective that
    weighs throughput more than latency, is the least time of the slowest of edge, network and cloud.
    Mapped: the graph is the problem's chain of ops. Its cut bytes count a tensor with several readers once, which is
    what the paper's auxiliary vertices are for, and an arc that no cut may take keeps ops from coming back from the
    cloud. Memory bounds and forbidden cuts are such arcs too. On a chain every cut is one cut point, so that the heavy
    case, NP-hard on a general graph, is decided exactly where the paper approximates it. Every other node may be the
    cloud, relays counting as part of the network; the result's return counts, under heavy load as a part of its own.
    Dropped: cuts that part the branches of a model, since the problem has its ops in one order; and energy.
    Not checked: the paper's text beyond its abstract; the rest is recalled.
    """
    raw, weights = sending_raw(problem, "dads"), problem.objective
    tables = two_tiers(raw, Objective(latency=1.0))
    plans: list[tuple[float, TwoTiers | None, int]] = [(ORIGIN_ONLY, None, problem.model.ops)]
    for table in tables:
        plans += _slowest_parts(table) if weights.throughput > weights.latency else _least_delay(table)
    whole = (Stage(problem.origin, 0, problem.model.ops),)
    return first_within_bounds(
        problem,
        (table.stages(cut) if table else whole for _, table, cut in sorted(plans, key=itemgetter(0))),
        f"no minimum cut between {problem.origin!r} and one other node keeps the bounds",
    )


def _least_delay(table: TwoTiers) -> list[tuple[float, TwoTiers, int]]:
    """The minimum cut, if it leaves anything to the other node and can be made at all, and its delay."""
    ops = len(table.here)
    origin, other = ops, ops + 1
    pinned_here, pinned_there = _pinned(table)
    arcs = []
    for op, (here, there) in enumerate(zip(table.here, table.there, strict=True)):
        # Cut from its own end where it runs at the other: an op on the other node parts it from the origin.
        last = table.back if op == ops - 1 else 0.0
        arcs.append(Arc(origin, op, math.inf if op < pinned_here else there + last))
        arcs.append(Arc(op, other, math.inf if op >= pinned_there else here))
        if op:
            arcs.append(Arc(op - 1, op, table.transfer[op]))
            arcs.append(Arc(op, op - 1, math.inf))
    arcs.append(Arc(origin, 0, table.transfer[0]))
    cut = minimum_cut(arcs, origin, other)
    done_here = len(cut.source_side) - 1
    return [(cut.capacity, table, done_here)] if done_here < ops and cut.capacity < math.inf else []


def _pinned(table: TwoTiers) -> tuple[int, int]:
    """The op before which all must run on the origin, and the op from which none may, to fit in memory."""
    problem = table.problem
    here, there = problem.nodes[problem.origin_index], problem.nodes[table.other]
    stored_mb = [0.0, *itertools.accumulate(problem.model.weight_mb or (0.0,) * problem.model.ops)]
    needed_here = next(op for op, mb in enumerate(stored_mb) if within(stored_mb[-1] - mb, there.memory_mb))
    room_here = max(op for op, mb in enumerate(stored_mb) if within(mb, here.memory_mb))
    return needed_here, room_here


def _slowest_parts(table: TwoTiers) -> list[tuple[float, TwoTiers, int]]:
    """Every cut, with the time of its slowest part: the origin, the way there, the other node or the way back."""
    parts = zip(table.done_here, table.transfer, table.left_there, strict=False)
    return [
        (max(before, transfer, after, table.back), table, cut)
        for cut, (before, transfer, after) in enumerate(parts)
        if transfer < math.inf
    ]
