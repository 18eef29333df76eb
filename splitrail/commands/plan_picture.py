"""Draws a Pareto front into a PNG or SVG file: latency against the origin's energy, the total energy as colour."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from coordinator.cost import PartitionPlan
from coordinator.problem import Problem
from splitrail.commands.plan_figures import EnergyModel
from splitrail.commands.plan_tables import modelled
from splitrail.errors import SplitrailError


def draw_front(
    path: Path,
    problem: Problem,
    front: Sequence[PartitionPlan],
    chosen: PartitionPlan,
    energy_model: EnergyModel | None,
) -> None:
    """Write the picture of a front, its chosen plan marked; an existing file is replaced.

    SplitrailError if the file cannot be written.
    """
    scores = [plan.score for plan in front]
    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.subplots()
    points = axes.scatter(
        [score.latency_quantile_ms for score in scores],
        [score.origin_energy_j for score in scores],
        c=[score.total_energy_j for score in scores],
        cmap="viridis",
        s=32,
        edgecolors="black",
        linewidths=0.4,
        zorder=3,
    )
    axes.scatter(
        [chosen.score.latency_quantile_ms],
        [chosen.score.origin_energy_j],
        s=170,
        facecolors="none",
        edgecolors="tab:red",
        linewidths=1.6,
        zorder=4,
        label="what the objective chooses",
    )
    figure.colorbar(points, ax=axes, label=f"energy of all nodes (J, {modelled(energy_model)})")
    axes.set_xlabel("latency (ms)" if problem.risk is None else f"latency, {100 * problem.risk:g} % quantile (ms)")
    axes.set_ylabel(f"energy of the origin (J, {modelled(energy_model)})")
    axes.set_title(
        f"{problem.model.name or 'model'}: {len(front)} plan{'' if len(front) == 1 else 's'} that no other beats",
        parse_math=False,
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="best")
    try:
        # Without a date and with one salt, equal fronts make equal files.
        with mpl.rc_context({"svg.hashsalt": "splitrail"}):
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise SplitrailError(f"{path}: the picture cannot be written: {error.strerror or error}") from None
