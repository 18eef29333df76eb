"""Where regret comes from, and how often reap looks at its split."""

import pytest
from paper_records import key, run

from broker.messages import PlanStage
from testbed.contention import UNDISTURBED
from testbed.paper.contenders import Contender
from testbed.paper.explanations import CAUSES, explanations
from testbed.paper.model_profile import ModelProfile, NodeTimes
from testbed.paper.reap_cadence import planning
from testbed.paper.records import RunRecord
from testbed.paper.scenario import Scenario
from testbed.simulation.settings import AS_IT_IS, Ablation
from testbed.traces import constant

PROFILE = ModelProfile(
    model="vgg16",
    cut_bytes=(0.0, 0.0, 0.0, 0.0),
    weight_mb=(0.0, 0.0, 0.0),
    forbidden_cuts=(),
    nodes=tuple(
        NodeTimes(node=node, op_ms=(50.0, 50.0, 50.0), op_ms_std=(0.0, 0.0, 0.0)) for node in ("pi", "laptop", "pc")
    ),
    source="made up",
)
ON_THE_PI = (PlanStage(node="pi", start=0, stop=3),)


def scenario(model: str = "vgg16", duration_s: float = 75.0) -> Scenario:
    return Scenario(model, constant(10.0), UNDISTURBED, duration_s, 1)


def test_each_cause_is_switched_off_in_turn() -> None:
    """The regret of each is a mean over the scenarios of a model, to the clairvoyant run of the same scenario."""

    def simulate(_: Scenario, contender: Contender, ablation: Ablation) -> RunRecord:
        if contender.name == "clairvoyant":
            return run(key(), [100.0])
        return run(key(), [120.0 if ablation == AS_IT_IS else 105.0])

    found = explanations([scenario(), scenario(), scenario("alexnet")], simulate)
    assert [(each.model, each.switched_off) for each in found] == [
        (model, cause) for model in ("vgg16", "alexnet") for cause, _ in CAUSES
    ]
    assert [each.regret_percent.mean for each in found if each.regret_percent] == pytest.approx(
        [20.0, *[5.0] * (len(CAUSES) - 1)] * 2
    )
    assert [each.pairs for each in found[: len(CAUSES)]] == [2] * len(CAUSES)


@pytest.mark.parametrize(("duration_s", "every"), [(75.0, 100), (15.0, 20), (0.1, 1)])
def test_reap_looks_five_times_in_a_run(duration_s: float, every: int) -> None:
    """After each fifth of the requests that the published split would answer, and after each one at the least."""
    assert planning(scenario(duration_s=duration_s), PROFILE, ON_THE_PI).reap_every == every


def test_without_a_published_split_reap_keeps_its_hundred() -> None:
    """As published."""
    assert planning(scenario(), PROFILE, ()).reap_every == 100
