"""A split that is given by hand on the command line, `pi:0-24,laptop:24-60@half,pc:60-65`, and plans in that form."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace

from coordinator.cost import PartitionPlan, Stage, broken_bound, evaluate
from coordinator.errors import PlanInfeasibleError
from coordinator.problem import RAW, Problem

FORM = "NODE:START-STOP[@CODEC],..."
_STAGE = re.compile(r"(?P<node>.+):(?P<start>\d{1,9})-(?P<stop>\d{1,9})(?:@(?P<codec>[^@]+))?")


def read_stages(text: str) -> tuple[Stage, ...]:
    """The stages of a split in this form, for argparse; a codec is None where none is given."""
    stages = []
    for part in text.split(","):
        match = _STAGE.fullmatch(part.strip())
        if match is None:
            raise argparse.ArgumentTypeError(
                f"{part.strip()!r} is no stage: it must be NODE:START-STOP or NODE:START-STOP@CODEC, as in pi:0-24"
            )
        stages.append(Stage(match["node"], int(match["start"]), int(match["stop"]), match["codec"]))
    return tuple(stages)


def plan_by_hand(problem: Problem, stages: Sequence[Stage]) -> PartitionPlan:
    """The plan of given stages. PlanError if they are none, PlanInfeasibleError if they break a bound.

    A transfer for which no codec is given is raw, or by the problem's one codec; a relay takes what it forwards.
    """
    full = _with_codecs(problem, stages)
    score = evaluate(problem, full)
    broken = broken_bound(problem, full, score)
    if broken:
        raise PlanInfeasibleError(broken.bound, broken.message)
    return PartitionPlan(full, score)


def written(stages: Sequence[Stage]) -> str:
    """Stages in the form that `read_stages` reads, raw transfers without their codec."""
    return ",".join(
        f"{stage.node}:{stage.start}-{stage.stop}{f'@{stage.codec}' if stage.codec not in (None, RAW) else ''}"
        for stage in stages
    )


def _with_codecs(problem: Problem, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    usual = problem.codecs[0].name if len(problem.codecs) == 1 else RAW
    found: list[Stage] = []
    onwards: str | None = None
    for index in range(len(stages) - 1, -1, -1):
        stage, before = stages[index], stages[index - 1].node if index else problem.origin
        relays = stage.start == stage.stop
        codec = None if stage.node == before else stage.codec or (onwards if relays and onwards else usual)
        found.append(replace(stage, codec=codec))
        onwards = codec
    return tuple(found[::-1])
