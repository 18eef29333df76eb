"""The demo's requests: real photographs, cropped."""

import io
from pathlib import Path

import pytest
from PIL import Image

from models.errors import ImageError
from models.images import sample_photographs
from testbed.workload import photograph_crops


def test_crops_are_jpegs_that_differ() -> None:
    """Five JPEG crops of each photograph, all different, each small enough for a message."""
    crops = photograph_crops(sample_photographs())
    assert len(set(crops)) == 10
    for crop in crops:
        image = Image.open(io.BytesIO(crop))
        assert (image.format, image.size) == ("JPEG", (320, 320))
        assert len(crop) < 200_000


def test_a_wrong_image_is_refused(tmp_path: Path) -> None:
    """A file that is no image is refused before anything is started."""
    wrong = tmp_path / "notes.jpg"
    wrong.write_text("not an image")
    with pytest.raises(ImageError, match=r"notes\.jpg"):
        photograph_crops((wrong,))
