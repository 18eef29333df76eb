"""Photographs made into what a model takes: read within bounds, turned upright, cropped, scaled and quantised.

Which preprocessing a model wants is `models.preprocessing`; what its output means is `models.classification`.
"""

import contextlib
import functools
import importlib.util
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.errors import ImageError
from models.graph import Quantization
from models.preprocessing import PREPROCESSINGS, Preprocessing

# Pillow takes 5 MB of an agent that no image ever reaches.
if TYPE_CHECKING:
    from PIL import Image

MAX_FILE_BYTES = 64_000_000
MAX_PIXELS = 50_000_000
MAX_PIXELS_AS_FILE = 4_000_000  # a PC decodes as many in 70 ms (measured); a stage is given 500 beyond its plan
# The formats of photographs; Pillow's other decoders are many, and what comes from the network chooses among them.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")

# The share of the shorter side that is kept: 224 of 256 pixels, as ImageNet's models are customarily evaluated.
CENTRE_SHARE = 0.875

_SAMPLES = ("china.jpg", "flower.jpg")


def load_image(source: bytes | Path) -> "Image.Image":
    """The image upright in RGB; what is transparent shows white, and of a moving image the first frame.

    ImageError where it is missing, too large (64 MB, 50 million pixels) or nothing that Pillow can read.
    """
    from PIL import ImageOps  # noqa: PLC0415  # as above

    name = str(source) if isinstance(source, Path) else "the image"
    with _opened(_read(source, name), name) as image:
        return _to_rgb(ImageOps.exif_transpose(image))


def get_ready() -> None:
    """Load what reads images, so that the first one does not wait for it."""
    from PIL import Image  # noqa: PLC0415  # as above

    Image.preinit()


def check_image(data: bytes) -> int:
    """How many pixels an image file has; nothing is decoded.

    ImageError as of `load_image`, as far as the file's header tells.
    """
    name = "the image"
    with _opened(_read(data, name), name) as image:
        return image.width * image.height


def to_input(
    image: "Image.Image",
    shape: tuple[int, ...],
    dtype: DTypeLike,
    quantization: Quantization | None = None,
    preprocessing: Preprocessing | None = None,
) -> NDArray[Any]:
    """The image as a model's input of `shape` (1, height, width, 3 or 1) and `dtype`.

    The centre square that spans 0.875 of the shorter side is scaled to the input (for an input that is no square, the
    like rectangle). Without `preprocessing`, a float input gets p/127.5 - 1, uint8 the pixels themselves and int8
    the pixels less 128, which is what those conventions come to. With it, an integer input is quantised by
    `quantization`. ImageError where the input is none for images.
    """
    return from_pixels(to_pixels(image, shape), dtype, quantization, preprocessing)


def to_pixels(image: "Image.Image", shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The part of the image that a model's input of `shape` takes, at its size: (height, width, 3 or 1), 0 to 255.

    ImageError where that is no input for images.
    """
    from PIL import Image  # noqa: PLC0415  # as above

    height, width, channels = _image_extent(shape)
    box = _centre_box(image.size, width / height)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(scaled.convert("L"))[:, :, np.newaxis] if channels == 1 else np.asarray(scaled)


def goes_as_file(size_bytes: int, pixels: int, shape: tuple[int, ...]) -> bool:
    """Whether an image had better travel as its file than as what `to_pixels` makes of it for an input of `shape`.

    It had for small pictures. A telephone's photograph is many times larger than any model's input, and a file may have
    few bytes and so many pixels that its reader would seem to have stopped.
    """
    return size_bytes <= math.prod(shape) and pixels <= MAX_PIXELS_AS_FILE


def from_pixels(
    pixels: NDArray[np.uint8],
    dtype: DTypeLike,
    quantization: Quantization | None = None,
    preprocessing: Preprocessing | None = None,
    room: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """Pixels of shape (height, width, 3 or 1) as a model's input of `dtype`, with a first dimension of 1.

    What the values become, `to_input` says. `room`, for a float32 input, is such an array to write to, which is then
    returned. ImageError where the type is none for images.
    """
    pixels = pixels[np.newaxis]
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return _normalised(pixels, preprocessing or PREPROCESSINGS["tf"], room).astype(kind, copy=False)
    if kind not in (np.uint8, np.int8):
        raise ImageError(f"the model's input is of type {kind.name}; images go into float, uint8 or int8 inputs")
    if preprocessing is None or quantization is None:
        return pixels.copy() if kind == np.uint8 else (pixels ^ np.uint8(128)).view(np.int8)
    limits = np.iinfo(kind)
    steps = np.rint(_normalised(pixels, preprocessing) / quantization.scale) + quantization.zero_point
    quantised: NDArray[Any] = np.clip(steps, limits.min, limits.max).astype(kind)
    return quantised


def sample_photographs() -> tuple[Path, ...]:
    """The two photographs that ship in scikit-learn's wheel; ImageError where scikit-learn is not installed."""
    # Found without importing scikit-learn, which takes a second.
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ImageError("the sample photographs come with scikit-learn: pip install scikit-learn, or name images")
    directory = Path(found.origin).parent / "datasets" / "images"
    return tuple(directory / name for name in _SAMPLES)


@contextlib.contextmanager
def _opened(data: bytes, name: str) -> "Iterator[Image.Image]":
    from PIL import Image  # noqa: PLC0415  # as above

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image.size, name)
            yield image
    except ImageError:
        raise
    # Pillow's decoders raise whatever a broken file leads them to; no image is worth the process.
    except Exception as error:
        raise ImageError(
            f"{name} is not an image that Pillow can read; it would have to be one of {', '.join(FORMATS)}"
        ) from error


def _read(source: bytes | Path, name: str) -> bytes:
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                source = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ImageError(f"cannot read the image {name}: {error.strerror or error}") from error
    if len(source) > MAX_FILE_BYTES:
        raise ImageError(f"{name} is larger than the {MAX_FILE_BYTES} bytes that are taken")
    return source


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels; at most {MAX_PIXELS} in all are taken")


def _to_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image  # noqa: PLC0415  # as above

    if image.mode.startswith("I"):
        # 16-bit grey: Pillow would clip it to 255 instead of scaling it.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        image = Image.alpha_composite(white, seen)
    return image.convert("RGB")


def _image_extent(shape: tuple[int, ...]) -> tuple[int, int, int]:
    match shape:
        case (1, height, width, 1 | 3 as channels) if 0 < height * width <= MAX_PIXELS and height > 0:
            return height, width, channels
        case _:
            raise ImageError(f"the model's input has the shape {tuple(shape)}; images need (1, height, width, 3 or 1)")


def _centre_box(size: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    """The centred rectangle of this width-to-height ratio, as large as CENTRE_SHARE of the largest that fits."""
    width, height = size
    box_height = CENTRE_SHARE * min(height, width / aspect)
    box_width = box_height * aspect
    left, top = (width - box_width) / 2, (height - box_height) / 2
    # Rounding must not push the box over the edge.
    return max(0.0, left), max(0.0, top), min(float(width), left + box_width), min(float(height), top + box_height)


def _normalised(
    pixels: NDArray[np.uint8], preprocessing: Preprocessing, room: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(p - mean) / std over a last axis of three channels; one channel takes the mean of the three figures."""
    values = np.empty(pixels.shape, np.float32) if room is None else room
    *_, height, width, channels = pixels.shape
    if channels == 3 and preprocessing.channels == "bgr":
        for channel in range(channels):  # a sixth of the time that a copy of [..., ::-1] takes
            values[..., channel] = pixels[..., channels - 1 - channel]
    else:
        np.copyto(values, pixels)
    mean, std = _by_column(preprocessing, width, channels)
    # Whole rows, or all at once, take a fraction of the time that broadcasting three figures does.
    rows = values.reshape(height, width * channels) if mean.ndim else values.reshape(-1)
    np.subtract(rows, mean, out=rows)
    np.divide(rows, std, out=rows)
    return values


@functools.lru_cache(maxsize=16)
def _by_column(
    preprocessing: Preprocessing, width: int, channels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean and the spread of each value in a row of pixels; without dimensions where all are the same."""
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    if channels == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    if len({*mean.tolist()}) == len({*std.tolist()}) == 1:
        return mean[0].reshape(()), std[0].reshape(())
    return np.tile(mean, width), np.tile(std, width)
