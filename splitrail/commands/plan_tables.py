"""What `splitrail plan` prints of a plan for readers, and what a front's and a fleet's tables share with it."""

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coordinator.cost import PartitionPlan, Score
from coordinator.problem import Problem
from splitrail.commands.plan_figures import EnergyModel, throughput_per_s

FILE_WIDTH = 1_000_000
"""Columns where nobody looks on: what goes into a file or a pipe is not folded."""


class Page:
    """Standard output, with a title, tables and sentences on it."""

    def __init__(self, title: str) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = FILE_WIDTH
        self._console.print(Text(title, style="bold"))

    def show(self, table: Table) -> None:
        """Print a table."""
        self._console.print(table)

    def say(self, sentence: str) -> None:
        """Print a line that is not folded."""
        self._console.print(Text(sentence), soft_wrap=True)


def table_of(*columns: str, numbers: range = range(0)) -> Table:
    """An empty table; `numbers` says which columns hold numbers."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for number in numbers:
        table.columns[number].justify = "right"
    return table


def print_plan(
    strategy: str, problem: Problem, plan: PartitionPlan, planning_ms: float, energy_model: EnergyModel | None
) -> None:
    """One plan: a row for each stage, then its figures in words."""
    score = plan.score
    table = table_of("node", "ops", "codec in", "weights")
    for stage in plan.stages:
        relays = stage.start == stage.stop
        weights_mb = math.fsum(problem.model.weight_mb[stage.start : stage.stop])
        table.add_row(
            Text(stage.node),
            "relays" if relays else f"[{stage.start}, {stage.stop})",
            Text(stage.codec or "-"),
            "-" if relays else f"{weights_mb:.6g} MB",
        )
    page = Page(f"{model_in_words(problem)}, by {strategy} in {planning_ms:.1f} ms")
    page.show(table)
    if score.way_back:
        page.say(f"the result returns {' -> '.join(score.way_back)}")
    weights = problem.objective
    of_origin_only = weights.latency + weights.origin_energy + weights.total_energy + weights.throughput
    page.say(
        f"latency {_latency(problem, score)}, energy ({modelled(energy_model)}) {score.origin_energy_j:.6g} J on the "
        f"origin, {score.total_energy_j:.6g} J in total, objective {score.objective:.6g} "
        f"(origin-only: {of_origin_only:.6g})"
    )
    if weights.throughput:
        per_s = throughput_per_s(plan)
        rate = "" if per_s is None else f", {per_s:.6g} inferences per second"
        page.say(f"a full pipeline has a period of {score.period_ms:.6g} ms{rate}")
    if plan.gap:
        above = f"by at most {100 * plan.gap:.3g} %" if math.isfinite(plan.gap) else "by an unknown share"
        page.say(f"the search was cut short: this objective exceeds the least {above}")


def model_in_words(problem: Problem) -> str:
    """The model's name and size."""
    return f"{problem.model.name or 'model'}, {problem.model.ops} ops"


def modelled(energy_model: EnergyModel | None) -> str:
    """By which model energies are modelled, if by another than the cost model's."""
    return f"modelled as by {energy_model}" if energy_model else "modelled"


def _latency(problem: Problem, score: Score) -> str:
    mean = f"{score.latency_ms:.6g} ms"
    if problem.risk is None:
        return mean
    return f"{mean} ({100 * problem.risk:g} % quantile {score.latency_quantile_ms:.6g} ms)"
