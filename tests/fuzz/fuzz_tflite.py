"""Model files of any bytes: each is read whole or refused with a sentence."""

import contextlib
from collections.abc import Iterator
from itertools import pairwise

from fuzz_seeds import tiny_models
from scratch_file import scratch, written

from models.errors import ModelError
from models.graph import Graph, read_graph
from models.metadata import attach_metadata
from models.preprocessing import read_labels, read_preprocessing
from models.slicer import slice_model

MOST_SLICES = 2


def run(data: bytes) -> None:
    """Read it, and what travels with it; cut it where it says that it can be cut; each part is a model again."""
    path = written("model.tflite", data)
    for read in (read_preprocessing, read_labels):
        with contextlib.suppress(ModelError):
            read(path)
    try:
        graph = read_graph(path)
    except ModelError as error:
        assert str(error).isprintable()
        return
    cut(graph)
    attach_metadata(path, {"a": b"b"}, scratch("attached.tflite"))
    read_graph(scratch("attached.tflite"))


def cut(graph: Graph) -> None:
    """Slice the model that was written last at its first cut points, and read the slices."""
    path, part = scratch("model.tflite"), scratch("part.tflite")
    allowed = [point.k for point in graph.cuts if point.allowed]
    for start, stop in [*list(pairwise(allowed))[:MOST_SLICES], (0, len(graph.ops))]:
        # A part may be refused where the whole was not: cutting binds sizes that the file leaves open.
        with contextlib.suppress(ModelError):
            slice_model(path, start, stop, part)
            assert len(read_graph(part).outputs) == len(graph.cuts[stop].tensors)


def seeds() -> Iterator[bytes]:
    """The smallest of the tests' models."""
    for path in tiny_models():
        data = path.read_bytes()
        if len(data) < 20_000:
            yield data
