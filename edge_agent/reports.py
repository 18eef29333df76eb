"""What a node reports to its site, and repeats where it was not heard: its profiles, and the plans it is ready for.

When it has those is `edge_agent.preparation`'s; who it is says `edge_agent.announcing`.
"""

from broker.messages import NodeProfile, PlanReady, ProfileFailure
from broker.session import Session
from broker.topics import PROFILE, READY, UNPROFILED
from edge_agent.free_memory import give_back
from edge_agent.plan_book import PlanBook


class Reports:
    """The reports of one node; may be used by any thread."""

    def __init__(self, node: str, session: Session, plans: PlanBook) -> None:
        """Say by `session` what `node` reports; `plans` keeps which it is ready for."""
        self._node, self._session, self._plans = node, session, plans
        self._profiles: dict[str, NodeProfile] = {}

    @property
    def profiles(self) -> tuple[NodeProfile, ...]:
        """The newest of each model."""
        return tuple(self._profiles.values())

    def ready(self, report: PlanReady) -> None:
        """The segments of a plan are here, or cannot be."""
        self._plans.report(report)
        self._session.publish(READY, report, report.deployment, self._node)
        give_back()

    def profiled(self, profile: NodeProfile) -> None:
        """A model was profiled."""
        give_back()
        self._profiles[profile.model] = profile
        self._session.publish(PROFILE, profile, self._node, profile.model)

    def unprofiled(self, failure: ProfileFailure) -> None:
        """A model could not be profiled."""
        self._session.publish(UNPROFILED, failure, self._node, failure.model)

    def repeat(self) -> None:
        """Say all of it again, to a broker that may have lost it."""
        for profile in self.profiles:
            self._session.publish(PROFILE, profile, self._node, profile.model)
        self.repeat_readiness()

    def repeat_readiness(self, deployment: str | None = None) -> None:
        """Say again which plans this node is ready for, or of one deployment."""
        for report in self._plans.own_reports(deployment):
            self._session.publish(READY, report, report.deployment, self._node)
