"""How often `reap` looks at its split in a run that is shorter than the published one; pure."""

from broker.messages import PlanStage
from coordinator.cost import Stage, evaluate
from coordinator.problem import RAW
from testbed.paper.contenders import LATENCY
from testbed.paper.hindsight import mean_problem
from testbed.paper.model_profile import ModelProfile
from testbed.paper.scenario import Scenario

DECISIONS = 5  # every 100 of 500 inferences, as published (arXiv 2605.09623)


def reap_every(scenario: Scenario, profile: ModelProfile, published_split: tuple[PlanStage, ...]) -> int:
    """A fifth of the requests that the published split is expected to answer in the run."""
    stages = [Stage(stage.node, stage.start, stage.stop, RAW) for stage in published_split]
    expected_ms = evaluate(mean_problem(scenario, profile, LATENCY), stages).latency_ms
    return max(1, round(1_000 * scenario.duration_s / expected_ms / DECISIONS))
