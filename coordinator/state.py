"""What the coordinator knows of its site, as a pure fold: `apply(event, state) -> state`.

The same events give the same state again; what follows from a state is decided in `coordinator.deciding`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from broker.messages import (
    PROTOCOL_VERSION,
    EnergyReading,
    InferenceReport,
    LinkReading,
    NodeAnnouncement,
    NodeLoad,
    NodeProfile,
    NodeStatus,
    Plan,
    PlanReady,
    ProfileFailure,
    SpoolReport,
    StageMiss,
)
from broker.terms import follows
from coordinator.deployment import Deployment
from coordinator.estimates import (
    UNLOADED,
    first_link_belief,
    with_link_reading,
    with_load_reading,
    with_stage,
)
from coordinator.evaluation import Evaluation
from coordinator.site import (
    DeploymentState,
    Failure,
    LinkState,
    LoadState,
    NodeState,
    ProfileState,
    Refusal,
    State,
    Unprofiled,
    last_heard_of,
)
from coordinator.snapshot import Snapshot, restored
from coordinator.suspicions import Suspicion, after_miss
from coordinator.traffic import Window
from splitrail import __version__

MAX_NODES = 256
MAX_LINKS = 4_096
LONGEST_LOAD_MS = 60_000.0
"""A node that says that it loaded for longer is not believed."""
MAX_SUSPECTS = 256
"""Of each kind, for each deployment."""
KEPT_AGE_S = 60.0
"""How old a reading counts that the broker had kept: no clock tells, and no belief is less sure after a minute."""

SiteMessage = (
    NodeStatus
    | NodeProfile
    | ProfileFailure
    | LinkReading
    | NodeLoad
    | EnergyReading
    | InferenceReport
    | StageMiss
    | SpoolReport
    | PlanReady
    | Plan
)


@dataclass(frozen=True, slots=True)
class DeploymentDeclared:
    """The settings name this deployment; `epoch` is the highest that an earlier run published for it."""

    deployment: Deployment
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the site, or a plan of our own, and the time on the coordinator's clock."""

    message: SiteMessage
    at: float
    retained: bool = False
    """Whether the broker had kept it, for a time that nobody knows."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker was reached, for the first time or again; it may have forgotten everything."""

    at: float


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A deployment's plan was weighed."""

    deployment: str
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Restored:
    """What an earlier run on the same store knew; deployments must be declared before."""

    snapshot: Snapshot


Event = DeploymentDeclared | Received | Connected | Evaluated | Restored

Key = TypeVar("Key")
Value = TypeVar("Value")


def apply(event: Event, state: State) -> State:
    """The state after `event`; what does not concern this site's nodes and deployments leaves it as it was."""
    match event:
        case DeploymentDeclared(deployment, epoch):
            return _with_deployment(state, DeploymentState(declared=deployment, epoch=epoch))
        case Received(message, at, retained):
            state = state if retained else _with_sign_of_life(message, at, state)
            return _apply_message(message, at, state, retained=retained)
        case Connected(at):
            return replace(state, connected_at=at)
        case Evaluated(name, evaluation):
            return _apply_evaluation(name, evaluation, state)
        case Restored(snapshot):
            return restored(snapshot, state)


def _apply_message(  # noqa: PLR0911  # one line for each kind
    message: SiteMessage, at: float, state: State, *, retained: bool
) -> State:
    match message:
        case NodeStatus():
            return _apply_status(message, at, state)
        case NodeProfile():
            return _apply_profile(message, at, state)
        case ProfileFailure():
            return _apply_profile_failure(message, state)
        case LinkReading():
            return _apply_link(message, at, state, retained=retained)
        case NodeLoad():
            return _apply_load(message, at, state, retained=retained)
        case EnergyReading():
            return state
        case InferenceReport():
            return _apply_inference(message, at, state)
        case StageMiss():
            return _apply_miss(message, at, state)
        case SpoolReport():
            return _apply_spool(message, state)
        case PlanReady():
            return _apply_ready(message, at, state)
        case Plan():
            return _apply_plan(message, state)


def _with_sign_of_life(message: SiteMessage, at: float, state: State) -> State:
    """The state after a sign of life of the node that has published `message` just now."""
    match message:
        case Plan():
            return state
        case LinkReading(src=name) | InferenceReport(origin=name):
            pass
        case _:
            name = message.node
    node = state.nodes.get(name)
    if node is None or (isinstance(message, NodeStatus) and message.state == "offline"):
        return state
    return replace(state, nodes=_with(state.nodes, name, replace(node, spoke_at=at)))


def _apply_status(status: NodeStatus, at: float, state: State) -> State:
    known = state.nodes.get(status.node)
    if status.state == "offline":
        if known is None or known.session != status.session:
            return state
        node = replace(known, online=False, since=at if known.online else known.since)
    elif status.announcement is None or (known is None and len(state.nodes) >= MAX_NODES):
        return state
    elif known is not None and known.online and known.session == status.session:
        # The same birth again, as after every reconnect.
        refused = protocol_refusal(status.announcement)
        node = replace(known, announcement=status.announcement, refused=refused, heard_at=at)
    else:
        node = NodeState(
            name=status.node,
            session=status.session,
            online=True,
            announcement=status.announcement,
            since=at,
            refused=protocol_refusal(status.announcement),
            heard_at=at,
        )
        state = _without_suspicions(node.name, state)
    return replace(state, nodes=_with(state.nodes, node.name, node))


def _without_suspicions(name: str, state: State) -> State:
    """The state after a node was born: nothing that it did in an earlier life is held against it."""
    deployments = {
        each.declared.name: replace(
            each,
            suspect_nodes={node: suspicion for node, suspicion in each.suspect_nodes.items() if node != name},
            suspect_links={pair: suspicion for pair, suspicion in each.suspect_links.items() if name not in pair},
        )
        for each in state.deployments.values()
    }
    return replace(state, deployments=deployments)


def protocol_refusal(announcement: NodeAnnouncement) -> str | None:
    """Why a node of this announcement cannot be planned; None if it can."""
    if announcement.protocol == PROTOCOL_VERSION:
        return None
    older = "the node" if announcement.protocol < PROTOCOL_VERSION else "the coordinator"
    return (
        f"runs splitrail {announcement.version} (protocol {announcement.protocol}), this coordinator runs "
        f"{__version__} and speaks protocol {PROTOCOL_VERSION}: upgrade splitrail on {older}"
    )


def _apply_profile(profile: NodeProfile, at: float, state: State) -> State:
    key = (profile.node, profile.model)
    if not _is_wanted(profile.model, state) or (
        key not in state.profiles and len(state.profiles) >= MAX_NODES * len(state.deployments)
    ):
        return state
    failures = {pair: failure for pair, failure in state.unprofiled.items() if pair != key}
    return replace(state, profiles=_with(state.profiles, key, ProfileState(profile, at)), unprofiled=failures)


def _apply_profile_failure(failure: ProfileFailure, state: State) -> State:
    node = state.nodes.get(failure.node)
    if node is None or not _is_wanted(failure.model, state):
        return state
    unprofiled = Unprofiled(node.session, failure.reason or "it gave no reason")
    return replace(state, unprofiled=_with(state.unprofiled, (failure.node, failure.model), unprofiled))


def _is_wanted(sha256: str, state: State) -> bool:
    return any(each.declared.model.reference.sha256 == sha256 for each in state.deployments.values())


def _apply_link(reading: LinkReading, at: float, state: State, *, retained: bool) -> State:
    key = (reading.src, reading.dst)
    known = state.links.get(key)
    if reading.src == reading.dst or (known is None and len(state.links) >= MAX_LINKS):
        return state
    if retained:
        if known is not None and known.reading == reading:
            return state
        at = max(at - KEPT_AGE_S, known.arrived_at) if known is not None else at - KEPT_AGE_S
    if known is None:
        link = LinkState(reading, at, at, first_link_belief(reading, at))
    else:
        belief = with_link_reading(known.belief, known.reading, reading, at)
        link = LinkState(reading, known.first_at, at, belief)
    return replace(state, links=_with(state.links, key, link))


def _apply_load(reading: NodeLoad, at: float, state: State, *, retained: bool) -> State:
    known = state.loads.get(reading.node)
    if known is None and len(state.loads) >= MAX_NODES:
        return state
    belief = known.belief if known is not None and known.session == reading.session else UNLOADED
    if retained:
        at = max(at - KEPT_AGE_S, belief.stretch.at)
    load = LoadState(reading.session, with_load_reading(belief, reading, at), reading.emulated)
    return replace(state, loads=_with(state.loads, reading.node, load))


def _apply_spool(report: SpoolReport, state: State) -> State:
    if report.node not in state.spools and len(state.spools) >= MAX_NODES:
        return state
    return replace(state, spools=_with(state.spools, report.node, report))


def _apply_inference(report: InferenceReport, at: float, state: State) -> State:
    deployment = state.deployments.get(report.deployment)
    if deployment is None or deployment.declared.origin != report.origin:
        return state
    failed = report.error is not None
    deployment = replace(deployment, traffic=deployment.traffic.counted(None if failed else report.latency_ms, at))
    if report.error is not None:
        return _with_deployment(state, replace(deployment, last_failure=Failure(at, report.error)))
    return _with_stages(report, deployment.declared.model.reference.sha256, at, _with_deployment(state, deployment))


def _with_stages(report: InferenceReport, sha256: str, at: float, state: State) -> State:
    """The state with what the stages' times tell of their nodes' loads."""
    loads = dict(state.loads)
    for stage in report.stages:
        node, known = state.nodes.get(stage.node), state.profiles.get((stage.node, sha256))
        if node is None or known is None:
            continue
        profiled_ms = sum(known.profile.op_ms[stage.start : stage.stop])
        before = loads.get(node.name)
        if before is None or before.session != node.session:
            before = LoadState(node.session, UNLOADED)
        loads[node.name] = replace(before, belief=with_stage(before.belief, stage.compute_ms, profiled_ms, at))
    return replace(state, loads=loads)


def _apply_ready(ready: PlanReady, at: float, state: State) -> State:
    deployment = state.deployments.get(ready.deployment)
    node = state.nodes.get(ready.node)
    if deployment is None or deployment.plan is None or node is None or ready.epoch != deployment.plan.epoch:
        return state
    before = deployment.refusals.get(ready.node)
    if ready.ready:
        others = {name: refusal for name, refusal in deployment.refusals.items() if name != ready.node}
        load_ms = _with(deployment.load_ms, ready.node, min(ready.load_ms, LONGEST_LOAD_MS))
        now_ready = deployment.ready | {ready.node}
        return _with_deployment(state, replace(deployment, ready=now_ready, refusals=others, load_ms=load_ms))
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
    return _with_deployment(state, replace(deployment, refusals=_with(deployment.refusals, ready.node, refusal)))


def _apply_miss(miss: StageMiss, at: float, state: State) -> State:
    """Suspect the node, and the link where it did not even take the tensors: which of them failed shows later.

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
    return _with_deployment(state, replace(deployment, suspect_nodes=nodes, suspect_links=links))


def _suspecting(
    known: Mapping[Key, Suspicion], suspect: Key, miss: StageMiss, at: float, heard_at: float
) -> Mapping[Key, Suspicion]:
    if suspect not in known and len(known) >= MAX_SUSPECTS:
        return known
    return _with(known, suspect, after_miss(known.get(suspect), miss, at, heard_at))


def _apply_plan(plan: Plan, state: State) -> State:
    deployment = state.deployments.get(plan.deployment)
    if deployment is None:
        return state
    before, declared = deployment.plan, deployment.declared
    # The number of a plan counts whoever has made it: agents may hold it.
    epoch = max(deployment.epoch, plan.epoch)
    if plan.epoch < deployment.epoch if before is None else not follows(plan, before, before.term):
        return _with_deployment(state, replace(deployment, epoch=epoch))
    # Agents fetch the model from where the newest notice says, so its address in the plan does not matter.
    fits = (plan.model.sha256, plan.origin, plan.strategy) == (
        declared.model.reference.sha256,
        declared.origin,
        declared.strategy,
    )
    is_said_again = before is not None and _content(plan) == _content(before)
    return _with_deployment(
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


def _apply_evaluation(name: str, evaluation: Evaluation, state: State) -> State:
    deployment = replace(state.deployments[name], evaluation=evaluation)
    if evaluation.ends_window:
        deployment = replace(deployment, traffic=replace(deployment.traffic, window=Window()))
    return _with_deployment(state, deployment)


def _with_deployment(state: State, deployment: DeploymentState) -> State:
    return replace(state, deployments=_with(state.deployments, deployment.declared.name, deployment))


def _with(mapping: Mapping[Key, Value], key: Key, value: Value) -> Mapping[Key, Value]:
    return {**mapping, key: value}
