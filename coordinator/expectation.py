"""What each step of a plan is expected to take, and how far that may be off: what a plan says of itself on the wire.

The times are the cost model's; here they are only told apart by steps, with what is not known of loads added.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from broker.messages import Prediction, StagePrediction
from coordinator.cost import PartitionPlan, Stage
from coordinator.estimates import LOAD_DRIFT
from coordinator.packing import ends_ms, packing_of
from coordinator.prices import BITS_PER_BYTE, BITS_PER_MBPS_MS
from coordinator.problem import Link, Problem
from coordinator.site import State, load_of
from coordinator.spread import compute_variance_ms2, link_variances

_Spread = tuple[float, float]
"""A time in ms and its variance in ms²."""


def prediction_of(problem: Problem, plan: PartitionPlan, state: State, now: float) -> Prediction:
    """The prediction of a plan, codecs included; all of its figures are modelled.

    What the origin packs of the input before it computes anything is in no stage, as it is in none of its reports.
    """
    links = {(link.src, link.dst): link for link in problem.links}
    codecs = {codec.name: codec for codec in problem.codecs}
    codec_ms = _codec_ms(problem, plan.stages)
    steps: list[StagePrediction] = []
    variance_ms2, node = 0.0, problem.origin
    for stage, packing_ms in zip(plan.stages, codec_ms, strict=True):
        transfer = (0.0, 0.0)
        if stage.node != node and stage.codec is not None:
            size = problem.model.cut_bytes[stage.start] * packing_of(codecs[stage.codec], stage.start).ratio
            transfer = _over(links[node, stage.node], size)
        compute = _compute(problem, stage, packing_ms, state, now)
        steps.append(
            StagePrediction(
                transfer_ms=transfer[0],
                transfer_std_ms=math.sqrt(transfer[1]),
                compute_ms=compute[0],
                compute_std_ms=math.sqrt(compute[1]),
            )
        )
        variance_ms2 += transfer[1] + compute[1]
        node = stage.node
    back = _way(links, plan.score.way_back, problem.model.cut_bytes[-1])
    return Prediction(
        latency_ms=plan.score.latency_ms,
        origin_energy_j=plan.score.origin_energy_j,
        total_energy_j=plan.score.total_energy_j,
        objective=plan.score.objective,
        latency_std_ms=math.sqrt(variance_ms2 + back[1]),
        stages=tuple(steps),
        return_ms=back[0],
        return_std_ms=math.sqrt(back[1]),
    )


def _codec_ms(problem: Problem, stages: Sequence[Stage]) -> list[float]:
    """For each stage, how long it unpacks its inputs and packs its outputs, without load."""
    nodes = {node.name: node for node in problem.nodes}
    codecs = {codec.name: codec for codec in problem.codecs}
    found = [0.0] * len(stages)
    maker, name, moved = -1, problem.origin, False
    for index, stage in enumerate(stages):
        moved = moved or stage.node != name
        if stage.start == stage.stop:
            continue
        if moved and stage.codec is not None:
            packing, size = packing_of(codecs[stage.codec], stage.start), problem.model.cut_bytes[stage.start]
            encode_ms, decode_ms = ends_ms(packing, size, nodes[name], nodes[stage.node])
            found[index] += decode_ms
            if maker >= 0:
                found[maker] += encode_ms
        maker, name, moved = index, stage.node, False
    return found


def _compute(problem: Problem, stage: Stage, codec_ms: float, state: State, now: float) -> _Spread:
    if stage.start == stage.stop:
        return 0.0, 0.0
    node = next(each for each in problem.nodes if each.name == stage.node)
    ms = (math.fsum(node.op_ms[stage.start : stage.stop]) + codec_ms) * node.stretch
    # Loads are believed in the logarithm of the stretch: to first order its spread is a share of the time.
    doubt = load_of(state.nodes[stage.node], state).stretch.variance_at(now, LOAD_DRIFT)
    return ms, compute_variance_ms2(node, stage.start, stage.stop) + ms * ms * doubt


def _over(link: Link, size: float) -> _Spread:
    ms_per_byte = BITS_PER_BYTE / (BITS_PER_MBPS_MS * link.mbps)
    fixed, per_byte2 = link_variances(link, ms_per_byte)
    return link.rtt_ms / 2 + ms_per_byte * size, fixed + per_byte2 * size * size


def _way(links: dict[tuple[str, str], Link], nodes: Sequence[str], size: float) -> _Spread:
    hops = [_over(links[pair], size) for pair in pairwise(nodes)]
    return math.fsum(ms for ms, _ in hops), math.fsum(variance for _, variance in hops)
