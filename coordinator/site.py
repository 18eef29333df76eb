"""What is known of a site at a moment: its nodes, links, loads and deployments, as frozen values.

How events change it is `coordinator.state`'s part.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.messages import LinkReading, MachineReading, NodeAnnouncement, NodeProfile, Plan, SpoolReport
from coordinator.clocks import ClockBelief
from coordinator.deployment import Deployment
from coordinator.estimates import UNLOADED, LinkBelief, LoadBelief
from coordinator.evaluation import Evaluation
from coordinator.suspicions import Suspicion
from coordinator.traffic import Traffic

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node as its last birth announced it; `refused` says why it is never planned."""

    name: str
    session: str
    online: bool
    announcement: NodeAnnouncement
    since: float
    refused: str | None
    heard_at: float
    """When its last birth came; an agent repeats it whenever the broker was away."""
    spoke_at: float = -math.inf
    """When anything last came from it, other than what the broker had kept."""
    clock: ClockBelief | None = None
    """How far its clock is off; None where it has not said."""
    machine: MachineReading | None = None
    """The newest state of its machine in this session."""

    @property
    def usable(self) -> bool:
        """Whether plans may name this node."""
        return self.online and self.refused is None


@dataclass(frozen=True, slots=True)
class ProfileState:
    """A node's profile of one model and when it came."""

    profile: NodeProfile
    arrived_at: float


@dataclass(frozen=True, slots=True)
class Unprofiled:
    """Why a node has no profile of a model; it ends with the node's session or when the profile comes."""

    session: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkState:
    """The newest reading of a link, when the first and the newest came, and what is believed after all of them.

    Of a reading that the broker had kept it is not known when it came: it counts as old.
    """

    reading: LinkReading
    first_at: float
    arrived_at: float
    belief: LinkBelief


@dataclass(frozen=True, slots=True)
class LoadState:
    """What is believed of the load of a node's session; `emulated` says whether its own word on it is."""

    session: str
    belief: LoadBelief
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node's word that it cannot take its part of a plan; it ends with the node's session or after a while."""

    session: str
    epoch: int
    reason: str
    at: float
    count: int
    """How many plans this session has refused; each time it is left out for longer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An inference that failed, why, and when we heard of it."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment with the plan in force, the highest epoch ever seen for it and what its nodes said of the plan."""

    declared: Deployment
    plan: Plan | None = None
    epoch: int = 0
    ready: frozenset[str] = frozenset()
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    load_ms: Mapping[str, float] = field(default_factory=dict)
    """How long each node has last taken to load its part of a plan."""
    suspect_nodes: Mapping[str, Suspicion] = field(default_factory=dict)
    """By node: those that had tensors, or were sent them, and went silent."""
    suspect_links: Mapping[Pair, Suspicion] = field(default_factory=dict)
    """By (src, dst): those that did not deliver tensors."""
    traffic: Traffic = field(default_factory=Traffic)
    evaluation: Evaluation | None = None
    last_failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The site, as known from all events so far; the mappings are never changed in place."""

    nodes: Mapping[str, NodeState]
    profiles: Mapping[Pair, ProfileState]
    """By (node, sha256 of the model)."""
    links: Mapping[Pair, LinkState]
    """By (src, dst)."""
    deployments: Mapping[str, DeploymentState]
    loads: Mapping[str, LoadState] = field(default_factory=dict)
    """By node."""
    unprofiled: Mapping[Pair, Unprofiled] = field(default_factory=dict)
    """By (node, sha256 of the model)."""
    spools: Mapping[str, SpoolReport] = field(default_factory=dict)
    """By node: what waits there to be stored, and what was dropped."""
    connected_at: float | None = None
    """When the broker was last reached."""


EMPTY = State(nodes={}, profiles={}, links={}, deployments={})


def last_heard_of(node: str, state: State) -> float:
    """When something new was last heard from a node, or of a link that reaches it; -inf if never."""
    known = state.nodes.get(node)
    reached_at = (link.arrived_at for (_, dst), link in state.links.items() if dst == node)
    return max(known.spoke_at if known is not None else -math.inf, *reached_at, -math.inf)


def load_of(node: NodeState, state: State) -> LoadBelief:
    """What is believed of a node's load; what is known of an earlier session does not count."""
    known = state.loads.get(node.name)
    return known.belief if known is not None and known.session == node.session else UNLOADED
