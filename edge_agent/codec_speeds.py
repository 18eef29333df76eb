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
from edge_agent.packing import ImageForm
from models.codecs import IMAGE_CODECS, pack, unpack
from models.preprocessing import PREPROCESSINGS
from models.runtime import TensorSpec
from models.scales import scale_of

RUNS: Final = 5
_SHAPE: Final = (1, 56, 56, 24)  # a cut of MobileNetV2, 0.3 MB
_FORM: Final = ImageForm((1, 224, 224, 3), "float32", None, PREPROCESSINGS["tf"])
_PHOTOGRAPH_SIZE: Final = (640, 480)
_BYTES_PER_MB: Final = 1e6

Clock = Callable[[], int]


@functools.lru_cache(maxsize=2)
def codec_speeds(clock_ns: Clock = time.perf_counter_ns) -> tuple[CodecSpeed, ...]:
    """The time of each codec, in ms per MB before encoding, the median of some runs; measured once for each clock.

    An image's are of a JPEG of 640 x 480 pixels for an input of 224 x 224: whoever reads it decodes it, and it travels
    as it is. Takes about a tenth of a second on a PC.
    """
    return tuple(
        _image_speed(codec, clock_ns) if codec in IMAGE_CODECS else _tensor_speed(codec, clock_ns)
        for codec in get_args(CodecName)
    )


def _tensor_speed(codec: CodecName, clock_ns: Clock) -> CodecSpeed:
    # What a ReLU leaves of normally distributed sums.
    array = np.maximum(np.random.default_rng(0).standard_normal(_SHAPE), 0.0).astype(np.float32)
    specs, scales = (TensorSpec("cut", _SHAPE, "float32", _SHAPE),), (scale_of(0.0, float(array.max())),)
    packed = pack([array], codec, scales)
    return CodecSpeed(
        codec=codec,
        encode_ms_per_mb=_ms(lambda: pack([array], codec, scales), clock_ns) / (array.nbytes / _BYTES_PER_MB),
        decode_ms_per_mb=_ms(lambda: unpack(packed, specs, codec, scales), clock_ns) / (array.nbytes / _BYTES_PER_MB),
    )


def _image_speed(codec: CodecName, clock_ns: Clock) -> CodecSpeed:
    file = _photograph()
    pixels = _FORM.pixels_of(file)

    def read() -> object:
        return _FORM.tensor_of(_FORM.pixels_of(file) if codec == "jpeg" else pixels)

    size_mb = _FORM.tensor_of(pixels).nbytes / _BYTES_PER_MB
    return CodecSpeed(codec=codec, encode_ms_per_mb=0.0, decode_ms_per_mb=_ms(read, clock_ns) / size_mb)


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


def _ms(run: Callable[[], object], clock_ns: Clock) -> float:
    run()  # the first time takes what later ones do not
    times_ns = []
    for _ in range(RUNS):
        before_ns = clock_ns()
        run()
        times_ns.append(clock_ns() - before_ns)
    return statistics.median(times_ns) / 1e6


def stretched_speeds(speeds: tuple[CodecSpeed, ...], factor: float) -> tuple[CodecSpeed, ...]:
    """The same on an emulated machine that is `factor` times slower."""
    return tuple(
        CodecSpeed(
            codec=speed.codec,
            encode_ms_per_mb=speed.encode_ms_per_mb * factor,
            decode_ms_per_mb=speed.decode_ms_per_mb * factor,
        )
        for speed in speeds
    )
