"""The cost model: what any plan costs in time and energy, and which of the problem's bounds it breaks.

Every strategy is judged by `evaluate` alone; finding a good plan is left to the strategies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from coordinator.errors import PlanError
from coordinator.packing import ends_ms, packing_of
from coordinator.prices import (
    BITS_PER_BYTE,
    BITS_PER_MBPS_MS,
    MS_PER_S,
    Prices,
    origin_only_figures,
    prices_of,
    ways_back,
    within,
)
from coordinator.problem import BYTES_PER_MB, Packing, Problem
from coordinator.returning import Spent, best_way_back
from coordinator.spread import at_risk, compute_variance_ms2, link_variances, quantile_ms


@dataclass(frozen=True, slots=True)
class Stage:
    """Ops `start`..`stop`-1 on a node; an empty one relays. `codec` is that of the transfer into the stage, if any."""

    node: str
    start: int
    stop: int
    codec: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What a plan costs by the model; both energies are modelled, over the nodes' `busy_w`, `idle_w` and radio."""

    latency_ms: float
    """Its mean, where times have a spread."""
    latency_std_ms: float
    """Its standard deviation, if all times are independent and bandwidths spread but little (to first order)."""
    latency_quantile_ms: float
    """The quantile `risk` of it, taken as normal: what the objective and the deadline count; the mean without risk."""
    period_ms: float
    """The time per inference of the node or directed link that a full pipeline keeps busiest, on the mean."""
    origin_energy_j: float
    """Of the mean latency, as the total."""
    total_energy_j: float
    objective: float
    way_back: tuple[str, ...]
    """The nodes from the last stage's to the origin, both included; () where the last stage is on the origin."""


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """A plan that keeps its problem's bounds, and its score."""

    stages: tuple[Stage, ...]
    score: Score
    gap: float = 0.0
    """By which share its objective may exceed the least there is; 0 unless the search for it was cut short."""


@dataclass(frozen=True, slots=True)
class BrokenBound:
    """A bound that a plan breaks: `deadline_ms` or `memory_mb`, and by how much in one sentence."""

    bound: str
    message: str


class _Tally:
    """What each node has computed, sent and received, and the time that the tensors were on their way."""

    def __init__(self, problem: Problem, prices: Prices) -> None:
        self._problem = problem
        self._prices = prices
        self._links = {(link.src, link.dst): link for link in problem.links}
        self._nodes = {node.name: node for node in problem.nodes}
        self.compute_ms = dict.fromkeys(self._nodes, 0.0)
        self.sent_mb = dict.fromkeys(self._nodes, 0.0)
        self.received_mb = dict.fromkeys(self._nodes, 0.0)
        self.transfer_ms = dict.fromkeys(self._links, 0.0)
        self.variance_ms2 = 0.0

    def run(self, name: str, start: int, stop: int) -> None:
        """Run ops `start`..`stop`-1 on a node."""
        node = self._nodes[name]
        self.compute(name, sum(node.op_ms[start:stop]))
        if node.op_ms_std:
            self.variance_ms2 += compute_variance_ms2(node, start, stop)

    def compute(self, name: str, ms: float) -> None:
        """Keep a node busy for so long, before its load stretches it."""
        self.compute_ms[name] += ms * self._nodes[name].stretch

    def send(self, path: Sequence[str], size: float, packing: Packing | None = None) -> None:
        """Carry `size` bytes over a path of nodes, packed by its first and unpacked by its last."""
        if packing:
            src, dst = path[0], path[-1]
            encode_ms, decode_ms = ends_ms(packing, size, self._nodes[src], self._nodes[dst])
            self.compute(src, encode_ms)
            self.compute(dst, decode_ms)
            size *= packing.ratio
        for src, dst in pairwise(path):
            link = self._links.get((src, dst))
            if link is None:
                raise PlanError(f"the plan sends tensors from {src!r} to {dst!r}, which no link joins")
            ms_per_byte = BITS_PER_BYTE / (BITS_PER_MBPS_MS * link.mbps)
            self.transfer_ms[src, dst] += link.rtt_ms / 2 + ms_per_byte * size
            if link.rtt_ms_std or link.mbps_std:
                fixed, per_byte2 = link_variances(link, ms_per_byte)
                self.variance_ms2 += fixed + per_byte2 * size * size
            self.sent_mb[src] += size / BYTES_PER_MB
            self.received_mb[dst] += size / BYTES_PER_MB

    @property
    def latency_ms(self) -> float:
        return math.fsum(self.compute_ms.values()) + math.fsum(self.transfer_ms.values())

    @property
    def period_ms(self) -> float:
        return max(*self.compute_ms.values(), *self.transfer_ms.values(), 0.0)

    def way_back(self, last: str) -> tuple[str, ...]:
        """The way of the result from node `last` to the origin that costs the objective least."""
        problem, prices = self._problem, self._prices
        if last == problem.origin:
            return ()
        index_of = {name: index for index, name in enumerate(self._nodes)}
        if prices.additive:
            back = ways_back(problem, prices)[index_of[last]]
            nodes = back.nodes if back else None
        else:
            link_ms = {(index_of[src], index_of[dst]): ms for (src, dst), ms in self.transfer_ms.items()}
            spent = Spent(self.latency_ms, self.variance_ms2, self.period_ms, link_ms)
            nodes = best_way_back(problem, prices, index_of[last], spent)
        if nodes is None:
            raise PlanError(
                f"the plan ends on {last!r}, from where no links lead back to the origin {problem.origin!r}"
            )
        return tuple(problem.nodes[node].name for node in nodes)

    def score(self, way_back: tuple[str, ...]) -> Score:
        problem, latency_ms, period_ms = self._problem, self.latency_ms, self.period_ms
        latency_quantile_ms = quantile_ms(latency_ms, self.variance_ms2, problem.risk)
        energy_j = {
            name: (node.busy_w - node.idle_w) * self.compute_ms[name] / MS_PER_S
            + node.tx_j_per_mb * self.sent_mb[name]
            + node.rx_j_per_mb * self.received_mb[name]
            for name, node in self._nodes.items()
        }
        # The origin idles for the whole latency: busy*compute + idle*(latency - compute), rearranged.
        energy_j[problem.origin] += self._nodes[problem.origin].idle_w * latency_ms / MS_PER_S
        origin_energy_j, total_energy_j = energy_j[problem.origin], math.fsum(energy_j.values())
        reference, weights = origin_only_figures(problem), problem.objective
        objective = weights.latency * latency_quantile_ms / reference.latency_quantile_ms
        objective += weights.throughput * period_ms / reference.latency_ms
        if weights.origin_energy:
            objective += weights.origin_energy * origin_energy_j / reference.energy_j
        if weights.total_energy:
            objective += weights.total_energy * total_energy_j / reference.energy_j
        return Score(
            latency_ms=latency_ms,
            latency_std_ms=math.sqrt(self.variance_ms2),
            latency_quantile_ms=latency_quantile_ms,
            period_ms=period_ms,
            origin_energy_j=origin_energy_j,
            total_energy_j=total_energy_j,
            objective=objective,
            way_back=way_back,
        )


def evaluate(problem: Problem, stages: Sequence[Stage], prices: Prices | None = None) -> Score:
    """The score of a plan, bounds ignored; the result returns by the way that costs the objective least.

    `prices` are the problem's, for a caller that has them already.
    The codec of a stage counts only where something is transferred into it. PlanError if the stages are no plan.
    """
    _check_cover(problem, stages)
    codecs = {codec.name: codec for codec in problem.codecs}
    nodes = {node.name: node for node in problem.nodes}
    tally = _Tally(problem, prices or prices_of(problem))
    path = [problem.origin]
    path_codec: str | None = None
    for index, stage in enumerate(stages):
        if stage.node not in nodes:
            raise PlanError(f"stages[{index}] is on {stage.node!r}, which is none of the problem's nodes")
        if stage.node != path[-1]:
            if stage.codec not in codecs:
                raise PlanError(
                    f"stages[{index}] takes its tensors by the codec {stage.codec!r}, "
                    f"the problem has {', '.join(codecs)}"
                )
            if len(path) > 1 and stage.codec != path_codec:
                raise PlanError(
                    f"stages[{index}] takes by the codec {stage.codec!r} what its relay took by {path_codec!r}, "
                    "a relay forwards what it was sent"
                )
            path.append(stage.node)
            path_codec = stage.codec
        if stage.start < stage.stop:
            if len(path) > 1 and path_codec is not None:
                tally.send(path, problem.model.cut_bytes[stage.start], packing_of(codecs[path_codec], stage.start))
            tally.run(stage.node, stage.start, stage.stop)
            path, path_codec = [stage.node], None
    way_back = tally.way_back(path[0])
    tally.send(way_back, problem.model.cut_bytes[-1])
    return tally.score(way_back)


def broken_bound(problem: Problem, stages: Sequence[Stage], score: Score) -> BrokenBound | None:
    """The bound that a scored plan breaks, or None; a node's memory before the deadline."""
    weights = problem.model.weight_mb
    for node in problem.nodes:
        used_mb = math.fsum(sum(weights[stage.start : stage.stop]) for stage in stages if stage.node == node.name)
        if node.memory_mb is not None and not within(used_mb, node.memory_mb):
            return BrokenBound(
                "memory_mb",
                f"the ops on {node.name!r} weigh {used_mb:.6g} MB, {used_mb - node.memory_mb:.6g} MB over its "
                f"memory_mb of {node.memory_mb:.6g}",
            )
    if problem.deadline_ms is not None and not within(score.latency_quantile_ms, problem.deadline_ms):
        over_ms = score.latency_quantile_ms - problem.deadline_ms
        return BrokenBound(
            "deadline_ms",
            f"the plan takes {score.latency_quantile_ms:.6g} ms{at_risk(problem)}, {over_ms:.6g} ms over the "
            f"deadline_ms of {problem.deadline_ms:.6g}",
        )
    return None


def _check_cover(problem: Problem, stages: Sequence[Stage]) -> None:
    done = 0
    for index, stage in enumerate(stages):
        if stage.start != done or stage.stop < stage.start:
            raise PlanError(
                f"stages[{index}] holds ops [{stage.start}, {stage.stop}), it must start at op {done}: "
                "stages cover every op once, in order"
            )
        if stage.start in problem.model.forbidden_cuts:
            raise PlanError(f"stages[{index}] starts at op {stage.start}, where the model cannot be cut")
        done = stage.stop
    if done != problem.model.ops:
        raise PlanError(f"the stages end at op {done}, the model has {problem.model.ops} ops")
    if stages[-1].start == stages[-1].stop:
        raise PlanError(f"the last stage, on {stages[-1].node!r}, is empty: the way back is chosen by the cost model")
