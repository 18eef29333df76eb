"""Metadata attached to a .tflite: read back, replaced, and harmless to the model."""

from collections.abc import Callable
from pathlib import Path

import pytest
from chains import assert_every_cut_exact, assert_same, made_inputs, run_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import ModelFileError, ModelFormatError
from models.graph import read_graph
from models.metadata import attach_metadata, read_metadata
from models.slicer import slice_model

Models = Callable[[str], Path]
ENTRIES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.binary(), max_size=4)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=ENTRIES, second=ENTRIES)
def test_what_is_attached_is_read(
    small_model: Models, tmp_path: Path, first: dict[str, bytes], second: dict[str, bytes]
) -> None:
    """Later entries stand beside earlier ones, and replace those of the same name."""
    path = tmp_path / "model.tflite"
    attach_metadata(small_model("branchy"), first, path)
    attach_metadata(path, second, path)
    for name, data in (first | second).items():
        assert read_metadata(path, name) == data


def test_model_stays_as_it_is(small_model: Models, tmp_path: Path) -> None:
    """The graph, the outputs and the converter's own metadata are those of the file before; cuts stay exact."""
    path, before = tmp_path / "model.tflite", small_model("branchy_int8")
    attach_metadata(before, {"LABELS": b"cat\ndog"}, path)
    assert read_graph(path) == read_graph(before)
    arrays = made_inputs(read_graph(path))
    assert_same(run_file(path, arrays), run_file(before, arrays))
    assert read_metadata(path, "min_runtime_version") == read_metadata(before, "min_runtime_version") is not None
    assert_every_cut_exact(path, tmp_path)


def test_segments_keep_the_runtime_version_alone(small_model: Models, tmp_path: Path) -> None:
    """A segment says which runtime it needs, and carries no labels."""
    path, segment = tmp_path / "model.tflite", tmp_path / "segment.tflite"
    attach_metadata(small_model("branchy"), {"LABELS": b"cat\ndog"}, path)
    slice_model(path, 1, 5, segment)
    assert read_metadata(segment, "LABELS") is None
    assert read_metadata(segment, "min_runtime_version") == read_metadata(path, "min_runtime_version")


def test_missing_metadata_is_none(small_model: Models) -> None:
    """A name that the file does not have gives None."""
    assert read_metadata(small_model("branchy"), "nothing") is None


def test_bad_files_are_refused(tmp_path: Path) -> None:
    """A file that is not there and one that is no .tflite are told apart, and nothing is written."""
    (tmp_path / "text.tflite").write_text("hello, I am not a model")
    with pytest.raises(ModelFormatError, match=r"text\.tflite: not a \.tflite"):
        attach_metadata(tmp_path / "text.tflite", {"a": b"b"}, tmp_path / "out.tflite")
    with pytest.raises(ModelFileError, match="No such file"):
        read_metadata(tmp_path / "absent.tflite", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["text.tflite"]
