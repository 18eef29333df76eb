"""`splitrail cuts`: the ops of a .tflite and what it would cost to cut before each of them."""

import argparse
import sys
from pathlib import Path

import msgspec

from models.graph import CutPoint, Graph, Op, read_graph
from models.operators import is_flex

EXAMPLE = "splitrail cuts mobilenetv2.tflite"
HEADINGS = ("k", "op k", "output shape", "bytes at cut k", "weight bytes", "cut at k")


class CutFigures(msgspec.Struct, frozen=True):
    """One cut point as `--json` prints it; `tensors` are names."""

    k: int
    bytes: int
    tensors: tuple[str, ...]
    allowed: bool
    why: str | None


class ModelFigures(msgspec.Struct, frozen=True):
    """What `--json` prints: N ops and N+1 cut points."""

    ops: int
    cuts: tuple[CutFigures, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a .tflite file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the cut points. ModelFileError or ModelFormatError if the file cannot be read or is no .tflite."""
    graph = read_graph(arguments.file)
    if arguments.json:
        print(msgspec.json.encode(_figures(graph)).decode())
    else:
        print(_table(graph))
    flex = [op for op in graph.ops if op.custom and is_flex(op.kind)]
    if flex:
        print(
            f"splitrail: warning: op {flex[0].index} is {flex[0].kind}, which needs TensorFlow's Flex delegate: no "
            "segment may hold it; convert the model with TFLITE_BUILTINS as its only supported ops",
            file=sys.stderr,
        )
    return 0


def _figures(graph: Graph) -> ModelFigures:
    return ModelFigures(
        len(graph.ops),
        tuple(
            CutFigures(
                k=cut.k,
                bytes=cut.size_bytes,
                tensors=tuple(graph.tensors[index].name for index in cut.tensors),
                allowed=cut.allowed,
                why=cut.why,
            )
            for cut in graph.cuts
        ),
    )


def _table(graph: Graph) -> str:
    rows = [HEADINGS, *(_row(graph, cut, op) for cut, op in zip(graph.cuts, [*graph.ops, None], strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        f"{k:>{widths[0]}}  {kind:{widths[1]}}  {shape:{widths[2]}}  {size:>{widths[3]}}  {weights:>{widths[4]}}  {why}"
        for k, kind, shape, size, weights, why in rows
    )


def _row(graph: Graph, cut: CutPoint, op: Op | None) -> tuple[str, ...]:
    verdict = "allowed" if cut.why is None else f"no: {cut.why}"
    if op is None:
        return (str(cut.k), "(end)", "", f"{cut.size_bytes:,}", "", verdict)
    return (
        str(cut.k),
        op.kind,
        ", ".join(_shape(graph, index) for index in op.outputs),
        f"{cut.size_bytes:,}",
        f"{op.weight_bytes:,}",
        verdict,
    )


def _shape(graph: Graph, index: int) -> str:
    tensor = graph.tensors[index]
    return ("x".join(map(str, tensor.shape)) or "scalar") + (" (dynamic)" if tensor.dynamic else "")
