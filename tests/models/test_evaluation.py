"""What codecs cost and change at the cuts of a model: measured on images, int8 calibrated on others."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from models.cache import file_sha256
from models.codec_figures import CodecFigures
from models.codecs import pack, unpack
from models.errors import EvaluationError
from models.evaluation import evaluate_codecs, interesting_cuts
from models.graph import read_graph
from models.runtime import TensorSpec
from models.scales import ranges_of, scale_of


def measured(path: Path, photographs: tuple[Path, ...], cuts: list[int] | None = None) -> CodecFigures:
    return evaluate_codecs(path, photographs, machine="a test", at=1.0, cuts=cuts, count=3)


def test_every_codec_is_measured_at_every_cut_that_may_use_it(
    small_model: Callable[[str], Path], photographs: tuple[Path, ...]
) -> None:
    """Nine codecs at each cut of floats, at the input those of images too; the figures say of which model they are."""
    path = small_model("branchy")
    figures = measured(path, photographs)
    cuts = interesting_cuts(read_graph(path))
    assert (figures.model, figures.images) == (file_sha256(path), 3)
    assert sorted({each.k for each in figures.cuts}) == list(cuts)
    for k in cuts:
        codecs = [each.codec for each in figures.cuts if each.k == k]
        assert codecs[:9] == [
            "raw", "raw+lz4", "raw+zstd", "fp16", "fp16+lz4", "fp16+zstd", "int8", "int8+lz4", "int8+zstd"
        ]  # fmt: skip  # as a table has them
        assert codecs[9:] == (["uint8", "jpeg"] if k == 0 else [])
    assert msgspec.json.decode(msgspec.json.encode(figures), type=CodecFigures) == figures


def test_the_figures_are_those_of_the_codec(small_model: Callable[[str], Path], photographs: tuple[Path, ...]) -> None:
    """Lossless codecs change nothing; half floats halve and int8 quarters, with a scale for each float tensor."""
    path = small_model("branchy")
    graph = read_graph(path)
    for each in measured(path, photographs).cuts:
        if each.codec in ("raw", "raw+lz4", "raw+zstd", "uint8", "jpeg"):
            assert (each.changed, each.error, each.scales) == (0.0, 0.0, ())
        if each.codec in ("fp16", "int8", "uint8"):
            assert each.ratio == {"fp16": 0.5, "int8": 0.25, "uint8": 0.25}[each.codec]
        if each.codec.startswith("fp16"):
            assert each.error < 0.01
        if each.codec.startswith("int8"):
            assert len(each.scales) == len(graph.cuts[each.k].tensors)
            assert each.error < 0.2
        assert each.encode_ms_per_mb >= 0.0 <= each.decode_ms_per_mb


def test_an_integer_model_has_nothing_to_round(
    small_model: Callable[[str], Path], photographs: tuple[Path, ...]
) -> None:
    """Where no tensor is a float, only lossless codecs are measured; pixels are as many bytes as the input."""
    figures = measured(small_model("branchy_int8"), photographs, [0, 2])
    assert {each.codec for each in figures.cuts} == {"raw", "raw+lz4", "raw+zstd", "uint8", "jpeg"}
    assert next(each.ratio for each in figures.cuts if each.codec == "uint8") == 1.0


@pytest.mark.parametrize(("cuts", "message"), [([99], "there is no cut 99"), ([], "no cut is named")])
def test_a_cut_that_is_none_is_refused(
    cuts: list[int], message: str, small_model: Callable[[str], Path], photographs: tuple[Path, ...]
) -> None:
    """Before anything is measured."""
    with pytest.raises(EvaluationError, match=message):
        measured(small_model("branchy"), photographs, cuts)


def test_the_narrowest_cuts_are_chosen(small_model: Callable[[str], Path]) -> None:
    """The input always, then those with the fewest bytes."""
    graph = read_graph(small_model("branchy"))
    assert interesting_cuts(graph, 1) == (0,)
    two = interesting_cuts(graph, 2)
    assert two[0] == 0
    assert graph.cuts[two[1]].size_bytes == min(cut.size_bytes for cut in graph.cuts[1:-1] if cut.allowed)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_zero_has_a_code_of_its_own(one: float, other: float) -> None:
    """Whatever the range: so what a ReLU makes zero stays zero."""
    scale = scale_of(min(one, other), max(one, other))
    zero = np.zeros(1, np.float32)
    [back] = unpack(pack([zero], "int8", [scale]), [TensorSpec("t", (1,), "float32", (1,))], "int8", [scale])
    assert back[0] == 0.0


@given(arrays_of.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32)))
def test_the_whole_range_saturates_nothing(array: np.ndarray) -> None:
    """With the code of the whole range every value comes back within a step."""
    [known] = ranges_of([(array,)])
    [back] = unpack(
        pack([array], "int8", [known.whole]),
        [TensorSpec("t", array.shape, "float32", array.shape)],
        "int8",
        [known.whole],
    )
    assert np.abs(back - array).max() <= 1.01 * known.whole.scale
    assert known.clipped.scale <= known.whole.scale * 1.0001
