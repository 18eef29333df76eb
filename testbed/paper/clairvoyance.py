"""The clairvoyant contender on a running continuum: before each request the best plan for the true links and loads."""

import time
from collections.abc import Callable

import msgspec

from broker.messages import PlanStage, Prediction
from broker.session import Session
from broker.topics import PLAN
from coordinator.cost import PartitionPlan
from coordinator.permitted_codecs import live_stages
from testbed.paper.hindsight import Clairvoyant
from testbed.paper.model_profile import ModelProfile
from testbed.paper.plan_watch import PlanWatch


class ClairvoyantPlans:
    """Publishes plans in the coordinator's place; the time until they are in force counts for no request."""

    def __init__(
        self,
        clairvoyant: Clairvoyant,
        session: Session,
        watch: PlanWatch,
        deployment: str,
        alive: Callable[[], None],
    ) -> None:
        self._clairvoyant, self._session, self._watch = clairvoyant, session, watch
        self._deployment, self._alive = deployment, alive

    def ahead_of(self, time_s: float) -> None:
        """Return once the best plan for this moment of the trace is in force."""
        found = self._clairvoyant.plan_at(time_s)
        stages = plan_stages(found, self._clairvoyant.profile)
        standing = self._watch.in_force
        if (standing.stages, standing.way_back) == (stages, found.score.way_back):
            return
        plan = msgspec.structs.replace(
            standing,
            epoch=standing.epoch + 1,
            stages=stages,
            way_back=found.score.way_back,
            prediction=Prediction(
                latency_ms=found.score.latency_ms,
                origin_energy_j=found.score.origin_energy_j,
                total_energy_j=found.score.total_energy_j,
                objective=found.score.objective,
            ),
            reason="the best plan for the true links and loads",
            created_at=time.time(),
        )
        self._session.publish(PLAN, plan, self._deployment)
        self._watch.wait_for(plan.epoch, self._alive)


def plan_stages(found: PartitionPlan, profile: ModelProfile) -> tuple[PlanStage, ...]:
    """A plan's stages as they are broadcast."""
    return live_stages(found.stages, profile.codecs)
