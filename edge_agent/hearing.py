"""What an agent hears by the broker, of its site and from clients, and which parts of it take that.

What comes from other agents on the tensor plane is `edge_agent.arrivals`'.
"""

import logging
import math
import time
from collections.abc import Callable

from broker.messages import DeploymentNotice, InferRequest, Leader, NodeStatus, Plan, PlanReady, TensorCall
from broker.session import Incoming, Session
from broker.topics import CALL, DEPLOYMENT, INFER, LEADER, PLAN, READY, REPLY, STATUS
from edge_agent.answered import Answered
from edge_agent.intake import Intake
from edge_agent.origin import Origin
from edge_agent.peers import Peers
from edge_agent.plan_book import MOST_DEPLOYMENTS, PlanBook
from edge_agent.preparation import Preparation
from edge_agent.reports import Reports
from edge_agent.routes import named_nodes
from edge_agent.transport import Transport

log = logging.getLogger("splitrail.agent")

BUSY_S = 1.0


class Hearing:
    """Hands on what the broker brings; its handlers run on the session's network thread."""

    def __init__(
        self,
        node: str,
        session: Session,
        *,
        peers: Peers,
        plans: PlanBook,
        preparation: Preparation,
        origin: Origin,
        intake: Intake,
        transport: Transport,
        reports: Reports,
        roused: Callable[[], object],
    ) -> None:
        """`roused` is told of the first request after a pause."""
        self._node, self._session = node, session
        self._peers, self._plans, self._preparation = peers, plans, preparation
        self._origin, self._intake, self._transport, self._reports = origin, intake, transport, reports
        self._roused = roused
        self._served: set[str] = set()
        self._answered = Answered()
        self._asked_at = -math.inf

    def start(self, *, takes_calls: bool) -> None:
        """Hear from now on; with `takes_calls` also those who cannot connect to this node."""
        session = self._session
        session.on(STATUS, self._on_status)
        session.on(LEADER, self._on_leader)  # before the plans, some of which it makes void
        session.on(DEPLOYMENT, self._on_deployment)
        session.on(PLAN, self._on_plan)
        session.on(READY, self._on_ready)
        if takes_calls:
            session.on(CALL, self._on_call)

    @property
    def is_busy(self) -> bool:
        """Whether a request has come within the last BUSY_S."""
        return time.monotonic() - self._asked_at <= BUSY_S

    def _on_status(self, incoming: Incoming[NodeStatus]) -> None:
        if self._peers.hear(incoming.message):
            # A node that starts anew has heard no reports, and may be an origin that waits for them.
            self._reports.repeat_readiness()

    def _on_deployment(self, incoming: Incoming[DeploymentNotice]) -> None:
        notice = incoming.message
        self._preparation.profile(notice)
        is_new = notice.deployment not in self._served and len(self._served) < MOST_DEPLOYMENTS
        if notice.origin == self._node and is_new:
            self._served.add(notice.deployment)
            self._session.on(INFER, self._on_request, levels=(notice.deployment,))
        if not incoming.retained:
            # A coordinator that starts anew has heard no reports either, and the plans that the broker kept come first.
            self._reports.repeat_readiness(notice.deployment)

    def _on_leader(self, incoming: Incoming[Leader]) -> None:
        self._plans.lead(incoming.message.term)

    def _on_plan(self, incoming: Incoming[Plan]) -> None:
        plan = incoming.message
        if self._plans.hear(plan) and self._node in named_nodes(plan):
            log.info("plan %d of %s: %s", plan.epoch, plan.deployment, _words(plan))
            self._preparation.prepare(plan)

    def _on_ready(self, incoming: Incoming[PlanReady]) -> None:
        report = incoming.message
        if incoming.levels == (report.deployment, report.node):
            self._plans.report(report)
            if report.ready:
                # One that had gone takes tensors again only now that it has its segments.
                self._origin.regain(report.node)

    def _on_call(self, incoming: Incoming[TensorCall]) -> None:
        if incoming.message.dst == self._node:
            self._transport.called(incoming.message.src)

    def _on_request(self, incoming: Incoming[InferRequest]) -> None:
        deployment, request = incoming.levels[0], incoming.message
        was_busy, self._asked_at = self.is_busy, time.monotonic()
        if not was_busy:
            self._roused()
        self._answered.take(
            deployment,
            request,
            incoming.response_topic,
            lambda reply: self._session.reply(incoming, REPLY, reply),
            lambda answer: self._intake.take(deployment, request, answer),
        )


def _words(plan: Plan) -> str:
    return ", ".join(
        f"{stage.node} relays" if stage.start == stage.stop else f"{stage.node} ops {stage.start}..{stage.stop - 1}"
        for stage in plan.stages
    )
