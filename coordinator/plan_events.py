"""What is heard of plans and of requests under them, folded into a site's state: readiness, inferences, misses.

What is heard of nodes and links, and which events there are, is `coordinator.state`'s.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from broker.messages import InferenceReport, Plan, PlanReady, StageMiss
from broker.terms import follows
from coordinator.estimates import UNLOADED, with_stage
from coordinator.evaluation import Evaluation
from coordinator.site import DeploymentState, Failure, LoadState, Refusal, State, last_heard_of
from coordinator.suspicions import Suspicion, after_miss
from coordinator.traffic import Window

LONGEST_LOAD_MS = 60_000.0
"""A node that says that it loaded for longer is not believed."""
LONGEST_EPOCH_STEP = 2**24
"""No site makes as many plans unheard; a plan that claims more would leave no number for the next one."""
MAX_SUSPECTS = 256
"""Of each kind, for each deployment."""

Key = TypeVar("Key")


def with_inference(report: InferenceReport, at: float, state: State) -> State:
    """The state after an inference: how often there are some, whether they fail, what their stages tell of loads."""
    deployment = state.deployments.get(report.deployment)
    if deployment is None or deployment.declared.origin != report.origin:
        return state
    failed = report.error is not None
    deployment = replace(deployment, traffic=deployment.traffic.counted(None if failed else report.latency_ms, at))
    if report.error is not None:
        return with_deployment(state, replace(deployment, last_failure=Failure(at, report.error)))
    return _with_stages(report, deployment.declared.model.reference.sha256, at, with_deployment(state, deployment))


def _with_stages(report: InferenceReport, sha256: str, at: float, state: State) -> State:
    """The state with what the stages' times tell of their nodes' loads."""
    loads = dict(state.loads)
    for stage in report.stages:
        node, known = state.nodes.get(stage.node), state.profiles.get((stage.node, sha256))
        if node is None or known is None:
            continue
        profiled_ms = sum(known.profile.op_ms[stage.start : stage.stop])
        op_ms = max(0.0, stage.compute_ms - stage.codec_ms)
        before = loads.get(node.name)
        if before is None or before.session != node.session:
            before = LoadState(node.session, UNLOADED)
        loads[node.name] = replace(before, belief=with_stage(before.belief, op_ms, profiled_ms, at))
    return replace(state, loads=loads)


def with_ready(ready: PlanReady, at: float, state: State) -> State:
    """The state after a node said that it is ready for the plan in force, or cannot be."""
    deployment = state.deployments.get(ready.deployment)
    node = state.nodes.get(ready.node)
    if deployment is None or node is None:
        return state
    if _knows_newer(ready, deployment):
        return with_deployment(state, replace(deployment, plan=None, epoch=ready.epoch, ready=frozenset()))
    if deployment.plan is None or ready.epoch != deployment.plan.epoch:
        return state
    before = deployment.refusals.get(ready.node)
    if ready.ready:
        others = {name: refusal for name, refusal in deployment.refusals.items() if name != ready.node}
        load_ms = {**deployment.load_ms, ready.node: min(ready.load_ms, LONGEST_LOAD_MS)}
        now_ready = deployment.ready | {ready.node}
        return with_deployment(state, replace(deployment, ready=now_ready, refusals=others, load_ms=load_ms))
    same_session = before is not None and before.session == node.session
    if before is not None and same_session and before.epoch == ready.epoch:
        # Agents repeat their reports after a reconnect.
        return state
    refusal = Refusal(
        session=node.session,
        epoch=ready.epoch,
        reason=ready.reason or "it gave no reason",
        at=at,
        count=before.count + 1 if before is not None and same_session else 1,
    )
    return with_deployment(state, replace(deployment, refusals={**deployment.refusals, ready.node: refusal}))


def _knows_newer(ready: PlanReady, deployment: DeploymentState) -> bool:
    """Whether the origin follows a plan that neither the broker nor our store remembers: its next one is above that."""
    is_origin = ready.node == deployment.declared.origin
    return is_origin and deployment.epoch < ready.epoch <= deployment.epoch + LONGEST_EPOCH_STEP


def with_miss(miss: StageMiss, at: float, state: State) -> State:
    """The state with a suspect node, and a suspect link where it did not even take the tensors.

    Which of the two failed shows later: the node counts again once it is heard, the link once it is measured.
    Only a deployment's origin is heard, and only on its own deployment.
    """
    deployment = state.deployments.get(miss.deployment)
    if deployment is None or miss.node != deployment.declared.origin or miss.suspect not in state.nodes:
        return state
    nodes, links = deployment.suspect_nodes, deployment.suspect_links
    if miss.suspect != deployment.declared.origin:
        nodes = _suspecting(nodes, miss.suspect, miss, at, last_heard_of(miss.suspect, state))
    pair = (miss.src, miss.suspect)
    if not miss.delivered and pair in state.links:
        links = _suspecting(links, pair, miss, at, state.links[pair].arrived_at)
    return with_deployment(state, replace(deployment, suspect_nodes=nodes, suspect_links=links))


def _suspecting(
    known: Mapping[Key, Suspicion], suspect: Key, miss: StageMiss, at: float, heard_at: float
) -> Mapping[Key, Suspicion]:
    if suspect not in known and len(known) >= MAX_SUSPECTS:
        return known
    return {**known, suspect: after_miss(known.get(suspect), miss, at, heard_at)}


def with_plan(plan: Plan, state: State) -> State:
    """The state after a plan was published, by us, by another coordinator or by an earlier run."""
    deployment = state.deployments.get(plan.deployment)
    if deployment is None or plan.epoch > deployment.epoch + LONGEST_EPOCH_STEP:
        return state
    before, declared = deployment.plan, deployment.declared
    # The number of a plan counts whoever has made it: agents may hold it.
    epoch = max(deployment.epoch, plan.epoch)
    if plan.epoch < deployment.epoch if before is None else not follows(plan, before, before.term):
        return with_deployment(state, replace(deployment, epoch=epoch))
    # Agents fetch the model from where the newest notice says, so its address in the plan does not matter.
    fits = (plan.model.sha256, plan.origin, plan.strategy) == (
        declared.model.reference.sha256,
        declared.origin,
        declared.strategy,
    )
    is_said_again = before is not None and _content(plan) == _content(before)
    return with_deployment(
        state,
        replace(
            deployment,
            plan=plan if fits else None,
            epoch=epoch,
            ready=deployment.ready if is_said_again else frozenset(),
        ),
    )


def _content(plan: Plan) -> tuple[object, ...]:
    """What a plan does, whoever says it."""
    return plan.epoch, plan.stages, plan.way_back


def with_evaluation(name: str, evaluation: Evaluation, state: State) -> State:
    """The state after a deployment's plan was weighed."""
    deployment = replace(state.deployments[name], evaluation=evaluation)
    if evaluation.ends_window:
        deployment = replace(deployment, traffic=replace(deployment.traffic, window=Window()))
    return with_deployment(state, deployment)


def with_deployment(state: State, deployment: DeploymentState) -> State:
    """The state with this deployment in place of the one of its name."""
    return replace(state, deployments={**state.deployments, deployment.declared.name: deployment})
