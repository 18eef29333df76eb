"""What the coordinator knows of its site, as a pure fold: `apply(event, state) -> state`.

The same events give the same state again; what follows from a state is decided in `coordinator.deciding`.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

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


_Growing = Literal["nodes", "profiles", "links", "loads", "unprofiled", "spools"]

Event = DeploymentDeclared | Received | Connected | Evaluated | Restored


class _Draft:
    """A state in the making: of its mappings that grow with the site each is copied once, at its first change.

    So a burst costs what its events do, and not as much for each of them as the site is large.
    """

    __slots__ = ("_copies", "state")

    def __init__(self, state: State) -> None:
        self.state = state
        self._copies: dict[str, dict[Any, Any]] = {}

    def put(self, field: _Growing, key: Hashable, value: object) -> None:
        """Enter a value in the mapping of that name."""
        mapping, copy = getattr(self.state, field), self._copies.get(field)
        if copy is None or copy is not mapping:
            copy = self._copies[field] = dict(mapping)
            self.state = replace(self.state, **{field: copy})  # type: ignore[arg-type]  # a mapping by its name
        copy[key] = value


def apply(event: Event, state: State) -> State:
    """The state after `event`; what does not concern this site's nodes and deployments leaves it as it was."""
    return apply_all((event,), state)


def apply_all(events: Iterable[Event], state: State) -> State:
    """The state after all the events in turn, as one `apply` after the other would leave it, and quicker."""
    draft = _Draft(state)
    for event in events:
        match event:
            case DeploymentDeclared(deployment, epoch):
                draft.state = with_deployment(draft.state, DeploymentState(declared=deployment, epoch=epoch))
            case Received(message, at, retained):
                if not retained:
                    _note_sign_of_life(message, at, draft)
                _apply_message(message, at, draft, retained=retained)
            case Connected(at):
                draft.state = replace(draft.state, connected_at=at)
            case Evaluated(name, evaluation):
                draft.state = with_evaluation(name, evaluation, draft.state)
            case Restored(snapshot):
                draft.state = restored(snapshot, draft.state)
    return draft.state


def _apply_message(message: SiteMessage, at: float, draft: _Draft, *, retained: bool) -> None:
    match message:
        case EnergyReading():
            pass
        case LinkReading():
            _apply_link(message, at, draft, retained=retained)
        case NodeLoad():
            _apply_load(message, at, draft, retained=retained)
        case MachineReading():
            _apply_machine(message, draft)
        case SpoolReport():
            _apply_spool(message, draft)
        case NodeStatus():
            _apply_status(message, at, draft)
        case NodeProfile():
            _apply_profile(message, at, draft)
        case ProfileFailure():
            _apply_profile_failure(message, draft)
        case InferenceReport():
            draft.state = with_inference(message, at, draft.state)
        case StageMiss():
            draft.state = with_miss(message, at, draft.state)
        case PlanReady():
            draft.state = with_ready(message, at, draft.state)
        case Plan():
            draft.state = with_plan(message, draft.state)


def _note_sign_of_life(message: SiteMessage, at: float, draft: _Draft) -> None:
    """Note that a node has published `message` just now, and what it tells of the node's clock."""
    match message:
        case Plan():
            return
        case LinkReading(src=name) | InferenceReport(origin=name):
            pass
        case _:
            name = message.node
    node = draft.state.nodes.get(name)
    if node is None or (isinstance(message, NodeStatus) and message.state == "offline"):
        return
    ahead = ahead_s(message, at) if isinstance(message, Reading) else None
    clock = node.clock if ahead is None else with_clock_reading(node.clock, ahead, at)
    draft.put("nodes", name, replace(node, spoke_at=at, clock=clock))


def _apply_machine(reading: MachineReading, draft: _Draft) -> None:
    node = draft.state.nodes.get(reading.node)
    if node is not None and node.session == reading.session:
        draft.put("nodes", node.name, replace(node, machine=reading))


def _apply_status(status: NodeStatus, at: float, draft: _Draft) -> None:
    state = draft.state
    known = state.nodes.get(status.node)
    if status.state == "offline":
        if known is None or known.session != status.session:
            return
        node = replace(known, online=False, since=at if known.online else known.since)
    elif status.announcement is None or (known is None and len(state.nodes) >= MAX_NODES):
        return
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
        draft.state = _without_suspicions(node.name, state)
    draft.put("nodes", node.name, node)


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


def _apply_profile(profile: NodeProfile, at: float, draft: _Draft) -> None:
    key, state = (profile.node, profile.model), draft.state
    if not _is_wanted(profile.model, state) or (
        key not in state.profiles and len(state.profiles) >= MAX_NODES * len(state.deployments)
    ):
        return
    draft.put("profiles", key, ProfileState(profile, at))
    if key in state.unprofiled:
        left = {pair: failure for pair, failure in state.unprofiled.items() if pair != key}
        draft.state = replace(draft.state, unprofiled=left)


def _apply_profile_failure(failure: ProfileFailure, draft: _Draft) -> None:
    node = draft.state.nodes.get(failure.node)
    if node is not None and _is_wanted(failure.model, draft.state):
        unprofiled = Unprofiled(node.session, failure.reason or "it gave no reason")
        draft.put("unprofiled", (failure.node, failure.model), unprofiled)


def _is_wanted(sha256: str, state: State) -> bool:
    return any(each.declared.model.reference.sha256 == sha256 for each in state.deployments.values())


def _apply_link(reading: LinkReading, at: float, draft: _Draft, *, retained: bool) -> None:
    key, links = (reading.src, reading.dst), draft.state.links
    known = links.get(key)
    if reading.src == reading.dst or (known is None and len(links) >= MAX_LINKS):
        return
    if retained:
        if known is not None and known.reading == reading:
            return
        at = max(at - KEPT_AGE_S, known.arrived_at) if known is not None else at - KEPT_AGE_S
    if known is None:
        link = LinkState(reading, at, at, first_link_belief(reading, at))
    else:
        belief = with_link_reading(known.belief, known.reading, reading, at)
        link = LinkState(reading, known.first_at, at, belief)
    draft.put("links", key, link)


def _apply_load(reading: NodeLoad, at: float, draft: _Draft, *, retained: bool) -> None:
    loads = draft.state.loads
    known = loads.get(reading.node)
    if known is None and len(loads) >= MAX_NODES:
        return
    belief = known.belief if known is not None and known.session == reading.session else UNLOADED
    if retained:
        at = max(at - KEPT_AGE_S, belief.stretch.at)
    load = LoadState(reading.session, with_load_reading(belief, reading, at), reading.emulated)
    draft.put("loads", reading.node, load)


def _apply_spool(report: SpoolReport, draft: _Draft) -> None:
    spools = draft.state.spools
    if report.node in spools or len(spools) < MAX_NODES:
        draft.put("spools", report.node, report)
