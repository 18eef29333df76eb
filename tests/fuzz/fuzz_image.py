"""Images as a request brings them."""

import io
from collections.abc import Iterator

from PIL import Image

from models.errors import ImageError
from models.images import FORMATS, MAX_PIXELS, load_image, to_input


def run(data: bytes) -> None:
    """An upright RGB image of bounded size, or a sentence."""
    try:
        image = load_image(data)
    except ImageError:
        return
    assert image.mode == "RGB"
    assert image.width * image.height <= MAX_PIXELS
    if image.width * image.height < 1_000_000:
        to_input(image, (1, 8, 8, 3), "uint8")


def seeds() -> Iterator[bytes]:
    """A tiny image of each format and of several modes."""
    for mode in ("RGB", "RGBA", "L", "P", "1", "I;16", "CMYK"):
        for form in FORMATS:
            out = io.BytesIO()
            try:
                Image.new(mode, (9, 7)).save(out, form)
            except (OSError, ValueError, KeyError):
                continue  # not every format has every mode
            yield out.getvalue()
