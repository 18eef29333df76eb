"""Who says what a new request runs under: a fixed plan, the clairvoyant one, or the coordinator's."""

from collections.abc import Callable
from typing import Protocol

from broker.messages import Plan
from coordinator.cost import PartitionPlan
from testbed.paper.contenders import Contender
from testbed.paper.hindsight import Clairvoyant
from testbed.paper.model_profile import ModelProfile
from testbed.paper.records import PlanRecord
from testbed.simulation.coordination import Coordination
from testbed.simulation.requests import Itinerary, itinerary
from testbed.simulation.site import fixed_plan


class Decider(Protocol):
    """Times are in seconds since the trace began, below 0 before that."""

    plans: list[PlanRecord]
    """The plans that have come into force."""

    def way_at(self, time_s: float) -> Itinerary | None:
        """What a request that starts now runs under; None while no plan is ready."""


class FixedDecider:
    """One plan, from the beginning to the end."""

    def __init__(self, found: PartitionPlan, contender: Contender, profile: ModelProfile, reason: str) -> None:
        self._way = itinerary(fixed_plan(found, contender, profile, epoch=1, reason=reason), profile)
        self.plans = [_record(self._way.plan, 0.0)]

    def way_at(self, time_s: float) -> Itinerary:  # noqa: ARG002  # of no moment
        """Always the same."""
        return self._way


class ClairvoyantDecider:
    """The best plan for the truth of each moment; to change it takes no time."""

    def __init__(self, clairvoyant: Clairvoyant, contender: Contender, profile: ModelProfile) -> None:
        self._clairvoyant, self._contender, self._profile = clairvoyant, contender, profile
        self._way: Itinerary | None = None
        self._found: PartitionPlan | None = None
        self.plans: list[PlanRecord] = []

    def way_at(self, time_s: float) -> Itinerary:
        """The plan of this moment, under an epoch of its own if it is another than before."""
        found = self._clairvoyant.plan_at(time_s)
        if self._way is None or self._found is None or found.stages != self._found.stages:
            epoch = len(self.plans) + 1
            plan = fixed_plan(found, self._contender, self._profile, epoch=epoch, reason="best for the true moment")
            self._way = itinerary(plan, self._profile)
            self.plans.append(_record(plan, time_s))
        self._found = found
        return self._way


class CoordinatedDecider:
    """The newest of the coordinator's plans that all its nodes are ready for; `weigh_first` asks it before each."""

    def __init__(
        self, coordination: Coordination, profile: ModelProfile, now_s: Callable[[], float], *, weigh_first: bool
    ) -> None:
        self._coordination, self._profile = coordination, profile
        self._now_s, self._weigh_first = now_s, weigh_first
        self._way: Itinerary | None = None
        self.plans: list[PlanRecord] = []

    def in_force(self, plan: Plan) -> None:
        """The nodes are ready for a newer plan."""
        self._way = itinerary(plan, self._profile)
        self.plans.append(_record(plan, self._now_s()))

    def way_at(self, time_s: float) -> Itinerary | None:  # noqa: ARG002  # the coordinator has its own clock
        """The plan in force."""
        if self._weigh_first:
            self._coordination.act()
        return self._way


def _record(plan: Plan, at_s: float) -> PlanRecord:
    return PlanRecord(at_s=at_s, epoch=plan.epoch, stages=plan.stages, reason=plan.reason)
