"""What one run of the experiment gave: the requests of one contender over one trace, emulated or simulated.

These are the lines of the experiment's result file; figures over many runs are made elsewhere.
"""

from typing import Literal

import msgspec

from broker.messages import PlanStage

Mode = Literal["emulated", "simulated"]


class NodeCompute(msgspec.Struct, frozen=True):
    """How long a node computed for one request, over all its stages."""

    node: str
    compute_ms: float


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request; energies are modelled, of whole boards. `latency_ms` is None where it was lost, and `error` why."""

    sent_s: float
    """Seconds since the trace began."""
    latency_ms: float | None
    origin_energy_j: float = 0.0
    total_energy_j: float = 0.0
    compute: tuple[NodeCompute, ...] = ()
    epoch: int = 0
    error: str | None = None


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that came into force `at_s` seconds after the trace began (0 or less: before it)."""

    at_s: float
    epoch: int
    stages: tuple[PlanStage, ...]
    reason: str

    @property
    def words(self) -> str:
        """The plan in a few words: `pi 0-24, laptop 24-65`."""
        return ", ".join(
            f"{stage.node} relays" if stage.start == stage.stop else f"{stage.node} {stage.start}-{stage.stop}"
            for stage in self.stages
        )


class RunKey(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a run: the same key is never run twice, so that an experiment resumes where it stopped."""

    mode: Mode
    model: str
    trace: str
    """The trace's label, with its scale."""
    repetition: int
    contender: str


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is over."""

    key: RunKey
    duration_s: float
    requests: tuple[RequestRecord, ...]
    plans: tuple[PlanRecord, ...]
    took_s: float
    """The wall-clock time that the run took, its start-up included."""

    @property
    def switches(self) -> int:
        """Plans that came into force after the trace began."""
        return sum(plan.at_s > 0 for plan in self.plans)
