"""The zoo's models as files: what they look like, what they carry, and that random weights still tell images apart."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.classification import top_classes
from models.errors import ConversionError, ModelFormatError
from models.graph import read_graph
from models.images import load_image, to_input
from models.metadata import attach_metadata
from models.preprocessing import (
    LABELS_ENTRY,
    PREPROCESSING_ENTRY,
    PREPROCESSINGS,
    metadata_entries,
    read_labels,
    read_preprocessing,
)
from models.runtime import Segment
from models.zoo import ZOO, find_zoo_model

ZooModelFile = Callable[..., Path]


@pytest.mark.parametrize(("name", "side", "megabytes"), [("mobilenetv2", 224, 14), ("alexnet", 227, 249)])
def test_the_file_is_what_the_zoo_says(zoo_model: ZooModelFile, name: str, side: int, megabytes: int) -> None:
    """Each model takes one square RGB image, gives 1000 probabilities and has its published size."""
    path = zoo_model(name, "none")
    graph = read_graph(path)
    assert [graph.tensors[index].shape for index in (*graph.inputs, *graph.outputs)] == [(1, side, side, 3), (1, 1000)]
    assert round(path.stat().st_size / 1e6) == megabytes
    assert read_preprocessing(path) == ZOO[name].preprocessing


@pytest.mark.parametrize("name", ["mobilenetv2", "alexnet"])
def test_random_weights_tell_images_apart(zoo_model: ZooModelFile, photographs: tuple[Path, ...], name: str) -> None:
    """With random weights the answer still depends on the image, and is neither one class only nor all alike."""
    segment = Segment(zoo_model(name, "none"))
    images = [load_image(path) for path in photographs]
    images += [image.transpose(2).crop((100, 50, 500, 400)) for image in images]
    outputs = []
    for image in images:
        (output,) = segment.run(
            [to_input(image, segment.inputs[0].shape, np.float32, preprocessing=ZOO[name].preprocessing)]
        )
        outputs.append(output[0])
    segment.close()
    assert len({int(output.argmax()) for output in outputs}) > 1
    for output in outputs:
        assert 2 / 1000 < output.max() < 0.99
        assert top_classes(output, 1)[0].score == pytest.approx(float(output.max()), abs=0.01)


def test_the_zoo_is_found_by_name() -> None:
    """A model is found by its name; a misspelt one is met with the nearest, a strange one with all."""
    assert find_zoo_model("vgg16").preprocessing == PREPROCESSINGS["caffe"]
    with pytest.raises(ConversionError, match=r"did you mean vgg16\?"):
        find_zoo_model("VGG-16")
    with pytest.raises(
        ConversionError, match=r"alexnet, resnet50, vgg16, mobilenetv2\) nor an existing .keras file or SavedModel$"
    ):
        find_zoo_model("zzz")


def test_preprocessing_that_cannot_be_understood_is_an_error(zoo_model: ZooModelFile, tmp_path: Path) -> None:
    """A preprocessing entry of another form is refused, for a guess would give wrong answers silently."""
    path = tmp_path / "x.tflite"
    for entry in (b"{}", b"\xff", b'{"mean":[0,0],"std":[1,1,1]}', b'{"mean":[0,0,0],"std":[0,1,1]}'):
        attach_metadata(zoo_model("mobilenetv2", "int8"), {PREPROCESSING_ENTRY: entry}, path)
        with pytest.raises(ModelFormatError, match=r"x\.tflite: its metadata entry SPLITRAIL is not a preprocessing"):
            read_preprocessing(path)


def test_labels_are_read_leniently(zoo_model: ZooModelFile, tmp_path: Path) -> None:
    """Labels are for reading only: odd bytes and long lines are cut down, not refused."""
    path = tmp_path / "x.tflite"
    attach_metadata(zoo_model("mobilenetv2", "int8"), {LABELS_ENTRY: b"cat\r\n d\xffg \n" + b"x" * 500}, path)
    assert read_labels(path) == ("cat", "d�g", "x" * 200)
    assert read_labels(zoo_model("mobilenetv2", "int8")) == ()


def test_labels_packed_by_tensorflow_are_read(zoo_model: ZooModelFile, tmp_path: Path) -> None:
    """The label file that TensorFlow's metadata writer packs behind a model names its classes."""
    path = tmp_path / "packed.tflite"
    path.write_bytes(zoo_model("mobilenetv2", "int8").read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
    assert read_labels(path) == ("cat", "dog")


def test_labels_in_a_damaged_archive_are_done_without(zoo_model: ZooModelFile, tmp_path: Path) -> None:
    """The archive behind a model is not trusted: where it cannot be unpacked, the classes have numbers only."""
    path = tmp_path / "packed.tflite"
    path.write_bytes(zoo_model("mobilenetv2", "int8").read_bytes())
    size = path.stat().st_size
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "\n".join(map(str, range(500))))
    damaged = bytearray(path.read_bytes())
    data = size + 30 + len("labels.txt")  # behind the archive's local header
    damaged[data : data + 20] = b"\xff" * 20
    path.write_bytes(damaged)
    assert read_labels(path) == ()


def test_what_is_recorded_is_read_back(zoo_model: ZooModelFile, tmp_path: Path) -> None:
    """Every preprocessing comes back from the file as it went in."""
    path = tmp_path / "x.tflite"
    for preprocessing in PREPROCESSINGS.values():
        attach_metadata(zoo_model("mobilenetv2", "int8"), metadata_entries(preprocessing, ("a", "b")), path)
        assert read_preprocessing(path) == preprocessing
        assert read_labels(path) == ("a", "b")
