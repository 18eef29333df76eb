"""What to do next, as a pure function: which plans to publish, and why; the service carries it out.

Planning itself is `coordinator.strategies`' part, and what a plan hangs on is `coordinator.assembling`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.messages import NodeStatus, Plan, PlanStage, Prediction
from coordinator.assembling import Assembly, assemble, circumstances
from coordinator.configuration import PlanningSettings
from coordinator.cost import PartitionPlan, Score, Stage, broken_bound, evaluate
from coordinator.errors import CoordinatorError, PlanError
from coordinator.evaluation import Circumstances, Evaluation, LinkFigures
from coordinator.problem import RAW
from coordinator.state import DeploymentState, Evaluated, Pair, State
from coordinator.strategies import STRATEGIES

LEAST_RTT_CHANGE_MS = 2.0
"""Round trips jitter by this much on an idle wireless link; a change below it is never clear."""

SETTLING = frozenset({"static", "fog-only", "cloud-only"})
"""Strategies whose first plan stays and hangs on links: a wild first estimate must not decide it."""

REBIRTH_GRACE_S = 90.0
"""Three times the longest wait of an agent that connects again."""


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """Broadcast this plan; from then on it is the plan in force."""

    plan: Plan


Instruction = PublishPlan | Evaluated


@dataclass(frozen=True, slots=True)
class _Situation:
    """A deployment that is due, and all that its plan is weighed by."""

    deployment: DeploymentState
    state: State
    around: Circumstances
    assembly: Assembly
    now: float
    settings: PlanningSettings


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the plan in force fares under the current estimates."""

    score: Score | None
    """None where there is no plan, or where it cannot be scored."""
    fault: str | None
    """Why it must be replaced; None where it need not be."""


def decide(state: State, now: float, settings: PlanningSettings) -> list[Instruction]:
    """The instructions of all deployments that are due; `now` in s since 1970. Nothing is due without a cause."""
    instructions: list[Instruction] = []
    for deployment in state.deployments.values():
        around = circumstances(deployment, state, now, settings.refusal_s)
        cause = _cause(deployment, around, now, settings)
        if cause is not None:
            assembly = assemble(deployment, state, around)
            instructions += _weigh(_Situation(deployment, state, around, assembly, now, settings), cause)
    return instructions


def presumed_dead(state: State, now: float) -> list[NodeStatus]:
    """The deaths of online nodes that were never born again after the broker was reached anew.

    A broker that forgot its retained messages keeps no last will either, so nobody else would tell.
    """
    connected_at = state.connected_at
    if connected_at is None or not now - connected_at > REBIRTH_GRACE_S:
        return []
    return [
        NodeStatus(node=node.name, session=node.session, state="offline")
        for node in state.nodes.values()
        if node.online and node.heard_at < connected_at
    ]


def clear_change(before: Circumstances, after: Circumstances, link_change: float) -> str | None:
    """The first thing that a plan may hang on and that changed clearly, in words; None if nothing did.

    `link_change` is the share by which a link has to change.
    """
    return next(_changes(before, after, link_change), None)


def _changes(before: Circumstances, after: Circumstances, link_change: float) -> Iterator[str]:
    yield from (f"{name} left" for name in before.sessions if name not in after.sessions)
    yield from (f"{name} joined" for name, session in after.sessions.items() if before.sessions.get(name) != session)
    for name, reason in after.refused.items():
        if before.refused.get(name) != reason:
            yield f"{name} could not take its part: {reason}"
    yield from (f"{name} is tried again" for name in before.refused if name not in after.refused)
    yield from (f"{name} has profiled the model" for name in sorted(after.profiled - before.profiled))
    for pair, figures in after.links.items():
        change = _link_change(pair, before.links.get(pair), figures, link_change)
        if change is not None:
            yield change


def _link_change(pair: Pair, before: LinkFigures | None, after: LinkFigures, link_change: float) -> str | None:
    link = f"link {pair[0]} → {pair[1]}"
    if before is None:
        return f"{link} measured: {after.mbps:.3g} Mbit/s, {after.rtt_ms:.3g} ms"
    if abs(after.mbps - before.mbps) > link_change * before.mbps:
        verb = "rose" if after.mbps > before.mbps else "fell"
        return f"{link} {verb} from {before.mbps:.3g} to {after.mbps:.3g} Mbit/s"
    if abs(after.rtt_ms - before.rtt_ms) > max(link_change * before.rtt_ms, LEAST_RTT_CHANGE_MS):
        verb = "rose" if after.rtt_ms > before.rtt_ms else "fell"
        return f"{link}: round trip {verb} from {before.rtt_ms:.3g} to {after.rtt_ms:.3g} ms"
    return None


def _cause(deployment: DeploymentState, around: Circumstances, now: float, settings: PlanningSettings) -> str | None:
    """Why the deployment is to be weighed now, in words; None if it is not."""
    last = deployment.evaluation
    if last is None:
        return "start"
    change = clear_change(last.circumstances, around, settings.link_change)
    # A clock that was set back must not put the next evaluation off.
    if change is None and not 0.0 <= now - last.at < settings.interval_s:
        return f"estimates of the last {settings.interval_s:g} s"
    return change


def _weigh(situation: _Situation, cause: str) -> list[Instruction]:
    standing = _standing(situation)
    found, obstacle = _search(situation, standing)
    instructions: list[Instruction] = []
    score = standing.score
    if found is not None:
        reason = _reason_to_change(situation, standing, found, cause)
        if reason is not None:
            instructions.append(PublishPlan(_plan(situation.deployment, found, reason, situation.now)))
            score = found.score
    evaluation = Evaluation(
        at=situation.now,
        circumstances=situation.around,
        prediction=_prediction(score) if score else None,
        obstacle=obstacle,
        left_out=situation.assembly.left_out,
    )
    return [*instructions, Evaluated(situation.deployment.declared.name, evaluation)]


def _standing(situation: _Situation) -> _Standing:
    plan, problem = situation.deployment.plan, situation.assembly.problem
    if plan is None:
        return _Standing(None, None)
    named = dict.fromkeys((*(stage.node for stage in plan.stages), *plan.way_back))
    fault = next(filter(None, (_node_fault(situation, name, plan.epoch) for name in named)), None)
    if fault is not None or problem is None:
        return _Standing(None, fault or situation.assembly.obstacle)
    try:
        return _Standing(evaluate(problem, _stages(plan)), None)
    except PlanError as error:
        return _Standing(None, str(error))


def _node_fault(situation: _Situation, name: str, epoch: int) -> str | None:
    """Why the plan of this epoch cannot stay, as it names this node."""
    around, node = situation.around, situation.state.nodes.get(name)
    if name in around.refused:
        return f"{name} could not take its part: {around.refused[name]}"
    if name not in around.sessions:
        return f"{name} {node.refused}" if node is not None and node.online else f"{name} is offline"
    refusal = situation.deployment.refusals.get(name)
    if refusal is not None and refusal.epoch == epoch and refusal.session == around.sessions[name]:
        # Its refusal has ended, but it tries again only under a new epoch.
        return f"{name} is tried again"
    return None


def _search(situation: _Situation, standing: _Standing) -> tuple[PartitionPlan | None, str | None]:
    """The strategy's plan where one is called for, or the obstacle, or neither."""
    plan, strategy, problem = (
        situation.deployment.plan,
        situation.deployment.declared.strategy,
        situation.assembly.problem,
    )
    if strategy != "exact" and plan is not None and standing.fault is None:
        return None, None
    if problem is None:
        return None, situation.assembly.obstacle
    wait = _launch_wait(situation) if strategy in SETTLING and plan is None else None
    if wait is not None:
        return None, wait
    try:
        return STRATEGIES[strategy](problem), None
    except CoordinatorError as error:
        return None, f"{standing.fault}; {error}" if standing.fault else str(error)


def _launch_wait(situation: _Situation) -> str | None:
    """What a plan that will stay still waits for: it is made of all there is once nothing new has come for a while.

    A node that has announced itself is given ten times as long to profile the model.
    """
    state, around, settle_s = situation.state, situation.around, situation.settings.settle_s
    strategy = situation.deployment.declared.strategy
    sha256 = situation.deployment.declared.model.reference.sha256
    births = [state.nodes[name].since for name in around.sessions]
    profiles = [state.profiles[name, sha256].arrived_at for name in around.profiled]
    links = [state.links[pair].first_at for pair in around.links]
    quiet_s = situation.now - max((*births, *profiles, *links))
    missing = sorted(set(around.sessions) - around.profiled - set(around.refused))
    if missing and quiet_s < 10 * settle_s:
        return f"the {strategy} plan waits for the profile of {', '.join(missing)}"
    if quiet_s < settle_s:
        return f"the {strategy} plan waits until nothing new has come for {settle_s:g} s"
    return None


def _reason_to_change(situation: _Situation, standing: _Standing, found: PartitionPlan, cause: str) -> str | None:
    plan, problem = situation.deployment.plan, situation.assembly.problem
    if plan is None:
        return "first plan"
    if standing.score is None or problem is None:
        return standing.fault
    broken = broken_bound(problem, _stages(plan), standing.score)
    if broken is not None:
        return f"{cause}; {broken.message}"
    before, after = standing.score.objective, found.score.objective
    if after >= before * (1.0 - situation.settings.hysteresis):
        return None
    return f"{cause}; {1.0 - after / before:.0%} better than plan {plan.epoch} by the model"


def _stages(plan: Plan) -> Sequence[Stage]:
    return [Stage(stage.node, stage.start, stage.stop, RAW) for stage in plan.stages]


def _plan(deployment: DeploymentState, found: PartitionPlan, reason: str, now: float) -> Plan:
    declared = deployment.declared
    return Plan(
        deployment=declared.name,
        epoch=deployment.epoch + 1,
        model=declared.model.reference,
        origin=declared.origin,
        stages=tuple(PlanStage(node=stage.node, start=stage.start, stop=stage.stop) for stage in found.stages),
        way_back=found.score.way_back,
        strategy=declared.strategy,
        prediction=_prediction(found.score),
        reason=reason,
        created_at=now,
    )


def _prediction(score: Score) -> Prediction:
    return Prediction(
        latency_ms=score.latency_ms,
        origin_energy_j=score.origin_energy_j,
        total_energy_j=score.total_energy_j,
        objective=score.objective,
    )
