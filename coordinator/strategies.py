"""Every strategy by its name, behind one interface: a problem in, a plan within its bounds out.

A new one is one module with such a function and one line in STRATEGIES.
"""

from collections.abc import Callable

from coordinator import exact
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
}


def strategy(name: str) -> Strategy:
    """The strategy of this name. UnknownStrategyError if there is none."""
    try:
        return STRATEGIES[name]
    except KeyError:
        raise UnknownStrategyError(name, STRATEGIES) from None
