"""What the codecs of an image cost, measured: its pixels, and the file as it came, which its reader decodes.

Neither changes an answer. What codecs of other tensors cost and change is `models.evaluation`'s part.
"""

import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.codec_figures import CodecName, CutCodec
from models.errors import EvaluationError
from models.graph import Graph, Quantization
from models.images import check_image, from_pixels, goes_as_file, load_image, to_input, to_pixels
from models.preprocessing import Preprocessing, read_preprocessing

TIMED_FILES: Final = 8
"""How many files are decoded; the same ones again where there are fewer."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The one input of a model that takes an image."""

    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    preprocessing: Preprocessing | None
    size_bytes: int

    def tensor_of(self, image: Image.Image) -> NDArray[Any]:
        """The image as the model takes it."""
        return to_input(image, self.shape, self.dtype, self.quantization, self.preprocessing)


def image_input(path: Path, graph: Graph) -> ImageInput:
    """The input of the .tflite at `path`; EvaluationError where it takes no image."""
    if len(graph.inputs) != 1:
        raise EvaluationError(f"{path}: codecs are measured on images, and the model takes {len(graph.inputs)} inputs")
    tensor = graph.tensors[graph.inputs[0]]
    if tensor.dynamic:
        raise EvaluationError(f"{path}: codecs are measured on images, and the model takes no image of a fixed size")
    return ImageInput(tensor.shape, tensor.dtype, tensor.quantization, read_preprocessing(path), tensor.size_bytes)


def image_codecs(wanted: ImageInput, images: Sequence[Path]) -> tuple[CutCodec, CutCodec]:
    """The codecs `uint8` and `jpeg` at the model's input, measured on these files.

    A file that had better not travel goes as its pixels under `jpeg` too. The origin opens its images in any case,
    before a request begins; so encoding costs nothing.
    """
    files = [place.read_bytes() for place in images[:TIMED_FILES]]
    pixels_bytes = int(np.prod(wanted.shape))
    under_jpeg, from_pixels_s = [], []
    to_pixels(load_image(files[0]), wanted.shape)  # a first time takes what later ones do not
    for file in itertools.islice(itertools.cycle(files), TIMED_FILES):
        started_s = time.thread_time()
        pixels = to_pixels(load_image(file), wanted.shape)
        read_s = time.thread_time()
        from_pixels(pixels, wanted.dtype, wanted.quantization, wanted.preprocessing)
        ended_s = time.thread_time()
        from_pixels_s.append(ended_s - read_s)
        stays_file = goes_as_file(len(file), check_image(file), wanted.shape)
        under_jpeg.append((len(file), ended_s - started_s) if stays_file else (pixels_bytes, ended_s - read_s))
    sizes_bytes, from_jpeg_s = zip(*under_jpeg, strict=True)
    return (
        _figures(wanted, "uint8", pixels_bytes, statistics.median(from_pixels_s)),
        _figures(wanted, "jpeg", statistics.fmean(sizes_bytes), statistics.fmean(from_jpeg_s)),  # of both kinds
    )


def _figures(wanted: ImageInput, codec: CodecName, size_bytes: float, decode_s: float) -> CutCodec:
    return CutCodec(
        k=0,
        codec=codec,
        ratio=size_bytes / wanted.size_bytes,
        encode_ms_per_mb=0.0,
        decode_ms_per_mb=decode_s * 1e3 / (wanted.size_bytes / 1e6),
        changed=0.0,
        error=0.0,
    )
