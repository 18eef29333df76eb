"""A small made-up model and links for the simulator's tests."""

from broker.messages import PlanStage
from testbed.contention import UNDISTURBED, Contention
from testbed.paper.contenders import CONTENDERS, Contender
from testbed.paper.model_profile import ModelProfile, NodeTimes
from testbed.paper.scenario import Scenario
from testbed.traces import Trace, constant

OP_MS = (30.0, 60.0, 70.0, 40.0)
FACTORS = {"pi": 1.0, "laptop": 0.25, "pc": 0.1}
PROFILE = ModelProfile(
    model="made-up",
    cut_bytes=(600_000.0, 200_000.0, 100_000.0, 50_000.0, 4_000.0),
    weight_mb=(1.0, 2.0, 3.0, 4.0),
    forbidden_cuts=(),
    nodes=tuple(
        NodeTimes(
            node=node, op_ms=tuple(factor * ms for ms in OP_MS), op_ms_std=tuple(0.05 * factor * ms for ms in OP_MS)
        )
        for node, factor in FACTORS.items()
    ),
    source="made up",
)
SPLIT = (
    PlanStage(node="pi", start=0, stop=1),
    PlanStage(node="laptop", start=1, stop=3),
    PlanStage(node="pc", start=3, stop=4),
)


def contender(name: str) -> Contender:
    """The experiment's contender of this name."""
    return next(each for each in CONTENDERS if each.name == name)


def scenario(wifi: Trace | None = None, *, duration_s: float = 20.0, contention: Contention = UNDISTURBED) -> Scenario:
    """A run of the made-up model, by default over a constant link of 30 Mbit/s."""
    return Scenario(PROFILE.model, wifi or constant(30.0), contention, duration_s, repetition=1)
