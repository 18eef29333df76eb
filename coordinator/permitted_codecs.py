"""From the measured figures of a model's codecs to those that a deployment's plans may use, and to the plans it sends.

What they cost and change was measured by `models.evaluation`; which of them is taken where is the planner's choice.
"""

import math
import statistics
from collections.abc import Callable, Collection, Sequence, Set
from typing import cast

import msgspec

from broker.messages import CodecSpeed, PlanStage, TensorScale
from coordinator.cost import PartitionPlan, Stage
from coordinator.field_checks import MAX_NUMBER
from coordinator.prices import within
from coordinator.problem import RAW, Codec, Problem
from models.codec_figures import IMAGE_CODECS, NAMES, CodecFigures, CodecName, CutCodec

LOSSY = frozenset({"fp16", "fp16+lz4", "fp16+zstd", "int8", "int8+lz4", "int8+zstd"})
"""Those that round numbers; with the others the answer is the same to the bit."""

ANY_LOSS = 1.0


def permitted(figures: CodecFigures, ops: int, loss: float, known: Set[str]) -> tuple[Codec, ...]:
    """Raw, and what of the `known` codecs loses at most `loss` in one transfer, in the form of a problem of N ops.

    A lossy codec needs a loss above 0, even if it changed none of the answers that were measured.
    """
    allowed: dict[str, list[CutCodec]] = {}
    for each in figures.cuts:
        if each.codec != RAW and each.codec in known and each.k < ops and _is_allowed(each, loss):
            allowed.setdefault(each.codec, []).append(each)
    return (Codec(name=RAW), *(_codec(name, allowed[name], ops) for name in NAMES if name in allowed))


def _is_allowed(each: CutCodec, loss: float) -> bool:
    if each.codec in LOSSY:
        return loss > 0.0 and each.changed <= loss
    return each.codec not in IMAGE_CODECS or each.k == 0


def _codec(name: str, allowed: Sequence[CutCodec], ops: int) -> Codec:
    ratio: list[float | None] = [None] * (ops + 1)
    encode_ms, decode_ms = [0.0] * (ops + 1), [0.0] * (ops + 1)
    for each in allowed:
        ratio[each.k] = min(each.ratio, MAX_NUMBER)
        encode_ms[each.k] = min(each.encode_ms_per_mb, MAX_NUMBER)
        decode_ms[each.k] = min(each.decode_ms_per_mb, MAX_NUMBER)
    return Codec(name=name, ratio=tuple(ratio), encode_ms_per_mb=tuple(encode_ms), decode_ms_per_mb=tuple(decode_ms))


def known_to_all(speeds: Collection[Sequence[CodecSpeed]]) -> frozenset[str]:
    """The codecs that every node knows which says of any; the others take everything raw."""
    known = [frozenset[str](speed.codec for speed in of_node) for of_node in speeds if of_node]
    return frozenset.intersection(*known) if known else frozenset()


def plan_within_loss(
    problem: Problem, figures: CodecFigures | None, loss: float, plan: Callable[[Problem], PartitionPlan]
) -> PartitionPlan:
    """The plan of a problem whose lossy transfers change at most `loss` of the answers in sum.

    Each transfer may lose it all at first, then half of it, and so on until the plan that is found keeps it: quick, and
    not always the best such plan.
    """
    found, each = plan(problem), loss
    while not within(loss_of(figures, found.stages), loss):
        each /= 2.0
        problem = tightened(problem, figures, each)
        found = plan(problem)
    return found


def tightened(problem: Problem, figures: CodecFigures | None, loss: float) -> Problem:
    """The problem without the packings that lose more than `loss` in one transfer."""
    lossy = {} if figures is None else {(each.codec, each.k): each.changed for each in figures.cuts}

    def strict(codec: Codec) -> Codec:
        if codec.name not in LOSSY or not isinstance(codec.ratio, tuple):
            return codec
        ratio = tuple(
            one if lossy.get((cast(CodecName, codec.name), cut), 1.0) <= loss else None
            for cut, one in enumerate(codec.ratio)
        )
        return msgspec.structs.replace(codec, ratio=ratio)

    return msgspec.structs.replace(problem, codecs=tuple(map(strict, problem.codecs)))


def codec_factor(figures: CodecFigures, speeds: Sequence[CodecSpeed]) -> float | None:
    """How many times longer than the machine of the figures a node packs and unpacks, in the median over the codecs.

    None for a node that does not say.
    """
    here = {codec: sum(times) for codec, times in usual_ms_per_mb(figures).items()}
    factors = [
        (speed.encode_ms_per_mb + speed.decode_ms_per_mb) / here[speed.codec]
        for speed in speeds
        if speed.codec != RAW and here.get(speed.codec, 0.0) > 0.0
    ]
    if factors:
        return min(statistics.median(factors), MAX_NUMBER)
    return 1.0 if speeds else None


def usual_ms_per_mb(figures: CodecFigures) -> dict[CodecName, tuple[float, float]]:
    """By codec: the median over the cuts of what packing and unpacking take, in ms per MB before encoding."""
    by_codec: dict[CodecName, list[CutCodec]] = {}
    for each in figures.cuts:
        by_codec.setdefault(each.codec, []).append(each)
    return {
        codec: (
            statistics.median(each.encode_ms_per_mb for each in cuts),
            statistics.median(each.decode_ms_per_mb for each in cuts),
        )
        for codec, cuts in by_codec.items()
    }


def loss_of(figures: CodecFigures | None, stages: Sequence[Stage]) -> float:
    """The share of answers that a plan's lossy transfers may change at the most: what each changes, in sum."""
    packed = (_figures_of(figures, stage) for stage in stages)
    return math.fsum(each.changed for each in packed if each is not None and each.codec in LOSSY)


def live_stages(stages: Sequence[Stage], figures: CodecFigures | None) -> tuple[PlanStage, ...]:
    """A plan's stages as the agents are told them; an int8 codec brings its scales."""
    return tuple(
        PlanStage(
            node=stage.node,
            start=stage.start,
            stop=stage.stop,
            codec=cast(CodecName, stage.codec or RAW),
            scales=_scales(_figures_of(figures, stage)),
        )
        for stage in stages
    )


def planned_stages(stages: Sequence[PlanStage]) -> tuple[Stage, ...]:
    """A live plan's stages for the cost model."""
    return tuple(Stage(stage.node, stage.start, stage.stop, stage.codec) for stage in stages)


def _figures_of(figures: CodecFigures | None, stage: Stage) -> CutCodec | None:
    """Of the transfer that the stage unpacks, if it is not raw; a relay unpacks nothing."""
    if figures is None or stage.codec in (None, RAW) or stage.start == stage.stop:
        return None
    return next((each for each in figures.cuts if (each.k, each.codec) == (stage.start, stage.codec)), None)


def _scales(each: CutCodec | None) -> tuple[TensorScale, ...]:
    scales = each.scales if each is not None else ()
    return tuple(TensorScale(scale=one.scale, zero_point=one.zero_point) for one in scales)
