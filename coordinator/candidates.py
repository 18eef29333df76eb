"""Which nodes of a large site a deployment is planned with: those that promise most; of a small one all.

A node promises what a request would take with its help alone, the transfers there and back included. How the chosen
are planned with is decided elsewhere, by the strategies.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import median
from typing import Final

from coordinator.site import DeploymentState, LinkState, Pair, State, load_of

MOST_CANDIDATES: Final = 32
"""The exact planner compares the ways between all of them at every cut: 32 nodes take it some 0.1 s, 250 minutes
(random nodes, 20 ops, benchmarks/control_plane.py)."""
OF_EACH_TIER: Final = MOST_CANDIDATES // 4
"""So many of every tier are among them, for strategies that want a certain one."""
PASSED_OVER: Final = f"{MOST_CANDIDATES} other nodes promise more, and no more are planned with"
_MS_PER_BYTE: Final = 8.0 / 1_000.0  # by 1 Mbit/s


@dataclass(frozen=True, slots=True)
class _Way:
    """The way between the origin and a node: its ms, without any bytes and for each of them, and the relays."""

    fixed_ms: float
    ms_per_byte: float
    relays: tuple[str, ...] = ()


def is_large(state: State) -> bool:
    """Whether a site has more nodes than a deployment is planned with."""
    return len(state.nodes) > MOST_CANDIDATES


def candidates(deployment: DeploymentState, state: State, now: float) -> frozenset[str]:
    """The nodes that the deployment is planned with: its origin, those of its plan, and who promises most."""
    declared, plan = deployment.declared, deployment.plan
    chosen = {declared.origin, *(stage.node for stage in declared.stages)}
    if plan is not None:
        chosen |= {*(stage.node for stage in plan.stages), *plan.way_back}
    size = median(declared.model.cut_bytes)
    out = _ways(declared.origin, size, ((src, dst, link) for (src, dst), link in state.links.items()), state)
    back = _ways(declared.origin, size, ((dst, src, link) for (src, dst), link in state.links.items()), state)
    promised = _promised_ms(deployment, state, out, back, now)
    ranked = sorted(promised, key=promised.__getitem__)
    of_tier: dict[str, int] = {}
    first: list[str] = []
    for name in ranked:
        tier = state.nodes[name].announcement.tier
        of_tier[tier] = of_tier.get(tier, 0) + 1
        if of_tier[tier] <= OF_EACH_TIER:
            first.append(name)
    for name in dict.fromkeys((*first, *ranked)):
        wanted = {name, *out[name].relays, *back[name].relays} - chosen
        if len(chosen) + len(wanted) <= MOST_CANDIDATES:
            chosen |= wanted
    return frozenset(chosen)


def with_none_but(names: Collection[str], state: State) -> State:
    """The site as if it had these nodes alone, and the links between them."""
    links: dict[Pair, LinkState] = {}
    for src in names:
        for dst in names:
            link = state.links.get((src, dst))
            if link is not None:
                links[src, dst] = link
    return replace(state, nodes={name: state.nodes[name] for name in names if name in state.nodes}, links=links)


def _promised_ms(
    deployment: DeploymentState, state: State, out: Mapping[str, _Way], back: Mapping[str, _Way], now: float
) -> dict[str, float]:
    """By node: the latency of the best plan in which it runs some ops in a row, and the origin the rest."""
    model, origin = deployment.declared.model, deployment.declared.origin
    at_origin = _ms_before(origin, model.reference.sha256, model.reference.ops, state, now)
    if at_origin is None:
        return {}
    promised: dict[str, float] = {}
    for name in out.keys() & back.keys() - {origin}:
        there = _ms_before(name, model.reference.sha256, model.reference.ops, state, now)
        if there is None:
            continue
        forth, home = out[name], back[name]
        handed = best = math.inf
        for cut, size in enumerate(model.cut_bytes):
            begun = at_origin[cut] - there[cut] + forth.fixed_ms + size * forth.ms_per_byte
            handed = min(handed, begun)
            best = min(best, handed + there[cut] - at_origin[cut] + home.fixed_ms + size * home.ms_per_byte)
        promised[name] = best + at_origin[-1]
    return promised


def _ms_before(name: str, sha256: str, ops: int, state: State, now: float) -> list[float] | None:
    """What all ops before each cut take on a node under its load; None where it cannot be planned with."""
    node, known = state.nodes.get(name), state.profiles.get((name, sha256))
    if node is None or not node.usable or known is None or len(known.profile.op_ms) != ops:
        return None
    stretch = 1.0 / (1.0 - load_of(node, state).load(now))
    return [stretch * ms for ms in accumulate(known.profile.op_ms, initial=0.0)]


def _ways(origin: str, size: float, links: Iterable[tuple[str, str, LinkState]], state: State) -> dict[str, _Way]:
    """The shortest ways from the origin to each node for so many bytes, over links given as from, to and link."""
    leaving: dict[str, list[tuple[str, float, float]]] = {}
    for near, far, link in links:
        node = state.nodes.get(far)
        if link.belief.mbps > 0.0 and node is not None and node.usable:
            hop = (far, link.belief.rtt_ms / 2.0, _MS_PER_BYTE / link.belief.mbps)
            leaving.setdefault(near, []).append(hop)
    found: dict[str, _Way] = {}
    queue: list[tuple[float, str, _Way]] = [(0.0, origin, _Way(0.0, 0.0))]
    while queue:
        ms, name, way = heapq.heappop(queue)
        if name in found:
            continue
        found[name] = way
        relays = way.relays if name == origin else (*way.relays, name)
        for far, fixed_ms, ms_per_byte in leaving.get(name, ()):
            if far not in found:
                onward = _Way(way.fixed_ms + fixed_ms, way.ms_per_byte + ms_per_byte, relays)
                heapq.heappush(queue, (ms + fixed_ms + size * ms_per_byte, far, onward))
    return found
