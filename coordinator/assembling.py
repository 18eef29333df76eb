"""From what is known of the site to the planning problem of one deployment; whoever does not fit is left out, with why.

Solving the problem is `coordinator.searching`'s part.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from broker.messages import LinkReading
from coordinator.deployment import Deployment, ModelFacts
from coordinator.errors import ProblemError
from coordinator.estimates import HIGHEST_LOAD
from coordinator.evaluation import Circumstances, LinkFigures
from coordinator.field_checks import MAX_NUMBER
from coordinator.permitted_codecs import ANY_LOSS, codec_factor, known_to_all, permitted
from coordinator.problem import MIN_MBPS, RAW, Codec, Link, Model, Node, Problem
from coordinator.site import DeploymentState, LinkState, NodeState, Pair, Refusal, State, load_of

MAX_DOUBLINGS = 6
JOINING = "it has joined only just: what is measured of it may still change"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all deployments of a site share at one moment: the usable nodes' sessions and loads, and their links."""

    sessions: Mapping[str, str]
    loads: Mapping[str, float]
    links: Mapping[Pair, LinkFigures]
    heard_at: Mapping[str, float]
    """By node: when something new was last heard from it, or of a link that reaches it."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The problem of a deployment, or the obstacle that keeps it from being posed, and who is left out, and why."""

    problem: Problem | None
    obstacle: str | None
    left_out: Mapping[str, str]


def surroundings(state: State, now: float) -> Surroundings:
    """What is believed of the site now."""
    usable = {name: node for name, node in state.nodes.items() if node.usable}
    heard_at = {name: node.spoke_at for name, node in usable.items()}
    for (_, dst), link in state.links.items():
        if dst in heard_at:
            heard_at[dst] = max(heard_at[dst], link.arrived_at)
    return Surroundings(
        sessions={name: node.session for name, node in usable.items()},
        loads={name: load_of(node, state).load(now) for name, node in usable.items()},
        links={
            pair: LinkFigures(link.belief.rtt_ms, link.belief.mbps, link.reading.way)
            for pair, link in state.links.items()
            if pair[0] in usable and pair[1] in usable
        },
        heard_at=heard_at,
    )


def circumstances(
    deployment: DeploymentState,
    state: State,
    site: Surroundings,
    others: Mapping[str, float],
    *,
    now: float,
    refusal_s: float,
) -> Circumstances:
    """All that a plan of this deployment hangs on now; `others` is what other deployments' plans take of each node."""
    sha256, stays = deployment.declared.model.reference.sha256, deployment.declared.stays
    return Circumstances(
        sessions=site.sessions,
        profiled=frozenset(name for name in site.sessions if (name, sha256) in state.profiles),
        refused={
            name: refusal.reason
            for name, refusal in deployment.refusals.items()
            if site.sessions.get(name) == refusal.session and 0.0 <= now - refusal.at < left_out_s(refusal, refusal_s)
        },
        links=site.links,
        loads=loads_under(site.loads, others),
        suspects={
            name: suspicion.reason
            for name, suspicion in deployment.suspect_nodes.items()
            if name in site.sessions and suspicion.leaves_out(site.heard_at[name], now, plan_stays=stays)
        },
        suspect_links={
            pair: suspicion.reason
            for pair, suspicion in deployment.suspect_links.items()
            if pair in site.links and suspicion.leaves_out(state.links[pair].arrived_at, now, plan_stays=stays)
        },
    )


def loads_under(loads: Mapping[str, float], others: Mapping[str, float]) -> Mapping[str, float]:
    """The nodes' loads with what other deployments' plans take of them."""
    if not others:
        return loads
    return {name: min(load + others.get(name, 0.0), HIGHEST_LOAD) for name, load in loads.items()}


def left_out_s(refusal: Refusal, refusal_s: float) -> float:
    """How long a node is left out after a refusal: twice as long each time, up to a bound."""
    return refusal_s * 2.0 ** min(refusal.count - 1, MAX_DOUBLINGS)


def assemble(
    deployment: DeploymentState, state: State, around: Circumstances, waiting: Collection[str], now: float
) -> Assembly:
    """The deployment's problem under `around`, made of all usable nodes that have a fitting profile and do not wait."""
    declared = deployment.declared
    fitting: list[Node] = []
    left_out: dict[str, str] = {}
    for node in state.nodes.values():
        if not node.online:
            continue
        reason = node.refused or around.refused.get(node.name) or around.suspects.get(node.name)
        reason = reason or _misfit(node, declared, state)
        if reason is None and node.name in waiting:
            reason = JOINING
        if reason is None:
            fitting.append(_node(node, declared, state, around.loads[node.name]))
        else:
            left_out[node.name] = reason
    names = {node.name for node in fitting}
    if declared.origin not in names:
        missing = left_out.get(declared.origin, "it is offline")
        return Assembly(None, f"waiting for {declared.origin}, the origin: {missing}", left_out)
    links = tuple(
        _link(link, now)
        for pair, link in state.links.items()
        if names.issuperset(pair) and pair not in around.suspect_links and _plausible(link.reading)
    )
    joined = {name for link in links for name in (link.src, link.dst)}
    for name in sorted(names - joined - {declared.origin}):
        suspected = (reason for pair, reason in sorted(around.suspect_links.items()) if name in pair)
        left_out[name] = next(suspected, "no link to it has been measured")
    try:
        problem = Problem(
            model=_model(declared.model),
            origin=declared.origin,
            nodes=tuple(node for node in fitting if node.name not in left_out),
            links=links,
            codecs=_codecs(declared, state, names),
            objective=declared.objective,
            deadline_ms=declared.deadline_ms,
            risk=declared.risk,
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
    for times in (known.profile.op_ms, known.profile.op_ms_std):
        if len(times) != reference.ops:
            return f"its profile has {len(times)} ops, {reference.name} has {reference.ops}"
        if not all(ms <= MAX_NUMBER for ms in times):
            return f"its profile has a figure above {MAX_NUMBER:g}"
    power = node.announcement.power
    figures = (power.idle_w, power.busy_w, power.tx_j_per_mb, power.rx_j_per_mb, node.announcement.memory_mb)
    if not all(figure <= MAX_NUMBER for figure in figures):
        return f"its announcement has a figure above {MAX_NUMBER:g}"
    return None


def _node(node: NodeState, deployment: Deployment, state: State, load: float) -> Node:
    announced = node.announcement
    profile = state.profiles[node.name, deployment.model.reference.sha256].profile
    figures = deployment.codec_figures
    return Node(
        name=node.name,
        tier=announced.tier,
        op_ms=profile.op_ms,
        op_ms_std=profile.op_ms_std,
        load=load,
        memory_mb=announced.memory_mb,
        idle_w=announced.power.idle_w,
        busy_w=announced.power.busy_w,
        tx_j_per_mb=announced.power.tx_j_per_mb,
        rx_j_per_mb=announced.power.rx_j_per_mb,
        codec_factor=codec_factor(figures, profile.codecs) if figures is not None else 1.0,
    )


def _codecs(deployment: Deployment, state: State, names: Collection[str]) -> tuple[Codec, ...]:
    """What the deployment may pack by; the published strategies send everything raw, a split by hand may name any."""
    figures, sha256 = deployment.codec_figures, deployment.model.reference.sha256
    if figures is None or deployment.strategy not in {"exact", "static"}:
        return (Codec(name=RAW),)
    known = known_to_all([state.profiles[name, sha256].profile.codecs for name in sorted(names)])
    loss = ANY_LOSS if deployment.stages else deployment.accuracy_loss
    return permitted(figures, deployment.model.reference.ops, loss, known)


def _model(facts: ModelFacts) -> Model:
    return Model(
        name=facts.reference.name,
        cut_bytes=facts.cut_bytes,
        weight_mb=facts.weight_mb,
        forbidden_cuts=facts.forbidden_cuts,
    )


def _link(link: LinkState, now: float) -> Link:
    belief = link.belief
    return Link(
        src=link.reading.src,
        dst=link.reading.dst,
        rtt_ms=min(max(belief.rtt_ms, 0.0), MAX_NUMBER),
        mbps=min(max(belief.mbps, MIN_MBPS), MAX_NUMBER),
        rtt_ms_std=min(belief.rtt_ms_std(now), MAX_NUMBER),
        mbps_std=min(belief.mbps_std(now), MAX_NUMBER),
    )


def _plausible(reading: LinkReading) -> bool:
    return reading.rtt_ms <= MAX_NUMBER and MIN_MBPS <= reading.mbps <= MAX_NUMBER
