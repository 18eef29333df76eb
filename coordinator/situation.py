"""The deployments that are due, each with all that its plan is weighed by; nothing is decided here.

The load that a deployment reckons with on a node is what others take of it: their processes, and our other plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.messages import Plan
from coordinator.assembling import Assembly, assemble, circumstances, surroundings
from coordinator.causes import cause_to_weigh
from coordinator.configuration import PlanningSettings
from coordinator.deployment import Deployment
from coordinator.evaluation import Circumstances
from coordinator.membership import Admission, admission
from coordinator.site import DeploymentState, State

MS_PER_S = 1_000.0


@dataclass(frozen=True, slots=True)
class Situation:
    """A deployment that is due, and why."""

    deployment: DeploymentState
    state: State
    around: Circumstances
    admission: Admission
    assembly: Assembly
    cause: str
    now: float
    settings: PlanningSettings

    @property
    def declared(self) -> Deployment:
        """What the deployment's settings say."""
        return self.deployment.declared

    @property
    def plan(self) -> Plan | None:
        """The plan in force."""
        return self.deployment.plan


def situations(state: State, now: float, settings: PlanningSettings) -> list[Situation]:
    """All deployments that are due now."""
    site = surroundings(state, now)
    shares = {name: shares_of(deployment, state) for name, deployment in state.deployments.items()}
    total: dict[str, float] = {}
    for share in shares.values():
        for node, taken in share.items():
            total[node] = total.get(node, 0.0) + taken
    due: list[Situation] = []
    for name, deployment in state.deployments.items():
        own = shares[name]
        others = {node: taken - own.get(node, 0.0) for node, taken in total.items()}
        around = circumstances(deployment, state, site, others, now=now, refusal_s=settings.refusal_s)
        admitted = admission(deployment, state, around, now, settings.join_s)
        cause = cause_to_weigh(deployment, around, admitted, now, settings)
        if cause is not None:
            waiting = frozenset(node for node, _ in admitted.waiting)
            assembly = assemble(deployment, state, around, waiting, now)
            due.append(Situation(deployment, state, around, admitted, assembly, cause, now, settings))
    return due


def shares_of(deployment: DeploymentState, state: State) -> Mapping[str, float]:
    """By node: the share of its time that the plan in force takes at the rate that the settings expect."""
    plan, rate = deployment.plan, deployment.declared.requests_per_s
    if plan is None or not rate:
        return {}
    shares: dict[str, float] = {}
    for stage in plan.stages:
        known = state.profiles.get((stage.node, plan.model.sha256))
        if known is not None:
            busy_ms = sum(known.profile.op_ms[stage.start : stage.stop])
            shares[stage.node] = shares.get(stage.node, 0.0) + busy_ms * rate / MS_PER_S
    return shares
