"""How often `reap` looks at its split in a run that is shorter than the published one; pure."""

import msgspec

from broker.messages import PlanStage
from coordinator.configuration import PlanningSettings
from coordinator.cost import Stage, evaluate
from coordinator.problem import RAW
from testbed.paper.contenders import LATENCY
from testbed.paper.hindsight import mean_problem
from testbed.paper.model_profile import ModelProfile
from testbed.paper.scenario import Scenario

DECISIONS = 5  # every 100 of 500 inferences, as published (arXiv 2605.09623)


def planning(scenario: Scenario, profile: ModelProfile, published_split: tuple[PlanStage, ...]) -> PlanningSettings:
    """The coordinator's defaults, but for reap's cadence: a fifth of the requests that are expected in the run.

    They are those that the published split would answer; where none is published, reap keeps its own 100.
    """
    if not published_split:
        return PlanningSettings()
    stages = [Stage(stage.node, stage.start, stage.stop, RAW) for stage in published_split]
    expected_ms = evaluate(mean_problem(scenario, profile, LATENCY), stages).latency_ms
    every = max(1, round(1_000 * scenario.duration_s / expected_ms / DECISIONS))
    return msgspec.structs.replace(PlanningSettings(), reap_every=every)
