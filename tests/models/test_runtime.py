"""A segment on the installed runtime: what it says of itself, what it refuses, and whose its arrays are."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelFormatError, RuntimeMissingError, SegmentInputError, SegmentRunError, UnsupportedOpError
from models.modelfile import open_model
from models.runtime import Segment, TensorSpec, runtime_identity
from models.schema import OperatorCode
from models.slicer import slice_model

Models = Callable[[str], Path]


def test_runtime_says_what_it_is() -> None:
    """The runtime's name is that of its distribution, with a version."""
    assert runtime_identity().name in ("ai-edge-litert", "tflite-runtime")
    assert runtime_identity().version[0].isdigit()


def test_a_runtime_that_its_numpy_breaks_is_told_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """tflite-runtime admits numpy 2 and fails with it: an agent must not join a site for which it can run nothing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name == "tflite_runtime" else None)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.14.0")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    runtime_identity.cache_clear()
    try:
        with pytest.raises(
            RuntimeMissingError, match=r"tflite-runtime 2\.14\.0 .* numpy 2\.1\.0: pip install 'numpy<2'"
        ):
            runtime_identity()
        monkeypatch.setattr(np, "__version__", "1.26.4")
        assert runtime_identity().name == "tflite-runtime"
    finally:
        runtime_identity.cache_clear()


def test_inputs_and_outputs_are_in_file_order(small_model: Models) -> None:
    """Specs give name, shape and dtype in the model's own order; an open batch shows in the signature."""
    segment = Segment(small_model("shared"))
    assert [spec.name for spec in segment.inputs] == [
        "serving_default_early:0",
        "serving_default_idle:0",
        "serving_default_late:0",
    ]
    (image,) = Segment(small_model("dynamic_batch")).inputs
    assert image == TensorSpec(image.name, (1, 8, 8, 3), "float32", (-1, 8, 8, 3))


def test_dynamic_inputs_are_resized(small_model: Models) -> None:
    """A dynamic dimension takes another size from one run to the next, back and forth."""
    segment = Segment(small_model("dynamic_batch"))
    two = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    both = segment.run([two])[0]
    assert both.shape == (2, 4)
    for place in range(2):
        assert segment.run([two[place : place + 1]])[0][0] == pytest.approx(both[place], rel=1e-5, abs=1e-6)


def test_inputs_that_do_not_fit_each_other_are_refused_and_leave_it_usable(small_model: Models, tmp_path: Path) -> None:
    """A segment whose dimensions are open takes what fits after it was given what does not."""
    piece = tmp_path / "tail.tflite"
    slice_model(small_model("dynamic_width"), 2, 5, piece)
    segment = Segment(piece)
    row = np.ones((1, 3), np.float32)
    fitting = [np.tile(row, spec.shape[1] + number) for number, spec in enumerate(segment.inputs)]
    for _ in range(2):
        with pytest.raises(SegmentRunError):
            segment.run([row, row])
        assert segment.run(fitting)[0].shape == (2, 6)


def test_outputs_belong_to_the_caller(small_model: Models) -> None:
    """An array that was returned stays as it is when the segment runs again or closes, and may be written."""
    segment = Segment(small_model("lstm"))
    first = segment.run([np.ones((1, 6, 5), np.float32)])[0]
    kept = first.copy()
    segment.run([np.zeros((1, 6, 5), np.float32)])
    segment.close()
    assert np.array_equal(first, kept)
    first[:] = 0


@pytest.mark.parametrize(
    ("name", "runs"),
    [("branchy_int8", 1), ("dynamic_batch", 1), ("shared", 1), ("loops", 1), ("variables", 0), ("strings", 0)],
)
def test_warming_up_runs_once_what_keeps_no_state(
    small_model: Models, monkeypatch: pytest.MonkeyPatch, name: str, runs: int
) -> None:
    """One run on zeros of the file's own sizes; none where it would be remembered, or where zeros are none."""
    segment = Segment(small_model(name))
    ran: list[Sequence[np.ndarray]] = []
    monkeypatch.setattr(segment, "run", ran.append)
    segment.warm_up()
    assert len(ran) == runs


def test_warming_up_refuses_nothing_for_sizes_that_do_not_fit(small_model: Models, tmp_path: Path) -> None:
    """The file's sizes of open dimensions only stand in: what fits is run all the same."""
    piece = tmp_path / "tail.tflite"
    slice_model(small_model("dynamic_width"), 2, 5, piece)
    segment = Segment(piece)
    segment.warm_up()
    row = np.ones((1, 3), np.float32)
    fitting = [np.tile(row, spec.shape[1] + number) for number, spec in enumerate(segment.inputs)]
    assert segment.run(fitting)[0].shape == (2, 6)


def test_memory_layout_of_inputs_does_not_matter(small_model: Models) -> None:
    """A view with strides gives what its copy gives, and stays as it is."""
    segment = Segment(small_model("branchy"))
    wide = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    view = wide.transpose(0, 2, 3, 1)
    assert np.array_equal(segment.run([view])[0], segment.run([view.copy()])[0])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([], "takes 1 arrays, and was given 0"),
        ([np.zeros((1, 12, 12, 3))], "takes float32 of shape .* was given float64"),
        ([np.zeros((1, 12, 12, 3), ">f4")], "takes float32 of shape .* was given >f4"),
        ([np.zeros((1, 12, 3, 12), np.float32)], r"shape \[1, 12, 12, 3\], and was given float32 of shape \[1, 12, 3"),
        ([np.zeros((12, 12, 3), np.float32)], r"was given float32 of shape \[12, 12, 3\]"),
        ([np.zeros((0, 12, 12, 3), np.float32)], r"was given float32 of shape \[0, 12, 12, 3\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(small_model: Models, arrays: list[np.ndarray], words: str) -> None:
    """The error names the input, what it takes and what it was given; the segment runs on afterwards."""
    segment = Segment(small_model("branchy"))
    with pytest.raises(SegmentInputError, match=words):
        segment.run(arrays)
    assert len(segment.run([np.zeros((1, 12, 12, 3), np.float32)])) == 2


def test_closed_segment_is_refused(small_model: Models) -> None:
    """A closed segment says so, and may be closed again."""
    segment = Segment(small_model("branchy"))
    segment.close()
    segment.close()
    with pytest.raises(SegmentRunError, match="closed"):
        segment.run([np.zeros((1, 12, 12, 3), np.float32)])


def test_flex_op_is_refused_before_it_is_loaded(small_model: Models) -> None:
    """A Flex op is an error that names it and the way out."""
    with pytest.raises(UnsupportedOpError, match=r"no op FlexErf.*TFLITE_BUILTINS") as caught:
        Segment(small_model("flex"))
    assert caught.value.kind == "FlexErf"


def test_version_that_the_runtime_lacks_is_named(small_model: Models, tmp_path: Path) -> None:
    """An op version that no runtime has is an error that names the op, the version and the way out."""
    path = tmp_path / "future.tflite"
    path.write_bytes(with_version(small_model("branchy_dynamic_range"), "FULLY_CONNECTED", 99))
    with pytest.raises(UnsupportedOpError, match=r"no FULLY_CONNECTED version 99: .* without per-channel") as caught:
        Segment(path)
    assert (caught.value.kind, caught.value.version) == ("FULLY_CONNECTED", 99)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """A file of another kind never reaches the runtime."""
    (tmp_path / "text.tflite").write_text("hello, I am not a model")
    with pytest.raises(ModelFormatError):
        Segment(tmp_path / "text.tflite")


def with_version(path: Path, kind: str, version: int) -> bytes:
    """The file with one op's version overwritten."""
    with open_model(path) as model:
        (code,) = [code for code in model.codes if code.kind == kind]
        position = code.table.field(OperatorCode.VERSION, 4)
        assert position is not None
        changed = bytearray(model.flatbuffer.data)
    changed[position : position + 4] = version.to_bytes(4, "little")
    return bytes(changed)
