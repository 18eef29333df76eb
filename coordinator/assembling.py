"""From what is known of the site to the planning problem of one deployment; whoever does not fit is left out, with why.

Solving the problem is `coordinator.strategies`' part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from broker.messages import LinkReading
from coordinator.deployment import Deployment, ModelFacts
from coordinator.errors import ProblemError
from coordinator.evaluation import Circumstances, LinkFigures
from coordinator.problem import MAX_NUMBER, MIN_MBPS, Link, Model, Node, Problem
from coordinator.state import DeploymentState, LinkState, NodeState, Refusal, State

MAX_DOUBLINGS = 6


@dataclass(frozen=True, slots=True)
class Assembly:
    """The problem of a deployment, or the obstacle that keeps it from being posed, and who is left out, and why."""

    problem: Problem | None
    obstacle: str | None
    left_out: Mapping[str, str]


def circumstances(deployment: DeploymentState, state: State, now: float, refusal_s: float) -> Circumstances:
    """All that a plan of this deployment hangs on now."""
    sha256 = deployment.declared.model.reference.sha256
    sessions = {node.name: node.session for node in state.nodes.values() if node.usable}
    return Circumstances(
        sessions=sessions,
        profiled=frozenset(name for name in sessions if (name, sha256) in state.profiles),
        refused={
            name: refusal.reason
            for name, refusal in deployment.refusals.items()
            if sessions.get(name) == refusal.session and 0.0 <= now - refusal.at < left_out_s(refusal, refusal_s)
        },
        links={
            pair: LinkFigures(link.reading.rtt_ms, link.reading.mbps)
            for pair, link in state.links.items()
            if pair[0] in sessions and pair[1] in sessions
        },
    )


def left_out_s(refusal: Refusal, refusal_s: float) -> float:
    """How long a node is left out after a refusal: twice as long each time, up to a bound."""
    return refusal_s * 2.0 ** min(refusal.count - 1, MAX_DOUBLINGS)


def assemble(deployment: DeploymentState, state: State, around: Circumstances) -> Assembly:
    """The deployment's problem under `around`, made of all usable nodes that have a fitting profile."""
    declared = deployment.declared
    fitting: list[Node] = []
    left_out: dict[str, str] = {}
    for node in state.nodes.values():
        if not node.online:
            continue
        reason = node.refused or around.refused.get(node.name) or _misfit(node, declared, state)
        if reason is None:
            fitting.append(_node(node, declared, state))
        else:
            left_out[node.name] = reason
    names = {node.name for node in fitting}
    if declared.origin not in names:
        missing = left_out.get(declared.origin, "it is offline")
        return Assembly(None, f"waiting for {declared.origin}, the origin: {missing}", left_out)
    links = tuple(
        _link(link) for pair, link in state.links.items() if names.issuperset(pair) and _plausible(link.reading)
    )
    joined = {name for link in links for name in (link.src, link.dst)}
    for name in sorted(names - joined - {declared.origin}):
        left_out[name] = "no link to it has been measured"
    try:
        problem = Problem(
            model=_model(declared.model),
            origin=declared.origin,
            nodes=tuple(node for node in fitting if node.name not in left_out),
            links=links,
            objective=declared.objective,
            deadline_ms=declared.deadline_ms,
        )
    except ProblemError as error:
        return Assembly(None, f"{error}", left_out)
    return Assembly(problem, None, left_out)


def _misfit(node: NodeState, deployment: Deployment, state: State) -> str | None:
    """Why a usable node cannot be part of the problem; None if it can."""
    reference = deployment.model.reference
    known = state.profiles.get((node.name, reference.sha256))
    if known is None:
        failure = state.unprofiled.get((node.name, reference.sha256))
        if failure is not None and failure.session == node.session:
            return f"it cannot profile {reference.name}: {failure.reason}"
        return f"it has not profiled {reference.name} yet"
    op_ms = known.profile.op_ms
    if len(op_ms) != reference.ops:
        return f"its profile has {len(op_ms)} ops, {reference.name} has {reference.ops}"
    power = node.announcement.power
    figures = (power.idle_w, power.busy_w, power.tx_j_per_mb, power.rx_j_per_mb, node.announcement.memory_mb)
    if not all(figure <= MAX_NUMBER for figure in (*op_ms, *figures)):
        return f"its profile or announcement has a figure above {MAX_NUMBER:g}"
    return None


def _node(node: NodeState, deployment: Deployment, state: State) -> Node:
    announced = node.announcement
    return Node(
        name=node.name,
        tier=announced.tier,
        op_ms=state.profiles[node.name, deployment.model.reference.sha256].profile.op_ms,
        memory_mb=announced.memory_mb,
        idle_w=announced.power.idle_w,
        busy_w=announced.power.busy_w,
        tx_j_per_mb=announced.power.tx_j_per_mb,
        rx_j_per_mb=announced.power.rx_j_per_mb,
    )


def _model(facts: ModelFacts) -> Model:
    return Model(
        name=facts.reference.name,
        cut_bytes=facts.cut_bytes,
        weight_mb=facts.weight_mb,
        forbidden_cuts=facts.forbidden_cuts,
    )


def _link(link: LinkState) -> Link:
    reading = link.reading
    return Link(src=reading.src, dst=reading.dst, rtt_ms=reading.rtt_ms, mbps=reading.mbps)


def _plausible(reading: LinkReading) -> bool:
    return reading.rtt_ms <= MAX_NUMBER and MIN_MBPS <= reading.mbps <= MAX_NUMBER
