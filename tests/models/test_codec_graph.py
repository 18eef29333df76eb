"""Codecs in a segment's graph give what the same codecs give beside it: float16 exactly, int8 within one code."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chains import made_inputs, run_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.codec_figures import Scale
from models.codec_graph import GraphCodec
from models.codecs import Number, pack, unpack
from models.errors import CodecError
from models.graph import Graph, read_graph
from models.runtime import Segment
from models.scales import ranges_of, scale_of
from models.slicer import slice_model


def inner_cuts(graph: Graph) -> list[int]:
    return [cut.k for cut in graph.cuts[1:-1] if cut.allowed]


def some_cuts(graph: Graph) -> list[int]:
    """Up to seven, from the first to the last."""
    cuts = inner_cuts(graph)
    return cuts[:: -(-len(cuts) // 7)]


def scales_for(arrays: list[np.ndarray]) -> tuple[Scale, ...]:
    return tuple(known.whole for known in ranges_of([arrays]))


def head(path: Path, k: int, out: Path, codec: GraphCodec, inputs: list[np.ndarray]) -> list[np.ndarray]:
    slice_model(path, 0, k, out, given=codec)
    return run_file(out, inputs)


def tail(path: Path, k: int, out: Path, codec: GraphCodec, inputs: list[np.ndarray]) -> list[np.ndarray]:
    slice_model(path, k, len(read_graph(path).ops), out, taken=codec)
    return run_file(out, inputs)


@pytest.mark.parametrize("name", ["branchy", "branchy_fp16", "branchy_int8", "attention", "loops"])
@pytest.mark.parametrize("number", ["fp16", "int8"])
def test_a_graph_packs_as_arrays_are_packed(
    name: str, number: Number, small_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """All along a model, whatever crosses the cut: the segment before gives, and the one after takes, what travels."""
    path = small_model(name)
    graph = read_graph(path)
    inputs = made_inputs(graph)
    plain = GraphCodec()
    for k in some_cuts(graph):
        cut = head(path, k, tmp_path / "plain.tflite", plain, inputs)
        codec = GraphCodec(number, scales_for(cut) if number == "int8" else ())
        packed = pack(cut, number, codec.scales)
        given_ = head(path, k, tmp_path / "head.tflite", codec, inputs)
        assert [(array.dtype, array.shape) for array in given_] == [(array.dtype, array.shape) for array in packed]
        for one, other in zip(given_, packed, strict=True):
            if number == "fp16" or one.dtype != np.int8:
                np.testing.assert_array_equal(one, other)
            assert np.abs(one.astype(np.float64) - other).max() <= 1
        slice_model(path, k, len(graph.ops), tmp_path / "tail.tflite")
        whole = Segment(tmp_path / "tail.tflite")
        beside = whole.run(unpack(packed, whole.inputs, number, codec.scales))
        for one, other in zip(tail(path, k, tmp_path / "taking.tflite", codec, list(packed)), beside, strict=True):
            if one.dtype.kind == "f":
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
            else:
                assert np.abs(one.astype(np.int64) - other).max() <= 1


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(-50.0, 0.0), st.floats(0.01, 50.0), st.integers(0, 2**32 - 1))
def test_any_scale_gives_the_same_codes(
    small_model: Callable[[str], Path], tmp_path: Path, least: float, most: float, seed: int
) -> None:
    """Saturation included, for ranges that the values keep and that they do not."""
    path = small_model("branchy")
    graph = read_graph(path)
    k = inner_cuts(graph)[0]
    inputs = made_inputs(graph, seed)
    cut = head(path, k, tmp_path / "plain.tflite", GraphCodec(), inputs)
    codec = GraphCodec("int8", tuple(scale_of(least, most) for _ in cut))
    packed = pack(cut, "int8", codec.scales)
    for one, other in zip(head(path, k, tmp_path / "head.tflite", codec, inputs), packed, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_tensors_that_pass_through_are_packed_as_well(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """A segment may give a tensor that it was given itself; either end has a form of its own."""
    path = small_model("branchy")
    graph = read_graph(path)
    start, stop = next(
        (one, other)
        for one, other in itertools.pairwise(inner_cuts(graph))
        if set(graph.cuts[one].tensors) & set(graph.cuts[other].tensors)
    )
    cut = head(path, start, tmp_path / "head.tflite", GraphCodec(), made_inputs(graph))
    slice_model(path, start, stop, tmp_path / "plain.tflite")
    expected = run_file(tmp_path / "plain.tflite", cut)
    slice_model(path, start, stop, tmp_path / "both.tflite", taken=GraphCodec("fp16"), given=GraphCodec("fp16"))
    for one, other in zip(run_file(tmp_path / "both.tflite", list(pack(cut, "fp16"))), expected, strict=True):
        assert one.dtype == np.float16
        np.testing.assert_allclose(one, other, rtol=0.01, atol=0.01)


def test_scales_of_another_cut_are_refused(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """Before a file is written."""
    scale = Scale(scale=1.0, zero_point=0)
    path = small_model("branchy")
    k = inner_cuts(read_graph(path))[0]
    with pytest.raises(CodecError, match="int8 needs a scale for each float tensor"):
        slice_model(path, 0, k, tmp_path / "head.tflite", given=GraphCodec("int8", (scale,) * 9))
    assert list(tmp_path.iterdir()) == []


def test_integers_stay_as_they_are(small_model: Callable[[str], Path], tmp_path: Path) -> None:
    """In an integer model there is nothing to write otherwise: the file is that of the plain segment."""
    path = small_model("branchy_int8")
    k = inner_cuts(read_graph(path))[0]
    slice_model(path, 0, k, tmp_path / "plain.tflite")
    slice_model(path, 0, k, tmp_path / "packed.tflite", given=GraphCodec("fp16"))
    assert (tmp_path / "packed.tflite").read_bytes() == (tmp_path / "plain.tflite").read_bytes()
