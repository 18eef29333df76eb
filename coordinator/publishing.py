"""What the leader of a site says under its term: every deployment's notice and plan, and each new decision.

What to decide is `coordinator.deciding`'s, and who leads `coordinator.election`'s.
"""

from collections.abc import Callable
from dataclasses import replace

import msgspec

from broker.messages import DeploymentNotice, Plan
from broker.session import Session
from broker.topics import DEPLOYMENT, PLAN
from coordinator.configuration import PlanningSettings
from coordinator.deciding import PublishPlan, decide
from coordinator.site import DeploymentState, State
from coordinator.state import Evaluated, Received, apply


class Publisher:
    """Speaks for one coordinator while it leads.

    `keep(state)` is called with the state of each new plan before that is published, so that no restart gives another
    plan its epoch.
    """

    def __init__(self, session: Session, planning: PlanningSettings, keep: Callable[[State], None]) -> None:
        self._session = session
        self._planning = planning
        self._keep = keep
        self._office: int | None = None

    def forget_office(self) -> None:
        """Say all anew at the next `act`: the term has changed, or the broker may have forgotten everything."""
        self._office = None

    def act(self, term: int, state: State, now: float) -> State:
        """Publish what is due under this term; the state after it."""
        if self._office != term:
            state = self._take_office(term, state, now)
        for instruction in decide(state, now, self._planning):
            if isinstance(instruction, PublishPlan):
                plan = msgspec.structs.replace(instruction.plan, term=term)
                state = apply(Received(plan, now), state)
                self._keep(state)
                self._session.publish(PLAN, plan, plan.deployment)
            else:
                state = apply(instruction, state)
        return state

    def correct_notice(self, notice: DeploymentNotice, state: State) -> None:
        """Publish ours over that of a leader that was succeeded and did not know it: who connects later must find ours.

        For any thread.
        """
        office, deployment = self._office, state.deployments.get(notice.deployment)
        if office is not None and notice.term < office and deployment is not None:
            self._publish_notice(deployment, office)

    def correct_plan(self, plan: Plan, state: State) -> None:
        """As of a notice."""
        known = state.deployments.get(plan.deployment)
        if self._office is not None and plan.term < self._office and known and known.plan is not None:
            self._session.publish(PLAN, known.plan, plan.deployment)

    def _take_office(self, term: int, state: State, now: float) -> State:
        """Say under this term what is in force: agents that come later follow no plan of a term before."""
        self._office = term
        for name, deployment in state.deployments.items():
            self._publish_notice(deployment, term)
            if deployment.plan is not None:
                reference = deployment.declared.model.reference
                plan = msgspec.structs.replace(deployment.plan, term=term, model=reference)
                self._session.publish(PLAN, plan, name)
                state = apply(Received(plan, now), state)
            if deployment.evaluation is not None:
                # What the former leader had not done yet is done now.
                evaluation = replace(deployment.evaluation, look_at=now, ends_window=False)
                state = apply(Evaluated(name, evaluation), state)
        return state

    def _publish_notice(self, deployment: DeploymentState, term: int) -> None:
        declared = deployment.declared
        notice = DeploymentNotice(
            deployment=declared.name,
            model=declared.model.reference,
            origin=declared.origin,
            strategy=declared.strategy,
            term=term,
        )
        self._session.publish(DEPLOYMENT, notice, declared.name)


def with_books_kept(state: State, now: float, planning: PlanningSettings) -> State:
    """The state of one that stands by: plans weighed as the leader does and none published.

    So a successor knows what each plan has lost and saved.
    """
    for instruction in decide(state, now, planning):
        if isinstance(instruction, Evaluated):
            state = apply(instruction, state)
    return state
