"""The deployments that are due, each with all that its plan is weighed by; nothing is decided here.

The load that a deployment reckons with on a node is what others take of it: their processes, and our other plans.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from broker.messages import Plan
from coordinator.assembling import Assembly, Surroundings, assemble, circumstances, surroundings
from coordinator.candidates import PASSED_OVER, candidates, is_large, with_none_but
from coordinator.causes import cause_to_weigh
from coordinator.configuration import PlanningSettings
from coordinator.deployment import Deployment
from coordinator.evaluation import Circumstances
from coordinator.membership import Admission, admission
from coordinator.site import DeploymentState, State

MS_PER_S = 1_000.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What a deployment sees of a site: the nodes that it is planned with, and what is believed of them."""

    near: State
    around: Circumstances
    admission: Admission


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
    """All deployments that are due now.

    Of a large site only what happens to the nodes that a deployment was planned with makes it due before its time; who
    these are is chosen anew whenever it is.
    """
    shared = None if is_large(state) else surroundings(state, now)
    shares = {name: shares_of(deployment, state) for name, deployment in state.deployments.items()}
    total: dict[str, float] = {}
    for share in shares.values():
        for node, taken in share.items():
            total[node] = total.get(node, 0.0) + taken

    def seen(deployment: DeploymentState, near: State, site: Surroundings | None = None) -> _Look:
        own = shares[deployment.declared.name]
        others = {node: taken - own.get(node, 0.0) for node, taken in total.items()}
        site = site or surroundings(near, now)
        around = circumstances(deployment, near, site, others, now=now, refusal_s=settings.refusal_s)
        return _Look(near, around, admission(deployment, near, around, now, settings.join_s))

    due: list[Situation] = []
    for deployment in state.deployments.values():
        last = deployment.evaluation
        if shared is not None:
            look = seen(deployment, state, shared)
        elif last is not None:
            look = seen(deployment, with_none_but(last.circumstances.sessions, state))
        else:
            look = seen(deployment, with_none_but(candidates(deployment, state, now), state))
        cause = cause_to_weigh(deployment, look.around, look.admission, now, settings)
        if cause is None:
            continue
        if shared is None and last is not None:
            look = seen(deployment, with_none_but(candidates(deployment, state, now), state))
        waiting = frozenset(node for node, _ in look.admission.waiting)
        assembly = assemble(deployment, look.near, look.around, waiting, now)
        if shared is None:
            near = look.near.nodes
            passed_over = (name for name, node in state.nodes.items() if node.online and name not in near)
            assembly = replace(assembly, left_out=dict.fromkeys(passed_over, PASSED_OVER) | dict(assembly.left_out))
        due.append(Situation(deployment, state, look.around, look.admission, assembly, cause, now, settings))
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
