"""What of a site's state an earlier run leaves to the next: a typed value, and how it is made and taken up again.

Keeping it is `coordinator.store_snapshot`'s. What the broker retains is heard again and then counts before this.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from broker.messages import Plan
from coordinator.deployment import Deployment
from coordinator.evaluation import Evaluation
from coordinator.site import (
    DeploymentState,
    Failure,
    LinkState,
    LoadState,
    NodeState,
    Pair,
    ProfileState,
    Refusal,
    State,
    Unprofiled,
)
from coordinator.suspicions import Suspicion
from coordinator.traffic import Traffic

FORMAT = 1
"""Counts up when a change of these types makes older snapshots unreadable or wrong; those are then left aside."""


@dataclass(frozen=True, slots=True)
class DeploymentMemory:
    """What is remembered of one deployment; it counts in full only under the same declaration."""

    fingerprint: str
    plan: Plan | None
    epoch: int
    ready: frozenset[str]
    refusals: Mapping[str, Refusal]
    load_ms: Mapping[str, float]
    suspect_nodes: Mapping[str, Suspicion]
    suspect_links: Mapping[Pair, Suspicion]
    traffic: Traffic
    evaluation: Evaluation | None
    last_failure: Failure | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A site's state without what the settings declare and what ends with a connection."""

    nodes: Mapping[str, NodeState]
    profiles: Mapping[Pair, ProfileState]
    links: Mapping[Pair, LinkState]
    loads: Mapping[str, LoadState]
    unprofiled: Mapping[Pair, Unprofiled]
    deployments: Mapping[str, DeploymentMemory]


def snapshot_of(state: State) -> Snapshot:
    """What is to be remembered of `state`."""
    return Snapshot(
        nodes=state.nodes,
        profiles=state.profiles,
        links=state.links,
        loads=state.loads,
        unprofiled=state.unprofiled,
        deployments={name: _memory(deployment) for name, deployment in state.deployments.items()},
    )


def restored(snapshot: Snapshot, state: State) -> State:
    """`state`, in which the deployments are declared and nothing is known yet, with what was remembered."""
    wanted = {deployment.declared.model.reference.sha256 for deployment in state.deployments.values()}
    deployments = {
        name: _with_memory(deployment, snapshot.deployments.get(name)) for name, deployment in state.deployments.items()
    }
    return replace(
        state,
        nodes=snapshot.nodes,
        profiles={pair: known for pair, known in snapshot.profiles.items() if pair[1] in wanted},
        links=snapshot.links,
        loads=snapshot.loads,
        unprofiled={pair: failure for pair, failure in snapshot.unprofiled.items() if pair[1] in wanted},
        deployments=deployments,
    )


def fingerprint(deployment: Deployment) -> str:
    """Tells one declaration from another; where the model is served does not count."""
    reference = msgspec.structs.replace(deployment.model.reference, url="")
    whole = replace(deployment, model=replace(deployment.model, reference=reference))
    return hashlib.sha256(msgspec.msgpack.encode(whole)).hexdigest()


def _memory(deployment: DeploymentState) -> DeploymentMemory:
    return DeploymentMemory(
        fingerprint=fingerprint(deployment.declared),
        plan=deployment.plan,
        epoch=deployment.epoch,
        ready=deployment.ready,
        refusals=deployment.refusals,
        load_ms=deployment.load_ms,
        suspect_nodes=deployment.suspect_nodes,
        suspect_links=deployment.suspect_links,
        traffic=deployment.traffic,
        evaluation=deployment.evaluation,
        last_failure=deployment.last_failure,
    )


def _with_memory(deployment: DeploymentState, memory: DeploymentMemory | None) -> DeploymentState:
    if memory is None:
        return deployment
    epoch = max(deployment.epoch, memory.epoch)
    if memory.fingerprint != fingerprint(deployment.declared):
        # Its plan is still heard from the broker, and stays if it fits.
        return replace(deployment, epoch=epoch, load_ms=memory.load_ms)
    return replace(
        deployment,
        plan=memory.plan,
        epoch=epoch,
        ready=memory.ready,
        refusals=memory.refusals,
        load_ms=memory.load_ms,
        suspect_nodes=memory.suspect_nodes,
        suspect_links=memory.suspect_links,
        traffic=memory.traffic,
        evaluation=memory.evaluation,
        last_failure=memory.last_failure,
    )
