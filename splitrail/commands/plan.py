"""`splitrail plan`: solves a planning problem in a file, and needs nothing else."""

import argparse
import math
import sys
import time
from pathlib import Path

import msgspec

from coordinator.cost import PartitionPlan
from coordinator.errors import PlanInfeasibleError
from coordinator.problem import Problem
from coordinator.problem_file import parse_problem, read_problem
from coordinator.strategies import STRATEGIES, strategy

EXAMPLE = "splitrail plan problem.json --strategy exact --json"


class StageFigures(msgspec.Struct, frozen=True):
    """Ops `start`..`stop`-1 on a node, and the codec of the transfer into the stage if there is one."""

    node: str
    start: int
    stop: int
    codec: str | None


class PlanFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints; the figures are None where no plan keeps the bounds, and only then `reason` says why."""

    strategy: str
    feasible: bool
    stages: tuple[StageFigures, ...] = ()
    way_back: tuple[str, ...] = msgspec.field(name="return", default=())
    latency_ms: float | None = None
    origin_energy_j: float | None = None
    total_energy_j: float | None = None
    objective: float | None = None
    planning_ms: float
    reason: str | msgspec.UnsetType = msgspec.UNSET


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("problem", metavar="PROBLEM", help="the problem in JSON; - reads standard input")
    parser.add_argument("--strategy", choices=STRATEGIES, default="exact", help="how to decide (default: exact)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan. ProblemError if the problem cannot be read, PlanInfeasibleError if no plan keeps its bounds."""
    source = arguments.problem
    problem = parse_problem(sys.stdin.buffer.read()) if source == "-" else read_problem(Path(source))
    decide = strategy(arguments.strategy)
    begun = time.perf_counter()
    try:
        plan = decide(problem)
    except PlanInfeasibleError as error:
        if arguments.json:
            planning_ms = (time.perf_counter() - begun) * 1000
            _print_json(
                PlanFigures(strategy=arguments.strategy, feasible=False, planning_ms=planning_ms, reason=str(error))
            )
        raise
    planning_ms = (time.perf_counter() - begun) * 1000
    if arguments.json:
        _print_json(_figures(arguments.strategy, plan, planning_ms))
    else:
        _print_plan(arguments.strategy, problem, plan, planning_ms)
    return 0


def _figures(name: str, plan: PartitionPlan, planning_ms: float) -> PlanFigures:
    score = plan.score
    return PlanFigures(
        strategy=name,
        feasible=True,
        stages=tuple(StageFigures(stage.node, stage.start, stage.stop, stage.codec) for stage in plan.stages),
        way_back=score.way_back,
        latency_ms=score.latency_ms,
        origin_energy_j=score.origin_energy_j,
        total_energy_j=score.total_energy_j,
        objective=score.objective,
        planning_ms=planning_ms,
    )


def _print_json(figures: PlanFigures) -> None:
    print(msgspec.json.encode(figures).decode())


def _print_plan(name: str, problem: Problem, plan: PartitionPlan, planning_ms: float) -> None:
    from rich.console import Console  # noqa: PLC0415  # a quarter of the command's time, and --json has no use for it
    from rich.table import Table  # noqa: PLC0415  # as above
    from rich.text import Text  # noqa: PLC0415  # as above

    score = plan.score
    table = Table("node", "ops", "codec in", "weights", box=None, pad_edge=False, header_style="bold")
    for stage in plan.stages:
        relays = stage.start == stage.stop
        weights_mb = math.fsum(problem.model.weight_mb[stage.start : stage.stop])
        table.add_row(
            Text(stage.node),
            "relays" if relays else f"[{stage.start}, {stage.stop})",
            Text(stage.codec or "-"),
            "-" if relays else f"{weights_mb:.6g} MB",
        )
    weights = problem.objective
    of_origin_only = weights.latency + weights.origin_energy + weights.total_energy
    console = Console(highlight=False)
    title = f"{problem.model.name or 'model'}, {problem.model.ops} ops, by {name} in {planning_ms:.1f} ms"
    console.print(Text(title, style="bold"))
    console.print(table)
    if score.way_back:
        console.print(Text(f"the result returns {' -> '.join(score.way_back)}"))
    console.print(
        f"latency {score.latency_ms:.6g} ms, energy (modelled) {score.origin_energy_j:.6g} J on the origin, "
        f"{score.total_energy_j:.6g} J in total, objective {score.objective:.6g} (origin-only: {of_origin_only:.6g})",
        soft_wrap=True,
    )
