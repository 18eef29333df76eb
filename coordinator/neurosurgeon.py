"""Neurosurgeon (Kang et al., ASPLOS 2017): one cut between the device and one server, or all ops on either.

Scoring is the cost model's; which server, and over which network, is what `two_tiers` offers.
"""

import math
from operator import itemgetter

from coordinator.cost import PartitionPlan, Stage
from coordinator.first_within_bounds import first_within_bounds
from coordinator.problem import Objective, Problem
from coordinator.raw_transfers import sending_raw
from coordinator.two_tiers import ORIGIN_ONLY, TwoTiers, two_tiers


def plan(problem: Problem) -> PartitionPlan:
    """The best single cut between the origin and one other node. PlanInfeasibleError if none keeps the bounds.

    As published: every cut point is tried, all ops on the device and all on the server among them, for the least
    latency or the least energy of the device; a server's load stretches its times.
    Mapped: the problem's profile stands in for the regression on layer types, and its power figures for those of the
    device. The objective decides between the two aims: energy where its two energies together weigh more than latency.
    Every other node may be the server, the best one is taken, relays counting as part of the network. The result's
    return counts. Cuts that break a memory bound or the deadline are passed over.
    Dropped: the throughput of the server's side, which the paper reports but does not choose by.
    Not checked: the paper's text beyond its abstract; the rest is recalled.
    """
    raw, weights = sending_raw(problem, "neurosurgeon"), problem.objective
    for_energy = weights.origin_energy + weights.total_energy > weights.latency
    plans: list[tuple[float, TwoTiers | None, int]] = [(ORIGIN_ONLY, None, problem.model.ops)]
    for table in two_tiers(raw, Objective(origin_energy=1.0) if for_energy else Objective(latency=1.0)):
        costs = zip(table.done_here, table.transfer, table.left_there, strict=False)
        plans += (
            (before + transfer + after + table.back, table, cut)
            for cut, (before, transfer, after) in enumerate(costs)
            if transfer < math.inf
        )
    whole = (Stage(problem.origin, 0, problem.model.ops),)
    return first_within_bounds(
        problem,
        (table.stages(cut) if table else whole for _, table, cut in sorted(plans, key=itemgetter(0))),
        f"no single cut between {problem.origin!r} and one other node keeps the bounds",
    )
