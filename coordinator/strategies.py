"""Every strategy by its name, behind one interface: a problem in, a plan within its bounds out.

A new one is one module with such a function and one line in each of the two tables.
"""

from collections.abc import Callable

from coordinator import dads, exact, neurosurgeon, reap
from coordinator.cost import PartitionPlan
from coordinator.errors import UnknownStrategyError
from coordinator.one_node import on_origin, on_tier
from coordinator.problem import Problem

Strategy = Callable[[Problem], PartitionPlan]
"""Decides a problem; PlanInfeasibleError if it finds no plan that keeps the bounds."""

STRATEGIES: dict[str, Strategy] = {
    "exact": exact.plan,
    # At launch a static plan is the exact one; that it stays is up to whoever keeps it.
    "static": exact.plan,
    "origin-only": on_origin,
    "fog-only": on_tier("fog"),
    "cloud-only": on_tier("cloud"),
    "reap": reap.plan,
    "neurosurgeon": neurosurgeon.plan,
    "dads": dads.plan,
}

SUMMARIES: dict[str, str] = {
    "exact": "the best plan over all nodes in any order, relays, codecs and bounds",
    "static": "the same as exact, made once, at launch, and kept; or a split that is given by hand",
    "origin-only": "all ops on the origin",
    "fog-only": "all ops on the best fog node that keeps the bounds, over the best way there",
    "cloud-only": "all ops on the best cloud node that keeps the bounds, over the best way there",
    "reap": "the best split over edge, fog and cloud, none empty, by the weights and energy of Deng et al. 2026",
    "neurosurgeon": "the best single cut between the origin and one other node, after Kang et al. 2017",
    "dads": "the minimum cut between the origin and one other node, after Hu et al. 2019",
}
"""What each decides, in one line, for whoever lists them."""


def strategy(name: str) -> Strategy:
    """The strategy of this name. UnknownStrategyError if there is none."""
    try:
        return STRATEGIES[name]
    except KeyError:
        raise UnknownStrategyError(name, STRATEGIES) from None
