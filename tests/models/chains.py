"""Runs a model as a chain of its segments, for the tests that compare the chain with the whole."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.graph import Graph, read_graph
from models.runtime import Segment
from models.slicer import slice_model


def made_inputs(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for the model's inputs."""
    random = np.random.default_rng(seed)
    arrays = []
    for tensor in (graph.tensors[index] for index in graph.inputs):
        if np.dtype(tensor.dtype).kind == "f":
            arrays.append(random.standard_normal(tensor.shape).astype(tensor.dtype))
        else:
            arrays.append(random.integers(-100, 100, tensor.shape).astype(tensor.dtype))
    return arrays


def run_file(path: Path, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of one file."""
    segment = Segment(path)
    try:
        return segment.run(arrays)
    finally:
        segment.close()


def run_chain(path: Path, bounds: Sequence[int], arrays: list[np.ndarray], scratch: Path) -> list[np.ndarray]:
    """The outputs of the segments between these bounds, one fed to the next."""
    for start, stop in itertools.pairwise(bounds):
        if start == stop:
            continue
        piece = scratch / f"{start}-{stop}.tflite"
        slice_model(path, start, stop, piece)
        arrays = run_file(piece, arrays)
        piece.unlink()
    return arrays


def assert_same(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> None:
    """Both hold the same arrays, bit for bit."""
    assert [(array.dtype, array.shape, array.tobytes()) for array in left] == [
        (array.dtype, array.shape, array.tobytes()) for array in right
    ]


def assert_every_cut_exact(path: Path, scratch: Path, arrays: list[np.ndarray] | None = None) -> int:
    """Cut in two at every cut point that is allowed; return how many those are."""
    graph = read_graph(path)
    arrays = made_inputs(graph) if arrays is None else arrays
    whole = run_file(path, arrays)
    allowed = [cut.k for cut in graph.cuts if cut.allowed]
    for k in allowed:
        assert_same(run_chain(path, (0, k, len(graph.ops)), arrays, scratch), whole)
    return len(allowed)
