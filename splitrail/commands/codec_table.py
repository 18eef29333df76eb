"""What codecs cost and change at a model's cuts: measured, kept beside the model, and printed.

`splitrail profile --codecs` and `splitrail convert --evaluate` come here; `models.evaluation` measures.
"""

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge_agent.clock import MACHINE_CLOCK
from edge_agent.hardware import machine_identity
from models.calibration import find_images
from models.codec_figures import CodecFigures, figures_path
from models.evaluation import IMAGES, evaluate_codecs
from models.graph import Graph, read_graph
from models.images import sample_photographs
from splitrail.errors import SplitrailError

_LEAST_WIDTHS = {"codec": 9, "changed": 7}


def measure_codecs(
    model: Path,
    places: Sequence[Path],
    *,
    cuts: Sequence[int] | None = None,
    count: int = IMAGES,
    threads: int = 1,
) -> CodecFigures:
    """Measure the codecs of a model on these images, else the sample photographs, and keep the figures beside it."""
    images = find_images(places) if places else sample_photographs()
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("measuring codecs", total=None)
        figures = evaluate_codecs(
            model,
            images,
            machine=machine_identity(),
            at=MACHINE_CLOCK.now(),
            cuts=cuts,
            count=count,
            threads=threads,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _keep(figures, figures_path(model))
    return figures


def print_table(model: Path, figures: CodecFigures) -> None:
    """A row for each codec at each cut, but for raw, which costs and changes nothing."""
    graph = read_graph(model)
    table = Table(title=f"{model.name}: {figures.images} images on {figures.machine}")
    for heading in ("cut", "kB", "codec", "kB sent", "encode ms/MB", "decode ms/MB", "changed", "error"):
        table.add_column(
            heading, justify="left" if heading == "codec" else "right", min_width=_LEAST_WIDTHS.get(heading)
        )
    before = None
    for each in (each for each in figures.cuts if each.codec != "raw"):
        kilobytes = graph.cuts[each.k].size_bytes / 1e3
        is_first, before = each.k != before, each.k
        table.add_row(
            str(each.k) if is_first else "",
            f"{kilobytes:.1f}" if is_first else "",
            each.codec,
            f"{kilobytes * each.ratio:.1f}",
            f"{each.encode_ms_per_mb:.2f}",
            f"{each.decode_ms_per_mb:.2f}",
            f"{each.changed:.1%}",
            f"{each.error:.2%}",
        )
    Console().print(table)
    print(f"{_words(graph, figures)}; kept in {figures_path(model)}")


def _words(graph: Graph, figures: CodecFigures) -> str:
    measured = len({each.k for each in figures.cuts})
    allowed = sum(cut.allowed for cut in graph.cuts[:-1])
    return f"{measured} of {allowed} cuts measured"


def _keep(figures: CodecFigures, path: Path) -> None:
    """Put the file in place at once, so that no reader sees half of it."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
        unfinished.replace(path)
    except OSError as error:
        raise SplitrailError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
