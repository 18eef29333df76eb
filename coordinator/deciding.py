"""What to do next, as a pure function: which plans to publish, and why; the service carries it out.

What a strategy wants is `coordinator.searching`'s part, whether it is worth a switch `coordinator.switching`'s.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from broker.messages import Plan, Prediction
from coordinator.account import Account, Preference, Stages
from coordinator.configuration import PlanningSettings
from coordinator.cost import PartitionPlan, broken_bound, evaluate
from coordinator.errors import PlanError
from coordinator.evaluation import Evaluation
from coordinator.expectation import prediction_of
from coordinator.joint import JointPlan, plan_together
from coordinator.permitted_codecs import live_stages, loss_of, planned_stages
from coordinator.prices import within
from coordinator.problem import Problem
from coordinator.searching import CONTINUAL, Found, search
from coordinator.site import State
from coordinator.situation import Situation, situations
from coordinator.state import Evaluated
from coordinator.switching import Comparison, judge
from coordinator.uncertainty import difference_std

MS_PER_S = 1_000.0
LEAST_RATE = 1.0
"""A deployment that is asked more rarely is still planned as if a request came every second, to be ready for one."""
SLOW_START = 0.1
"""What the first request under a plan costs beyond the others, as a share of one: cold caches, new connections.

Segments are run once before a node is ready; emulated MobileNetV2's first requests then took 1 % longer than those
that followed."""


@dataclass(frozen=True, slots=True)
class PublishPlan:
    """Broadcast this plan; from then on it is the plan in force."""

    plan: Plan


Instruction = PublishPlan | Evaluated


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the plan in force fares under the current estimates."""

    plan: PartitionPlan | None
    """None where there is no plan, or where it cannot be scored."""
    fault: str | None
    """Why it must be replaced; None where it need not be."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Whether what was found is published, and why; and the account after that."""

    reason: str | None
    account: Account | None
    look_at: float | None = None


def decide(state: State, now: float, settings: PlanningSettings) -> list[Instruction]:
    """The instructions of all deployments that are due; `now` in s since 1970. Nothing is due without a cause."""
    due = situations(state, now, settings)
    joint = plan_together(due)
    return [instruction for situation in due for instruction in _weigh(situation, joint.get(situation.declared.name))]


def _weigh(situation: Situation, joint: JointPlan | None) -> list[Instruction]:
    problem = joint.problem if joint is not None else situation.assembly.problem
    standing = _standing(situation, problem)
    found = Found(joint.plan) if joint is not None else search(situation, standing.fault)
    outcome = _outcome(situation, problem, standing, found.plan)
    instructions: list[Instruction] = []
    in_force = standing.plan
    if found.plan is not None and outcome.reason is not None:
        in_force = found.plan
    prediction = None
    if in_force is not None and problem is not None:
        prediction = prediction_of(problem, in_force, situation.state, situation.now)
    if prediction is not None and found.plan is not None and outcome.reason is not None:
        instructions.append(PublishPlan(_plan(situation, found.plan, prediction, outcome.reason)))
    next_at, last = situation.admission.next_at, situation.deployment.evaluation
    evaluation = Evaluation(
        at=situation.now,
        circumstances=situation.around,
        prediction=prediction,
        obstacle=found.obstacle,
        left_out=situation.assembly.left_out,
        admitted=situation.admission.members,
        account=outcome.account,
        look_at=next_at if outcome.look_at is None else min(next_at, outcome.look_at),
        units=found.units or (last.units if last is not None else None),
        ends_window=found.ends_window,
    )
    return [*instructions, Evaluated(situation.declared.name, evaluation)]


def _standing(situation: Situation, problem: Problem | None) -> _Standing:
    plan = situation.plan
    if plan is None:
        return _Standing(None, None)
    if situation.declared.stages and plan.stages != situation.declared.stages:
        return _Standing(None, "the settings give another split")
    named = dict.fromkeys((*(stage.node for stage in plan.stages), *plan.way_back))
    fault = next(filter(None, (_node_fault(situation, name, plan.epoch) for name in named)), None)
    fault = fault or _link_fault(situation, plan)
    if fault is not None or problem is None:
        return _Standing(None, fault or situation.assembly.obstacle)
    fault = _loss_fault(situation, plan)
    if fault is not None:
        return _Standing(None, fault)
    try:
        return _Standing(_scored(problem, plan.stages), None)
    except PlanError as error:
        return _Standing(None, str(error))


def _node_fault(situation: Situation, name: str, epoch: int) -> str | None:
    """Why the plan of this epoch cannot stay, as it names this node."""
    around, node = situation.around, situation.state.nodes.get(name)
    if name in around.refused:
        return f"{name} could not take its part: {around.refused[name]}"
    if name not in around.sessions:
        return f"{name} {node.refused}" if node is not None and node.online else f"{name} is offline"
    if name in around.suspects:
        return around.suspects[name]
    refusal = situation.deployment.refusals.get(name)
    if refusal is not None and refusal.epoch == epoch and refusal.session == around.sessions[name]:
        # Its refusal has ended, but it tries again only under a new epoch.
        return f"{name} is tried again"
    return None


def _link_fault(situation: Situation, plan: Plan) -> str | None:
    """Why the plan cannot stay, as it sends tensors over a link that did not deliver any."""
    suspects = situation.around.suspect_links
    way = (plan.origin, *(stage.node for stage in plan.stages), *plan.way_back)
    return next((suspects[pair] for pair in pairwise(way) if pair in suspects), None)


def _loss_fault(situation: Situation, plan: Plan) -> str | None:
    """Why the plan cannot stay, as its codecs change more answers than the deployment allows now."""
    declared = situation.declared
    loss = loss_of(declared.codec_figures, planned_stages(plan.stages))
    if declared.stages or within(loss, declared.accuracy_loss):
        return None
    return f"its codecs may change {loss:.3g} of the answers, and accuracy_loss allows {declared.accuracy_loss:g}"


def _outcome(
    situation: Situation, problem: Problem | None, standing: _Standing, found: PartitionPlan | None
) -> _Outcome:
    before, now = situation.deployment.evaluation, situation.now
    account = before.account if before is not None and before.account is not None else Account(now)
    if found is None or problem is None:
        return _Outcome(None, account.paused(now))
    needed = _need(situation, problem, standing)
    if needed is None and standing.plan is not None and situation.declared.strategy in CONTINUAL:
        seen = _comparison(situation, problem, standing.plan, found, account)
        verdict = judge(account, seen, now, situation.settings)
        reason = _advantage(situation, verdict.account, seen) if verdict.switch else None
        return _Outcome(reason, verdict.account, verdict.look_at)
    stages = _plan_stages(situation, found)
    preference = account.preference or Preference(stages, now, situation.cause)
    preference = replace(preference, stages=stages, since=now, cause=situation.cause)
    reason = needed or f"{situation.cause}; better by the strategy's own figures"
    return _Outcome(reason, Account(now, preference=preference, switched_at=now))


def _need(situation: Situation, problem: Problem, standing: _Standing) -> str | None:
    """Why a plan is needed, whatever it gains; None where the one in force can stay."""
    if situation.plan is None:
        return "first plan"
    if standing.plan is None:
        return standing.fault
    broken = broken_bound(problem, standing.plan.stages, standing.plan.score)
    return f"{situation.cause}; {broken.message}" if broken is not None else None


def _advantage(situation: Situation, account: Account, seen: Comparison) -> str:
    cause = account.preference.cause if account.preference else seen.cause
    if [(stage.node, stage.start, stage.stop) for stage in seen.standing] == [
        (stage.node, stage.start, stage.stop) for stage in seen.best
    ]:
        cause += "; the same split with other codecs"
    epoch = situation.plan.epoch if situation.plan is not None else situation.deployment.epoch
    return f"{cause}; {1.0 - seen.best_value / seen.standing_value:.0%} better than plan {epoch} by the model"


def _comparison(
    situation: Situation, problem: Problem, standing: PartitionPlan, found: PartitionPlan, account: Account
) -> Comparison:
    declared, traffic = situation.declared, situation.deployment.traffic
    stages, best = _plan_stages(situation, standing), _plan_stages(situation, found)
    known = {stages: standing.score.objective, best: found.score.objective}

    def value(of: Stages | None) -> float | None:
        if of is None:
            return None
        if of not in known:
            try:
                known[of] = _scored(problem, of).score.objective
            except PlanError:
                return None
        return known[of]

    return Comparison(
        standing=stages,
        standing_value=standing.score.objective,
        best=best,
        best_value=found.score.objective,
        cause=situation.cause,
        noise=difference_std(problem, situation.state, standing, found, situation.now) if best != stages else 0.0,
        cost=_switch_cost(situation, problem, found),
        requests_per_s=max(traffic.requests_per_s(situation.now), declared.requests_per_s, LEAST_RATE),
        preferred_value=value(account.preference.stages if account.preference else None),
        former_value=value(account.former),
    )


def _switch_cost(situation: Situation, problem: Problem, found: PartitionPlan) -> float:
    """What a switch costs, in objective values: a slow first request, and compute of an origin-only request's kind.

    Nodes load their parts side by side, so the slowest load counts, as it was last measured; 0 before the first.
    """
    nodes = {stage.node for stage in found.stages}
    load_ms = max((situation.deployment.load_ms.get(name, 0.0) for name in nodes), default=0.0)
    weights = problem.objective
    whole = weights.latency + weights.origin_energy + weights.total_energy + weights.throughput
    loading = whole * load_ms / sum(problem.nodes[problem.origin_index].op_ms)
    return situation.settings.switch_cost * (SLOW_START * found.score.objective + loading)


def _scored(problem: Problem, stages: Stages) -> PartitionPlan:
    planned = planned_stages(stages)
    return PartitionPlan(planned, evaluate(problem, planned))


def _plan_stages(situation: Situation, plan: PartitionPlan) -> Stages:
    return live_stages(plan.stages, situation.declared.codec_figures)


def _plan(situation: Situation, found: PartitionPlan, prediction: Prediction, reason: str) -> Plan:
    declared = situation.declared
    return Plan(
        deployment=declared.name,
        epoch=situation.deployment.epoch + 1,
        model=declared.model.reference,
        origin=declared.origin,
        stages=_plan_stages(situation, found),
        way_back=found.score.way_back,
        strategy=declared.strategy,
        prediction=prediction,
        reason=reason,
        created_at=situation.now,
    )
