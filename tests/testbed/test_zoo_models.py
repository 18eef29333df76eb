"""Zoo models for the testbed: converted once, kept, and found again."""

from pathlib import Path

import pytest

from models.errors import ConversionError
from testbed.errors import ConversionFailedError
from testbed.processes import silently
from testbed.zoo_models import prepare


def test_what_was_converted_once_is_found_again(tmp_path: Path) -> None:
    """With the weights that are asked for, or without a wish whichever are there; the excuse says so."""
    kept = tmp_path / "vgg16-random.tflite"
    kept.write_bytes(b"a model")
    asked = prepare(tmp_path, "vgg16", "random", silently)
    assert (asked.path, asked.weights, asked.excuse) == (kept, "random", None)
    found = prepare(tmp_path, "vgg16", None, silently)
    assert (found.path, found.weights) == (kept, "random")
    assert found.excuse == f"kept from an earlier run: {kept}"


def test_a_model_without_imagenet_weights_needs_no_excuse(tmp_path: Path) -> None:
    """AlexNet is made with random weights, and nothing else was hoped for."""
    (tmp_path / "alexnet-random.tflite").write_bytes(b"a model")
    assert prepare(tmp_path, "alexnet", None, silently).excuse is None


def test_a_failed_conversion_says_why(tmp_path: Path) -> None:
    """The last word of the conversion is the reason."""
    with pytest.raises(ConversionFailedError, match=r"AlexNet cannot be converted: .*alexnet"):
        prepare(tmp_path, "alexnet", "imagenet", silently)


def test_only_the_zoo_is_converted(tmp_path: Path) -> None:
    """Another name is answered with those that there are."""
    with pytest.raises(ConversionError, match="'vgg61' is neither a zoo model"):
        prepare(tmp_path, "vgg61", None, silently)
