"""What an image's own codecs cost at a model's input, and which models take an image at all."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from models.errors import EvaluationError
from models.graph import read_graph
from models.image_codecs import image_codecs, image_input


def test_files_that_are_longer_than_their_pixels_are_reckoned_as_these(
    small_model: Callable[[str], Path], photographs: tuple[Path, ...], tmp_path: Path
) -> None:
    """Under `jpeg` an origin sends whichever is shorter, so it never costs more bytes than `uint8`."""
    path = small_model("branchy")
    wanted = image_input(path, read_graph(path))
    grey = tmp_path / "grey.jpg"
    Image.new("RGB", (8, 8), "grey").save(grey)
    few = len(grey.read_bytes()) / (4 * math.prod(wanted.shape))
    for images, ratio in ((photographs, 0.25), ((grey,), min(few, 0.25))):
        pixels, file = image_codecs(wanted, images)
        assert (pixels.codec, pixels.ratio) == ("uint8", 0.25)
        assert (file.codec, file.ratio) == ("jpeg", pytest.approx(ratio))


def test_they_change_nothing_and_cost_their_reader_alone(
    small_model: Callable[[str], Path], photographs: tuple[Path, ...]
) -> None:
    """Both are of the cut at the input."""
    path = small_model("branchy")
    pixels, file = image_codecs(image_input(path, read_graph(path)), photographs[:1])
    for each in (pixels, file):
        assert (each.k, each.changed, each.error, each.encode_ms_per_mb, each.scales) == (0, 0.0, 0.0, 0.0, ())


@pytest.mark.parametrize(
    ("model", "message"), [("dynamic_size", "takes no image of a fixed size"), ("shared", "takes 3 inputs")]
)
def test_a_model_that_takes_no_image_is_refused(model: str, message: str, small_model: Callable[[str], Path]) -> None:
    """One of several inputs, or whose images are of no certain size."""
    path = small_model(model)
    with pytest.raises(EvaluationError, match=message):
        image_input(path, read_graph(path))
