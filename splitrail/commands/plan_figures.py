"""What `splitrail plan --json` prints of a plan; a front and a fleet are made of such plans."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from coordinator.cost import PartitionPlan
from coordinator.errors import PlanInfeasibleError
from coordinator.prices import MS_PER_S
from coordinator.problem import Problem

EnergyModel = Literal["reap"]


class StageFigures(msgspec.Struct, frozen=True):
    """Ops `start`..`stop`-1 on a node, and the codec of the transfer into the stage if there is one."""

    node: str
    start: int
    stop: int
    codec: str | None


class PlanFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One plan; the figures are None where no plan keeps the bounds, and only then `reason` says why.

    Fields that are left unset belong to what the problem does not ask for.
    """

    strategy: str
    feasible: bool
    stages: tuple[StageFigures, ...] = ()
    way_back: tuple[str, ...] = msgspec.field(name="return", default=())
    latency_ms: float | None = None
    latency_quantile_ms: float | msgspec.UnsetType = msgspec.UNSET
    """Set where the problem has a risk."""
    period_ms: float | msgspec.UnsetType = msgspec.UNSET
    """Set, with `throughput_per_s`, where the objective weighs throughput."""
    throughput_per_s: float | msgspec.UnsetType | None = msgspec.UNSET
    """None where nothing takes any time."""
    origin_energy_j: float | None = None
    total_energy_j: float | None = None
    energy_model: EnergyModel | msgspec.UnsetType = msgspec.UNSET
    """Set where it is another than the cost model's."""
    objective: float | None = None
    gap: float | msgspec.UnsetType = msgspec.UNSET
    """Set where a search was limited: the share by which the objective may exceed the least, 0 if it is that.

    Null in JSON where nothing is proven of the least.
    """
    planning_ms: float
    """Of all plans that are printed together."""
    reason: str | msgspec.UnsetType = msgspec.UNSET


def plan_figures(
    strategy: str,
    problem: Problem,
    plan: PartitionPlan,
    planning_ms: float,
    energy_model: EnergyModel | None,
) -> PlanFigures:
    """The figures of a plan that keeps its problem's bounds."""
    score = plan.score
    pipelined = problem.objective.throughput > 0.0
    return PlanFigures(
        strategy=strategy,
        feasible=True,
        stages=tuple(StageFigures(stage.node, stage.start, stage.stop, stage.codec) for stage in plan.stages),
        way_back=score.way_back,
        latency_ms=score.latency_ms,
        latency_quantile_ms=msgspec.UNSET if problem.risk is None else score.latency_quantile_ms,
        period_ms=score.period_ms if pipelined else msgspec.UNSET,
        throughput_per_s=throughput_per_s(plan) if pipelined else msgspec.UNSET,
        origin_energy_j=score.origin_energy_j,
        total_energy_j=score.total_energy_j,
        energy_model=energy_model or msgspec.UNSET,
        objective=score.objective,
        planning_ms=planning_ms,
    )


def throughput_per_s(plan: PartitionPlan) -> float | None:
    """Inferences per second of a full pipeline; None where nothing takes any time."""
    period_ms = plan.score.period_ms
    return MS_PER_S / period_ms if period_ms else None


@contextlib.contextmanager
def timed(*, json: bool, infeasible: Callable[[float, str], msgspec.Struct]) -> Iterator[Callable[[], float]]:
    """Give a clock of the ms spent; where no plan keeps the bounds, `json` prints that before the error goes on.

    `infeasible` makes the object to print from the ms spent and the reason.
    """
    begun = time.perf_counter()

    def clock() -> float:
        return (time.perf_counter() - begun) * 1000

    try:
        yield clock
    except PlanInfeasibleError as error:
        if json:
            print_json(infeasible(clock(), str(error)))
        raise


def print_json(figures: msgspec.Struct) -> None:
    """Print one line with one object."""
    print(msgspec.json.encode(figures).decode())
