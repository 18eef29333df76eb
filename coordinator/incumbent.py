"""The best plan that a search has met so far."""

import math

from coordinator.distances import Visit, Walk
from coordinator.figures import Figures, Goal, Limits
from coordinator.steps import Steps


class Incumbent:
    """Keeps the best of the plans that it meets, by a goal, among those within the limits."""

    def __init__(self, steps: Steps, goal: Goal, limits: Limits) -> None:
        self._steps = steps
        self._goal = goal
        self._limits = limits
        self.visits: tuple[Visit, ...] | None = None
        """The stages of the best plan; None without one."""
        self.value = math.inf
        """Its value by the goal; infinite without one."""

    def meet(self, plan: Walk | None) -> bool:
        """Look at a plan, if it is one; whether it keeps the limits, with the way back that the cost model takes."""
        if plan is None:
            return False
        whole = self._steps.returned(plan.figures, plan.visits[-1].node)
        if not self._limits.keep(whole):
            return False
        self.offer(plan.visits, whole)
        return True

    def offer(self, visits: tuple[Visit, ...], whole: Figures) -> None:
        """Keep a plan within the limits if it is the best."""
        value = self._goal.of(whole)
        if value < self.value:
            self.visits, self.value = visits, value
