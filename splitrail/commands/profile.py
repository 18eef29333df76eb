"""`splitrail profile`: what each op of a model costs on this machine, what power that takes, and what codecs do."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge_agent.profiler import MeasuredProfile, profile_model
from edge_agent.threads import ThreadSetting
from models.calibration import MAX_SAMPLES
from models.evaluation import IMAGES, interesting_cuts
from models.graph import MAX_OPS, Graph, read_graph
from splitrail.errors import SplitrailError
from splitrail.option_types import whole_number

EXAMPLE = "splitrail profile mobilenetv2.tflite --threads 1"
MOST_THREADS = 256  # as agent.yaml admits


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", type=Path, metavar="FILE", help="a .tflite file")
    parser.add_argument(
        "--threads",
        type=_thread_setting,
        default=1,
        metavar="N",
        help="interpreter threads (default 1); auto tries 1, 2, ... up to the cores and takes the best, as agents do",
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
    parser.add_argument(
        "--codecs",
        action="store_true",
        help="measure instead what packing the tensors at each cut saves, takes and changes, and keep that in "
        "FILE's .codecs.json, which the coordinator reads",
    )
    parser.add_argument(
        "--images",
        metavar="PLACE",
        type=Path,
        nargs="+",
        default=[],
        help="images, or directories of them, that --codecs runs (default: scikit-learn's two photographs)",
    )
    parser.add_argument(
        "--samples",
        metavar="N",
        type=whole_number(2, MAX_SAMPLES),
        help=f"how many images, crops of the given ones included, --codecs runs (default {IMAGES})",
    )
    parser.add_argument(
        "--narrowest",
        metavar="N",
        type=whole_number(1, MAX_OPS),
        help="let --codecs measure the N cuts with the fewest bytes alone, the input among them",
    )
    parser.add_argument(
        "--cuts",
        metavar="K",
        type=whole_number(0, MAX_OPS),
        nargs="+",
        help="the cuts that --codecs measures (default: the input and all that send less than four times its bytes)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure the model and print the cost of its ops, or the machine's power model."""
    if arguments.settings is not None and not arguments.energy:
        raise SplitrailError("--settings says what --energy calibrates: give both or neither")
    if arguments.energy and arguments.codecs:
        raise SplitrailError("--energy and --codecs measure different things: give one at a time")
    if arguments.energy:
        from splitrail.commands.profile_energy import calibrate  # noqa: PLC0415  # an agent's parts, seldom needed

        return calibrate(arguments.model, arguments.settings, as_json=arguments.json)
    if arguments.codecs:
        return _codecs(arguments)
    for option in ("images", "samples", "cuts", "narrowest"):
        if getattr(arguments, option):
            raise SplitrailError(f"--{option} says what --codecs measures: give both or neither")
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


def _thread_setting(text: str) -> ThreadSetting:
    if text == "auto":
        return "auto"
    try:
        return whole_number(1, MOST_THREADS)(text)
    except argparse.ArgumentTypeError:
        message = f"{text!r} is neither auto nor a whole number from 1 to {MOST_THREADS}"
        raise argparse.ArgumentTypeError(message) from None


def _codecs(arguments: argparse.Namespace) -> int:
    from splitrail.commands.codec_table import measure_codecs, print_table  # noqa: PLC0415  # Pillow, seldom needed

    if arguments.threads == "auto":
        raise SplitrailError("--codecs takes a number of --threads: what packing takes does not hang on the best one")
    cuts = arguments.cuts
    if arguments.narrowest is not None:
        if cuts:
            raise SplitrailError("--cuts and --narrowest both say which cuts are measured: give one of them")
        cuts = interesting_cuts(read_graph(arguments.model), arguments.narrowest)
    figures = measure_codecs(
        arguments.model,
        arguments.images,
        cuts=cuts,
        count=arguments.samples or IMAGES,
        threads=arguments.threads,
    )
    if arguments.json:
        print(msgspec.json.encode(figures).decode())
    else:
        print_table(arguments.model, figures)
    return 0


def _print_table(graph: Graph, profile: MeasuredProfile) -> None:
    tried = ", ".join(f"{time.threads}: {time.unsplit_ms:.2f} ms" for time in profile.thread_ms)
    table = Table(
        title=f"{profile.unsplit_ms:.2f} ± {profile.unsplit_ms_std:.2f} ms unsplit, "
        f"{profile.memory_mb:.0f} MB, {profile.runtime}, {profile.threads} thread(s)"
        f"{f' of {tried}' if tried else ''}"
    )
    for heading in ("op", "kind", "ms", "± ms", "share"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for op in graph.ops:
        ms = profile.op_ms[op.index]
        share = ms / profile.unsplit_ms if profile.unsplit_ms else 0.0
        table.add_row(str(op.index), op.kind, f"{ms:.3f}", f"{profile.op_ms_std[op.index]:.3f}", f"{share:.1%}")
    Console().print(table)
