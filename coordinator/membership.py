"""Which nodes take part: the dead that nobody reports, and those that join, once their first estimates have settled."""

import math
from dataclasses import dataclass

from broker.messages import NodeStatus
from coordinator.evaluation import Circumstances
from coordinator.site import DeploymentState, State

REBIRTH_GRACE_S = 90.0
"""Three times the longest wait of an agent that connects again."""
LONGEST_JOIN = 5
"""Nodes that always bring something new are planned with after so many times `join_s`."""

Member = tuple[str, str]
"""A node and its session."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Who a deployment is planned with, who is ready but waits, and when those are due; infinite where none waits."""

    members: frozenset[Member]
    waiting: frozenset[Member] = frozenset()
    next_at: float = math.inf


def presumed_dead(state: State, now: float) -> list[NodeStatus]:
    """The deaths of online nodes that were never born again, nor heard, after the broker was reached anew.

    A broker that forgot its retained messages keeps no last will either, so nobody else would tell.
    """
    connected_at = state.connected_at
    if connected_at is None or not now - connected_at > REBIRTH_GRACE_S:
        return []
    return [
        NodeStatus(node=node.name, session=node.session, state="offline")
        for node in state.nodes.values()
        if node.online and max(node.heard_at, node.spoke_at) < connected_at
    ]


def admission(deployment: DeploymentState, state: State, around: Circumstances, now: float, join_s: float) -> Admission:
    """Who is planned with: all, at the first evaluation and without a plan; later newcomers, once they are quiet.

    So nodes that join make one plan together, and not one with each of their first readings.
    """
    plan, last = deployment.plan, deployment.evaluation
    members: set[Member] = set()
    newcomers: dict[Member, float] = {}
    planned = {*(stage.node for stage in plan.stages), *plan.way_back} if plan else set()
    for member in around.sessions.items():
        if member[0] in planned or (last is not None and member in last.admitted):
            members.add(member)
        elif (news_at := _news_at(member[0], deployment, state, around)) is not None:
            newcomers[member] = news_at
    if not newcomers:
        return Admission(frozenset(members))
    ready_at = min(_ready_at(name, deployment, state) for name, _ in newcomers)
    next_at = min(max(newcomers.values()) + join_s, ready_at + LONGEST_JOIN * join_s)
    # A clock that was set back must not keep anybody out.
    if plan is None or last is None or now >= next_at or now < ready_at:
        return Admission(frozenset(members | newcomers.keys()))
    return Admission(frozenset(members), frozenset(newcomers), next_at)


def _news_at(name: str, deployment: DeploymentState, state: State, around: Circumstances) -> float | None:
    """When something new of a node last came; None as long as it cannot be planned with."""
    links = [state.links[pair].first_at for pair in around.links if name in pair]
    if name not in around.profiled or not links:
        return None
    return max(_ready_at(name, deployment, state), *links)


def _ready_at(name: str, deployment: DeploymentState, state: State) -> float:
    sha256 = deployment.declared.model.reference.sha256
    return max(state.nodes[name].since, state.profiles[name, sha256].arrived_at)
