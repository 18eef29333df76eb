"""Several requests computed in one run give what as many runs give, wherever a file admits it."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chains import assert_same, made_inputs, run_file

from models.batched import MAX_ACTIVATION_BYTES, batched_segment
from models.batches import computes_row_by_row
from models.compiled import pack_weights
from models.errors import SegmentInputError
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.modelfile import open_model
from models.runtime import Segment
from models.slicer import slice_model

needs_litert = pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")

ADMIT = ["branchy", "branchy_fp16", "branchy_dynamic_range", "branchy_int8", "branchy_int16x8"]
REFUSE = [
    "dynamic_batch",
    "dynamic_size",
    "dynamic_width",
    "loops",
    "lstm",
    "shared",
    "strings",
    "variables",
    "attention",
]
MOST = 8
Models = Callable[[str], Path]


def whole_of(path: Path, scratch: Path) -> Path:
    """All ops of a model as one segment."""
    whole = scratch / "whole.tflite"
    slice_model(path, 0, len(read_graph(path).ops), whole)
    return whole


def requests_of(path: Path, count: int) -> list[list[np.ndarray]]:
    """The inputs of so many requests, no two alike."""
    graph = read_graph(path)
    return [made_inputs(graph, number) for number in range(count)]


@needs_litert
@pytest.mark.parametrize("name", ADMIT)
def test_a_batch_of_any_segment_is_exact(small_model: Models, tmp_path: Path, name: str) -> None:
    """Bit for bit what each request alone gives, however many there are and whatever batch ran before."""
    path, packed, piece = small_model(name), tmp_path / "packed", tmp_path / "piece.tflite"
    assert pack_weights(whole_of(path, tmp_path), packed)
    content = packed.read_bytes()
    cuts = [cut.k for cut in read_graph(path).cuts if cut.allowed]
    # Every op is in some of them, at the beginning, in the middle and at the end.
    for start, stop in [(cuts[0], cuts[-1]), *itertools.pairwise(cuts[::2]), (cuts[0], cuts[2]), (cuts[-3], cuts[-1])]:
        slice_model(path, start, stop, piece)
        batched = batched_segment(piece, packed, 1, MOST)
        if batched is None:
            # What hands a tensor through is the runtime's own interpreter's.
            assert not Segment(piece, packed=packed).shares_weights
            continue
        requests = requests_of(piece, MOST)
        alone = [run_file(piece, request) for request in requests]
        for rows in (3, 8, 1):
            for outputs, expected in zip(batched.run(requests[:rows]), alone, strict=False):
                assert_same(outputs, expected)
    assert packed.read_bytes() == content


@pytest.mark.parametrize("name", REFUSE)
def test_what_may_mix_rows_is_left_alone(small_model: Models, name: str) -> None:
    """Open sizes, states, loops and ops that may look beyond their row are never computed together."""
    with open_model(small_model(name)) as model:
        assert not computes_row_by_row(model)


@pytest.mark.parametrize("name", ADMIT)
def test_a_cut_opens_the_shapes_that_name_one_row(small_model: Models, tmp_path: Path, name: str) -> None:
    """The model's flattening names its one row, so that it admits no batch; the segment of all its ops does."""
    with open_model(small_model(name)) as model:
        assert not computes_row_by_row(model)
    whole = whole_of(small_model(name), tmp_path)
    with open_model(whole) as model:
        assert computes_row_by_row(model)


@needs_litert
def test_outputs_are_the_caller_s_own(small_model: Models, tmp_path: Path) -> None:
    """The next batch does not change them."""
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    pack_weights(whole, packed)
    batched = batched_segment(whole, packed, 1, MOST)
    assert batched is not None
    requests = requests_of(whole, 4)
    first = batched.run(requests[:2])
    kept = [[output.copy() for output in outputs] for outputs in first]
    batched.run(requests[2:])
    for outputs, expected in zip(first, kept, strict=True):
        assert_same(outputs, expected)


@needs_litert
def test_what_does_not_fit_is_refused(small_model: Models, tmp_path: Path) -> None:
    """In words, and what fits is computed after it."""
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    pack_weights(whole, packed)
    batched = batched_segment(whole, packed, 1, MOST)
    assert batched is not None
    requests = requests_of(whole, 2)
    with pytest.raises(SegmentInputError, match="1 to 8 requests at once, and was given 9"):
        batched.run(requests[:1] * 9)
    with pytest.raises(SegmentInputError, match="was given something else"):
        batched.run([requests[0], [requests[1][0][:, 1:]]])
    with pytest.raises(SegmentInputError, match="was given something else"):
        batched.run([requests[0], []])
    assert len(batched.run(requests)) == 2


@needs_litert
def test_large_activations_bound_the_batch(
    small_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is short of memory does not hold eight times what a segment makes."""
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    pack_weights(whole, packed)
    graph = read_graph(whole)
    largest = max(np.prod(graph.tensors[index].shape) * 4 for index in graph.inputs)
    assert largest < MAX_ACTIVATION_BYTES
    monkeypatch.setattr("models.batched.MAX_ACTIVATION_BYTES", 1)
    assert batched_segment(whole, packed, 1, MOST) is None
