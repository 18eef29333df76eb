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
    MachineReading,
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
from coordinator.clocks import Reading, ahead_s, with_clock_reading
from coordinator.deployment import Deployment
from coordinator.estimates import (
    UNLOADED,
    first_link_belief,
    with_link_reading,
    with_load_reading,
)
from coordinator.evaluation import Evaluation
from coordinator.plan_events import (
    with_deployment,
    with_evaluation,
    with_inference,
    with_miss,
    with_plan,
    with_ready,
)
from coordinator.site import (
    DeploymentState,
    LinkState,
    LoadState,
    NodeState,
    ProfileState,
    State,
    Unprofiled,
)
from coordinator.snapshot import Snapshot, restored
from splitrail import __version__

MAX_NODES = 4_096
MAX_LINKS = 32_768
KEPT_AGE_S = 60.0
"""How old a reading counts that the broker had kept: no clock tells, and no belief is less sure after a minute."""

SiteMessage = (
    NodeStatus
    | NodeProfile
    | ProfileFailure
    | LinkReading
    | NodeLoad
    | EnergyReading
    | MachineReading
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
            return with_deployment(state, DeploymentState(declared=deployment, epoch=epoch))
        case Received(message, at, retained):
            state = state if retained else _with_clock(message, at, _with_sign_of_life(message, at, state))
            return _apply_message(message, at, state, retained=retained)
        case Connected(at):
            return replace(state, connected_at=at)
        case Evaluated(name, evaluation):
            return with_evaluation(name, evaluation, state)
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
        case MachineReading():
            return _apply_machine(message, state)
        case InferenceReport():
            return with_inference(message, at, state)
        case StageMiss():
            return with_miss(message, at, state)
        case SpoolReport():
            return _apply_spool(message, state)
        case PlanReady():
            return with_ready(message, at, state)
        case Plan():
            return with_plan(message, state)


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


def _with_clock(message: SiteMessage, at: float, state: State) -> State:
    """The state after a reading that tells of its node's clock."""
    if not isinstance(message, Reading):
        return state
    node, ahead = state.nodes.get(message.node), ahead_s(message, at)
    if node is None or ahead is None:
        return state
    clock = with_clock_reading(node.clock, ahead, at)
    return replace(state, nodes=_with(state.nodes, node.name, replace(node, clock=clock)))


def _apply_machine(reading: MachineReading, state: State) -> State:
    node = state.nodes.get(reading.node)
    if node is None or node.session != reading.session:
        return state
    return replace(state, nodes=_with(state.nodes, node.name, replace(node, machine=reading)))


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
            clock=known.clock if known is not None else None,
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


def _with(mapping: Mapping[Key, Value], key: Key, value: Value) -> Mapping[Key, Value]:
    return {**mapping, key: value}
