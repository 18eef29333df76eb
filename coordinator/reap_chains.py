"""The edge, fog and cloud nodes that reap splits a model over, with the figures of every split under its own model.

What makes a split good, and when to change it, is reap's business.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from coordinator.cost import Stage
from coordinator.errors import PlanInfeasibleError
from coordinator.prices import BITS_PER_BYTE, BITS_PER_MBPS_MS, MS_PER_S, WayBack, prices_of, ways_back, within
from coordinator.problem import Link, Node, Objective, Problem
from coordinator.raw_transfers import sending_raw
from coordinator.reap_energy import with_reap_energy

Split = tuple[int, int]
"""The first op of the fog node and the first op of the cloud node."""


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """What a split, or a half of one, costs: time as the cost model has it, energy as `reap_energy` has it."""

    latency_ms: float
    origin_energy_j: float
    total_energy_j: float


@dataclass(frozen=True, slots=True)
class Chain:
    """Three nodes in a row; a split over them costs the sum of what hangs on its first cut and on its second."""

    nodes: tuple[Node, Node, Node]
    codec: str
    of_first: list[SplitFigures]
    """By the first cut point."""
    of_second: list[SplitFigures]
    """By the second cut point."""
    stored_mb: list[float]
    """The weights of all ops before each cut point."""

    def stages(self, split: Split) -> tuple[Stage, ...]:
        """The plan of a split."""
        starts = (0, *split, len(self.stored_mb) - 1)
        return tuple(
            Stage(node.name, start, stop, self.codec if start else None)
            for node, (start, stop) in zip(self.nodes, itertools.pairwise(starts), strict=True)
        )

    def figures(self, split: Split) -> SplitFigures:
        """What a split costs."""
        first, second = self.of_first[split[0]], self.of_second[split[1]]
        return SplitFigures(
            first.latency_ms + second.latency_ms,
            first.origin_energy_j + second.origin_energy_j,
            first.total_energy_j + second.total_energy_j,
        )

    def holds(self, split: Split) -> bool:
        """Whether each node has memory for its part."""
        marks = (0.0, self.stored_mb[split[0]], self.stored_mb[split[1]], self.stored_mb[-1])
        return all(
            within(after - before, node.memory_mb)
            for node, (before, after) in zip(self.nodes, itertools.pairwise(marks), strict=True)
        )


def cuts_of(problem: Problem) -> list[int]:
    """The cut points between the ops where the model can be cut; what lies between two of them is a layer to reap."""
    return sorted(set(range(1, problem.model.ops)) - set(problem.model.forbidden_cuts))


def with_own_figures(problem: Problem) -> Problem:
    """The problem under reap's energy model, with the mean as its latency and the result returning the quickest way."""
    return msgspec.structs.replace(with_reap_energy(problem), objective=Objective(latency=1.0), risk=None)


def chains_of(problem: Problem) -> list[Chain]:
    """Every chain that the problem has. PlanInfeasibleError if it has none, or too few places to cut at."""
    codec = sending_raw(problem, "reap").codecs[0].name
    own = with_own_figures(problem)
    origin = own.nodes[own.origin_index]
    if origin.tier != "edge":
        has = "no tier" if origin.tier is None else f"the tier {origin.tier!r}"
        raise PlanInfeasibleError(
            "tier", f"reap needs an origin of the tier 'edge', {origin.name!r} has {has}: change it, or the strategy"
        )
    if len(cuts_of(problem)) < 2:
        raise PlanInfeasibleError(
            "tier", "reap cuts a model in three, which takes two cut points: choose another strategy for this model"
        )
    links = {(link.src, link.dst): link for link in own.links}
    back = dict(zip((node.name for node in own.nodes), ways_back(own, prices_of(own)), strict=True))
    chains = []
    for fog, cloud in itertools.product(_of_tier(own, "fog"), _of_tier(own, "cloud")):
        up, over, way_back = links.get((origin.name, fog.name)), links.get((fog.name, cloud.name)), back[cloud.name]
        if up and over and way_back:
            chains.append(_chain(own, codec, (origin, fog, cloud), (up, over), way_back))
    if not chains:
        raise PlanInfeasibleError(
            "tier", f"reap needs links from {origin.name!r} to a fog node, from there to a cloud node, and a way back"
        )
    return chains


def _of_tier(problem: Problem, tier: Literal["fog", "cloud"]) -> list[Node]:
    found = [node for node in problem.nodes if node.tier == tier]
    if not found:
        raise PlanInfeasibleError(
            "tier", f"reap needs a node of the tier {tier!r}: give one of them that tier or choose another strategy"
        )
    return found


def _chain(
    problem: Problem, codec: str, nodes: tuple[Node, Node, Node], links: tuple[Link, Link], way_back: WayBack
) -> Chain:
    sizes = problem.model.cut_bytes
    on_origin, on_fog, on_cloud = (_sums([ms * node.stretch for ms in node.op_ms]) for node in nodes)
    origin_j, fog_j, cloud_j = (
        [node.busy_w * ms / MS_PER_S for ms in done_ms]
        for node, done_ms in zip(nodes, (on_origin, on_fog, on_cloud), strict=True)
    )
    up_ms, over_ms = ([_transfer_ms(link, size) for size in sizes] for link in links)
    # The fog node's part is all before the second cut less all before the first.
    of_first = [
        SplitFigures(on_origin[cut] + up_ms[cut] - on_fog[cut], origin_j[cut], origin_j[cut] - fog_j[cut])
        for cut in range(problem.model.ops + 1)
    ]
    of_second = [
        SplitFigures(
            on_fog[cut] + over_ms[cut] + on_cloud[-1] - on_cloud[cut] + way_back.ms,
            0.0,
            fog_j[cut] + cloud_j[-1] - cloud_j[cut],
        )
        for cut in range(problem.model.ops + 1)
    ]
    weights_mb = problem.model.weight_mb or (0.0,) * problem.model.ops
    return Chain(nodes, codec, of_first, of_second, _sums(weights_mb))


def _sums(numbers: Sequence[float]) -> list[float]:
    return [0.0, *itertools.accumulate(numbers)]


def _transfer_ms(link: Link, size: float) -> float:
    return link.rtt_ms / 2 + BITS_PER_BYTE * size / (BITS_PER_MBPS_MS * link.mbps)
