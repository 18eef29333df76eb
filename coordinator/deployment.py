"""A deployment as its settings and its model's file declare it: what never changes while the coordinator runs."""

from dataclasses import dataclass

from broker.messages import ModelReference, PlanStage, StrategyName
from coordinator.problem import Objective
from models.codec_figures import CodecFigures


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What planning needs of a model of N ops: bytes at its N+1 cut points, weights of each op in MB of 10^6 bytes."""

    reference: ModelReference
    cut_bytes: tuple[float, ...]
    weight_mb: tuple[float, ...]
    forbidden_cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model, one origin, one objective, as the settings declare it."""

    name: str
    model: ModelFacts
    origin: str
    strategy: StrategyName
    objective: Objective
    deadline_ms: float | None
    risk: float | None = None
    requests_per_s: float = 0.0
    stages: tuple[PlanStage, ...] = ()
    """The split of a static deployment that was given by hand; () where the strategy decides."""
    codec_figures: CodecFigures | None = None
    """What codecs cost and change of its model; None where everything travels raw."""
    accuracy_loss: float = 0.0
    """The share of top-1 answers that a plan's lossy transfers may change."""

    @property
    def stays(self) -> bool:
        """Whether its plan is to stay as it is for as long as its nodes are there."""
        return self.strategy in {"static", "fog-only", "cloud-only"}
