"""The plans that a node knows, of all deployments, and who is ready for them: the folds of `edge_agent.epochs`, kept.

What a change of them entails is told to whoever holds the segments; messages are the agent's.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from broker.messages import Plan, PlanReady
from broker.terms import follows
from edge_agent import epochs
from edge_agent.draining import Draining
from edge_agent.epochs import Drained, Epochs
from edge_agent.loading import LoadingNodes
from edge_agent.shelf import Holdings
from edge_agent.wire import Route

log = logging.getLogger("splitrail.agent")

MOST_DEPLOYMENTS: Final = 256
NONE_KNOWN: Final = Epochs()


class PlanBook:
    """May be used by several threads. `hold` is called whenever the plans that segments are kept for have changed."""

    def __init__(
        self,
        node: str,
        loading: LoadingNodes,
        *,
        in_flight: Callable[[Plan], int],
        hold: Callable[[Holdings], None],
    ) -> None:
        self._node = node
        self._loading = loading
        self._hold = hold
        self._lock = threading.RLock()
        self._draining = Draining(node, in_flight)
        self._epochs: dict[str, Epochs] = {}
        self._reports: dict[tuple[str, int], PlanReady] = {}
        self._highest_term = 0

    @property
    def highest_term(self) -> int:
        """The highest term that was heard of, 0 before the first."""
        return self._highest_term

    def lead(self, term: int) -> None:
        """A coordinator leads under this term: plans of lower ones count no more."""
        with self._lock:
            self._highest_term = max(self._highest_term, term)

    def hear(self, plan: Plan) -> bool:
        """Take a plan that was broadcast; whether it counts and is new here."""
        with self._lock:
            known = self._epochs.get(plan.deployment)
            if not follows(plan, known.newest if known else None, self._highest_term):
                return False
            if known is None and len(self._epochs) >= MOST_DEPLOYMENTS:
                log.warning("%s is ignored: %d deployments are known already", plan.deployment, MOST_DEPLOYMENTS)
                return False
            self._highest_term = max(self._highest_term, plan.term)
            after = self._fold(plan.deployment, plan)
            self._loading.planned(plan, after.ready)
            return True

    def report(self, report: PlanReady) -> None:
        """A node, which may be this one, is ready for a plan or cannot be."""
        with self._lock:
            if report.deployment not in self._epochs and len(self._epochs) >= MOST_DEPLOYMENTS:
                return
            if report.node == self._node:
                self._reports[report.deployment, report.epoch] = report
            self._fold(report.deployment, report)
            self._loading.reported(report)

    def own_reports(self, deployment: str | None = None) -> list[PlanReady]:
        """What this node has said of the plans that it still knows, or of those of one deployment."""
        with self._lock:
            return [report for report in self._reports.values() if deployment in (None, report.deployment)]

    def active(self, deployment: str) -> Plan | None:
        """The plan that new requests start under."""
        return self._epochs.get(deployment, NONE_KNOWN).active

    def is_coming(self, deployment: str) -> bool:
        """Whether requests have no plan to start under only because the nodes of one still load."""
        known = self._epochs.get(deployment, NONE_KNOWN)
        return known.newest is not None and known.active is None

    def ready_plans(self, deployment: str) -> tuple[Plan, ...]:
        """All plans that requests can run under, the newest first."""
        return self._epochs.get(deployment, NONE_KNOWN).ready_plans

    def plan_of(self, where: Route) -> Plan | None:
        """The plan that tensors were sent under, if this node still knows it."""
        return self._epochs.get(where.deployment, NONE_KNOWN).plan(where.epoch, where.plan)

    def passed(self, where: Route, at_s: float) -> None:
        """Tensors have come in under a plan."""
        self._draining.passed(where.deployment, where.epoch, where.plan, at_s)

    def let_drained_go(self, at_s: float) -> None:
        """Forget the superseded plans that no request runs under any more; called every now and then."""
        with self._lock:
            superseded = [plan for each in self._epochs.values() for plan in each.superseded]
            for plan in self._draining.drained(superseded, at_s):
                self._fold(plan.deployment, Drained(plan))

    def _fold(self, deployment: str, event: Plan | PlanReady | Drained) -> Epochs:
        before = self._epochs.get(deployment, NONE_KNOWN)
        after = epochs.apply(event, before)
        self._epochs[deployment] = after
        if after.plans != before.plans or after.active != before.active:
            plans = tuple(plan for each in self._epochs.values() for plan in each.plans)
            known = {(plan.deployment, plan.epoch) for plan in plans}
            self._reports = {key: report for key, report in self._reports.items() if key in known}
            served = tuple(
                each.active
                for each in self._epochs.values()
                if each.active is not None and each.active.origin == self._node
            )
            superseded = tuple(plan for each in self._epochs.values() for plan in each.superseded)
            self._hold(Holdings(plans, superseded, served))
        return after
