"""`splitrail profile`: what each op of a model costs on this machine, and what power that takes."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge_agent.profiler import MeasuredProfile, profile_model
from models.graph import Graph, read_graph
from splitrail.errors import SplitrailError
from splitrail.option_types import whole_number

EXAMPLE = "splitrail profile mobilenetv2.tflite --threads 1"
MOST_THREADS = 256  # as agent.yaml admits


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", type=Path, metavar="FILE", help="a .tflite file")
    parser.add_argument(
        "--threads", type=whole_number(1, MOST_THREADS), default=1, metavar="N", help="interpreter threads (default 1)"
    )
    parser.add_argument(
        "--energy",
        action="store_true",
        help="calibrate this machine's power model against its energy meter instead, with the model as its load",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="agent.yaml whose power model, meter and smart plug --energy takes (default: this machine's usual ones)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure the model and print the cost of its ops, or the machine's power model."""
    if arguments.settings is not None and not arguments.energy:
        raise SplitrailError("--settings says what --energy calibrates: give both or neither")
    if arguments.energy:
        from splitrail.commands.profile_energy import calibrate  # noqa: PLC0415  # an agent's parts, seldom needed

        return calibrate(arguments.model, arguments.settings, as_json=arguments.json)
    graph = read_graph(arguments.model)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task: Any = bar.add_task("profiling", total=len(graph.ops))
        profile = profile_model(
            arguments.model, threads=arguments.threads, progress=lambda done, _: bar.update(task, completed=done)
        )
    if arguments.json:
        print(msgspec.json.encode(profile).decode())
    else:
        _print_table(graph, profile)
    return 0


def _print_table(graph: Graph, profile: MeasuredProfile) -> None:
    table = Table(
        title=f"{profile.unsplit_ms:.2f} ± {profile.unsplit_ms_std:.2f} ms unsplit, "
        f"{profile.memory_mb:.0f} MB, {profile.runtime}, {profile.threads} thread(s)"
    )
    for heading in ("op", "kind", "ms", "± ms", "share"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for op in graph.ops:
        ms = profile.op_ms[op.index]
        share = ms / profile.unsplit_ms if profile.unsplit_ms else 0.0
        table.add_row(str(op.index), op.kind, f"{ms:.3f}", f"{profile.op_ms_std[op.index]:.3f}", f"{share:.1%}")
    Console().print(table)
