"""Conversion: batch 1, quantised as asked, deterministic, with its metadata, and one sentence for what cannot be."""

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.convert import convert_model, convert_zoo_model
from models.errors import ConversionError, ImageError, WeightsUnavailableError
from models.graph import Graph, read_graph
from models.preprocessing import PREPROCESSINGS, read_labels, read_preprocessing
from models.runtime import Segment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which conversions.py has made and converted its models."""
    directory = tmp_path_factory.mktemp("conversions")
    script = Path(__file__).with_name("conversions.py")
    with (directory / "log").open("wb") as log:
        run = subprocess.run(
            [sys.executable, script, directory], stdout=log, stderr=log, check=False, timeout=280, cwd=directory
        )
    assert run.returncode == 0, (directory / "log").read_text()[-3000:]
    return directory


@pytest.fixture(scope="module")
def outcomes(made: Path) -> dict[str, str]:
    """What came of each case: "done", or the kind of the error and its message."""
    found = json.loads((made / "outcomes.json").read_text())
    assert isinstance(found, dict)
    return found


def kinds(graph: Graph) -> set[str]:
    return {op.kind for op in graph.ops}


def run_on_image(made: Path, name: str) -> np.ndarray:
    segment = Segment(made / name)
    try:
        return segment.run([np.load(made / "image.npy")])[0]
    finally:
        segment.close()


@pytest.mark.parametrize("name", ["none", "fp16", "dynamic", "int8", "saved"])
def test_the_batch_is_fixed(made: Path, name: str) -> None:
    """However a model was saved, its input has the batch 1 and no op computes shapes."""
    graph = read_graph(made / f"{name}.tflite")
    tensor = graph.tensors[graph.inputs[0]]
    assert tensor.shape == (1, 32, 48, 3)
    assert not tensor.dynamic
    assert not kinds(graph) & {"SHAPE", "STRIDED_SLICE", "PACK"}


@pytest.mark.parametrize(("name", "tolerance"), [("none", 1e-6), ("fp16", 1e-2), ("dynamic", 5e-2), ("saved", 1e-6)])
def test_the_answer_is_the_original_s(made: Path, name: str, tolerance: float) -> None:
    """The .tflite gives what the Keras model gives, within what the quantisation costs."""
    np.testing.assert_allclose(run_on_image(made, f"{name}.tflite"), np.load(made / "expected.npy"), atol=tolerance)


def test_int8_is_whole(made: Path) -> None:
    """A model in int8 takes and gives int8, and every op in between works in integers."""
    graph = read_graph(made / "int8.tflite")
    assert [graph.tensors[index].dtype for index in (*graph.inputs, *graph.outputs)] == ["int8", "int8"]
    assert not kinds(graph) & {"QUANTIZE", "DEQUANTIZE"}


def test_old_runtimes_take_the_dense_layers(made: Path) -> None:
    """Dynamic range quantisation keeps to op versions that tflite-runtime 2.14 has (FULLY_CONNECTED 11)."""
    dense = [op.version for op in read_graph(made / "dynamic.tflite").ops if op.kind == "FULLY_CONNECTED"]
    assert len(dense) == 1
    assert dense[0] <= 11


def test_quantising_makes_the_file_smaller(made: Path) -> None:
    """Weights of 16 and of 8 bits take less room than those of 32."""
    sizes = [(made / f"{name}.tflite").stat().st_size for name in ("none", "fp16", "int8")]
    assert sizes == sorted(sizes, reverse=True)


def test_metadata_travels_with_the_model(made: Path) -> None:
    """Preprocessing and labels are read back from the file as they were given."""
    assert read_preprocessing(made / "int8.tflite") == PREPROCESSINGS["caffe"]
    assert read_labels(made / "int8.tflite") == ("red", "green", "blue", "grey", "none")


def test_nothing_is_recorded_unasked(made: Path) -> None:
    """A model of one's own gets no preprocessing and no labels that were not given."""
    assert read_preprocessing(made / "saved.tflite") is None
    assert read_labels(made / "saved.tflite") == ()


def test_calibration_is_repeatable(made: Path) -> None:
    """Two conversions to int8 learn the same ranges from the same photographs."""
    first, second = (Segment(made / name) for name in ("int8.tflite", "again.tflite"))
    image = np.random.default_rng(0).integers(-128, 128, (1, 32, 48, 3), np.int8)
    np.testing.assert_array_equal(first.run([image])[0], second.run([image])[0])


def test_several_inputs_are_kept(made: Path) -> None:
    """A model of two inputs keeps both."""
    graph = read_graph(made / "two.tflite")
    assert sorted(graph.tensors[index].shape for index in graph.inputs) == [(1, 4), (1, 6)]


def test_steps_are_told(outcomes: dict[str, str]) -> None:
    """Whoever waits hears what each step is."""
    assert outcomes["steps"].startswith("loading TensorFlow; loading ")
    assert outcomes["steps"].endswith("; converting")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two inputs int8", "need one float32 input of a fixed shape.*float32 .*use --quantize dynamic"),
        ("flex", r"ops that TensorFlow Lite's own set lacks \(Erfc, MatrixDeterminant\)"),
        ("no signature", "has no signature named serving_default, but none at all"),
        ("broken saved model", "broken cannot be loaded as a SavedModel"),
        ("broken keras file", r"broken\.h5 cannot be loaded as a Keras model"),
        ("code in a keras file", r"lambda\.keras cannot be loaded as a Keras model"),
        ("weights that do not fit", r"small\.keras does not hold weights of mobilenetv2"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(outcomes: dict[str, str], name: str, message: str) -> None:
    """A source that cannot become what was asked for is named, with the reason, in one line."""
    assert outcomes[name].startswith("ConversionError: ")
    assert "\n" not in outcomes[name]
    assert re.search(message, outcomes[name]), outcomes[name]


def test_a_failed_conversion_leaves_the_output(made: Path, outcomes: dict[str, str]) -> None:
    """What was at the output stays when the conversion fails, and nothing half-made lies beside it."""
    assert (made / "flex.tflite").read_bytes() == b"what was there before"
    assert list(made.glob("*.tmp")) + list(made.glob(".*")) == []


def test_imagenet_out_of_reach_names_the_way_out(outcomes: dict[str, str]) -> None:
    """Without a network the error says which weights can be had instead."""
    assert outcomes["imagenet out of reach"].startswith("WeightsUnavailableError: the ImageNet weights of mobilenetv2")
    assert "--weights random" in outcomes["imagenet out of reach"]


def test_a_seed_draws_the_same_weights(outcomes: dict[str, str]) -> None:
    """Random weights are the same for the same seed, and others for another."""
    assert outcomes["same and other seed"] == "[True, False]"


# What is refused before TensorFlow is loaded.


def test_an_unknown_zoo_model_is_answered_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt name is met with the names there are."""
    with pytest.raises(ConversionError, match=r"'mobilnet' .*resnet50, vgg16, mobilenetv2.*did you mean mobilenetv2\?"):
        convert_zoo_model("mobilnet", "none", "random", tmp_path / "x.tflite")


def test_alexnet_has_no_published_weights(tmp_path: Path) -> None:
    """Keras has no weights for AlexNet; the error says so and what to give."""
    with pytest.raises(WeightsUnavailableError, match="no ImageNet weights for alexnet: give --weights random or"):
        convert_zoo_model("alexnet", "none", "imagenet", tmp_path / "x.tflite")


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    """A file of weights that does not exist is named."""
    with pytest.raises(ConversionError, match=r"no file of weights .*absent\.h5"):
        convert_zoo_model("vgg16", "none", tmp_path / "absent.h5", tmp_path / "x.tflite")


def test_the_output_needs_a_directory(tmp_path: Path) -> None:
    """An output in a directory that does not exist, or that is a directory, is refused before the work."""
    with pytest.raises(ConversionError, match=r"the directory .*absent of the output does not exist"):
        convert_zoo_model("vgg16", "none", "random", tmp_path / "absent" / "x.tflite")
    with pytest.raises(ConversionError, match="is a directory; the output needs the name of a file"):
        convert_zoo_model("vgg16", "none", "random", tmp_path)


def _zip_archive() -> bytes:
    """A whole archive, as a .keras file is one, with nothing of Keras in it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("notes.txt", "notes")
    return archive.getvalue()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.keras", "there is no file or directory"),
        ("notes.txt", r"is no \.keras file"),
        ("notes.keras", "is not what Keras writes, a whole zip archive or HDF5"),
        ("half.keras", "is not what Keras writes, a whole zip archive or HDF5"),
        ("directory", r"is no SavedModel: it has no saved_model\.pb"),
    ],
)
def test_a_source_of_another_kind_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """What is neither a Keras file nor a SavedModel is named at once."""
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "notes.keras").write_text("notes")
    (tmp_path / "half.keras").write_bytes(_zip_archive()[:-30])
    (tmp_path / "directory").mkdir()
    with pytest.raises(ConversionError, match=message):
        convert_model(tmp_path / name, "none", tmp_path / "x.tflite")


def test_calibration_images_are_looked_at_first(tmp_path: Path) -> None:
    """A place without images is refused before TensorFlow is loaded."""
    (tmp_path / "source.keras").write_bytes(_zip_archive())
    with pytest.raises(ImageError, match="has no images"):
        convert_model(tmp_path / "source.keras", "int8", tmp_path / "x.tflite", images=[tmp_path])
