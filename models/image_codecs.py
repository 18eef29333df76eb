"""What the codecs of an image cost, measured: its pixels, and the file as it came, which its reader decodes.

Neither changes an answer. What codecs of other tensors cost and change is `models.evaluation`'s part.
"""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from models.codec_figures import CodecName, CutCodec
from models.errors import EvaluationError
from models.graph import Graph
from models.image_form import ImageForm, image_form
from models.images import check_image, goes_as_file

TIMED_FILES: Final = 8
"""How many files are decoded; the same ones again where there are fewer."""


def image_input(path: Path, graph: Graph) -> ImageForm:
    """The form of the one input of the .tflite at `path`; EvaluationError where it takes no image."""
    form = image_form(path, graph)
    if form is None:
        raise EvaluationError(f"{path}: codecs are measured on images, and the model takes {len(graph.inputs)} inputs")
    if graph.tensors[graph.inputs[0]].dynamic:
        raise EvaluationError(f"{path}: codecs are measured on images, and the model takes no image of a fixed size")
    return form


def image_codecs(wanted: ImageForm, images: Sequence[Path]) -> tuple[CutCodec, CutCodec]:
    """The codecs `uint8` and `jpeg` at the model's input, measured on these files.

    A file that had better not travel goes as its pixels under `jpeg` too. The origin opens its images in any case,
    before a request begins; so encoding costs nothing.
    """
    files = [place.read_bytes() for place in images[:TIMED_FILES]]
    pixels_bytes = math.prod(wanted.shape)
    under_jpeg, from_pixels_s = [], []
    wanted.pixels_of(files[0])  # a first time takes what later ones do not
    for file in itertools.islice(itertools.cycle(files), TIMED_FILES):
        started_s = time.thread_time()
        pixels = wanted.pixels_of(file)
        read_s = time.thread_time()
        wanted.tensor_of(pixels)
        ended_s = time.thread_time()
        from_pixels_s.append(ended_s - read_s)
        stays_file = goes_as_file(len(file), check_image(file), wanted.shape)
        under_jpeg.append((len(file), ended_s - started_s) if stays_file else (pixels_bytes, ended_s - read_s))
    sizes_bytes, from_jpeg_s = zip(*under_jpeg, strict=True)
    return (
        _figures(wanted, "uint8", pixels_bytes, statistics.median(from_pixels_s)),
        _figures(wanted, "jpeg", statistics.fmean(sizes_bytes), statistics.fmean(from_jpeg_s)),  # of both kinds
    )


def _figures(wanted: ImageForm, codec: CodecName, size_bytes: float, decode_s: float) -> CutCodec:
    input_bytes = math.prod(wanted.shape) * np.dtype(wanted.dtype).itemsize
    return CutCodec(
        k=0,
        codec=codec,
        ratio=size_bytes / input_bytes,
        encode_ms_per_mb=0.0,
        decode_ms_per_mb=decode_s * 1e3 / (input_bytes / 1e6),
        changed=0.0,
        error=0.0,
    )
