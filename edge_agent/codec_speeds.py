"""How fast this machine packs and unpacks tensors by each codec, on data like a network's; profiles say it.

What codecs cost at the cuts of a certain model is `models.evaluation`'s.
"""

import functools
import io
import statistics
import time
from collections.abc import Callable
from typing import Final, get_args

import numpy as np
from PIL import Image

from broker.messages import CodecName, CodecSpeed
from models.codec_figures import IMAGE_CODECS
from models.codecs import pack, unpack
from models.image_form import ImageForm
from models.preprocessing import PREPROCESSINGS
from models.runtime import TensorSpec
from models.scales import scale_of

RUNS: Final = 5
_SHAPE: Final = (1, 56, 56, 24)  # a cut of MobileNetV2, 0.3 MB
_FORM: Final = ImageForm((1, 224, 224, 3), "float32", None, PREPROCESSINGS["tf"])
_PHOTOGRAPH_SIZE: Final = (640, 480)
_BYTES_PER_MB: Final = 1e6


@functools.cache
def codec_speeds() -> tuple[CodecSpeed, ...]:
    """The CPU time of each codec, in ms per MB before encoding, the median of some runs; measured once.

    An image's are of a JPEG of 640 x 480 pixels for an input of 224 x 224: whoever reads it decodes it, and it travels
    as it is. Takes about a tenth of a second on a PC.
    """
    return tuple(
        _image_speed(codec) if codec in IMAGE_CODECS else _tensor_speed(codec) for codec in get_args(CodecName)
    )


def _tensor_speed(codec: CodecName) -> CodecSpeed:
    # What a ReLU leaves of normally distributed sums.
    array = np.maximum(np.random.default_rng(0).standard_normal(_SHAPE), 0.0).astype(np.float32)
    specs, scales = (TensorSpec("cut", _SHAPE, "float32", _SHAPE),), (scale_of(0.0, float(array.max())),)
    packed = pack([array], codec, scales)
    return CodecSpeed(
        codec=codec,
        encode_ms_per_mb=_ms(lambda: pack([array], codec, scales)) / (array.nbytes / _BYTES_PER_MB),
        decode_ms_per_mb=_ms(lambda: unpack(packed, specs, codec, scales)) / (array.nbytes / _BYTES_PER_MB),
    )


def _image_speed(codec: CodecName) -> CodecSpeed:
    file = _photograph()
    pixels = _FORM.pixels_of(file)

    def read() -> object:
        return _FORM.tensor_of(_FORM.pixels_of(file) if codec == "jpeg" else pixels)

    size_mb = _FORM.tensor_of(pixels).nbytes / _BYTES_PER_MB
    return CodecSpeed(codec=codec, encode_ms_per_mb=0.0, decode_ms_per_mb=_ms(read) / size_mb)


@functools.cache
def _photograph() -> bytes:
    """A JPEG with a photograph's share of detail: blurred patches with some noise."""
    width, height = _PHOTOGRAPH_SIZE
    generator = np.random.default_rng(0)
    patches = Image.fromarray(generator.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noisy = (smooth + generator.normal(0.0, 8.0, smooth.shape)).clip(0.0, 255.0).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=90)
    return file.getvalue()


def _ms(run: Callable[[], object]) -> float:
    run()  # the first time takes what later ones do not
    times_ns = []
    for _ in range(RUNS):
        before_ns = time.thread_time_ns()
        run()
        times_ns.append(time.thread_time_ns() - before_ns)
    return statistics.median(times_ns) / 1e6
