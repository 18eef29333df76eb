"""What each codec costs and changes at each cut of a model, as measured on given images; kept beside the model file.

Measuring it is `models.evaluation`'s part.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

MAX_BYTES = 64_000_000
CodecName = Literal[
    "raw", "raw+lz4", "raw+zstd", "fp16", "fp16+lz4", "fp16+zstd", "int8", "int8+lz4", "int8+zstd", "uint8", "jpeg"
]
NAMES: Final[tuple[CodecName, ...]] = get_args(CodecName)
"""In the order in which tables show them."""
IMAGE_CODECS: Final = frozenset({"uint8", "jpeg"})
"""Those of an image, which only the model's input is; `models.images` packs and unpacks it."""
_NonNegative = Annotated[float, Meta(ge=0.0)]
_Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class Scale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The affine code of one tensor as int8: its value is `scale` * (code - `zero_point`)."""

    scale: Annotated[float, Meta(gt=0.0)]
    zero_point: Annotated[int, Meta(ge=-128, le=127)]


class CutCodec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One codec at one cut point k; times are per MB before encoding, on the machine that measured."""

    k: Annotated[int, Meta(ge=0)]
    codec: CodecName
    ratio: Annotated[float, Meta(gt=0.0)]
    """Bytes sent to bytes before encoding, the mean over the images."""
    encode_ms_per_mb: _NonNegative
    decode_ms_per_mb: _NonNegative
    changed: _Share
    """Share of the images whose top-1 answer is another one."""
    error: _NonNegative
    """Greatest difference of the model's output, as a share of the output's range; the mean over the images."""
    scales: tuple[Scale, ...] = ()
    """Of an int8 codec: one for each float tensor at the cut, in the cut's order."""


class CodecFigures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All codecs at all allowed cuts of one model."""

    model: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """The sha256 of its file."""
    images: Annotated[int, Meta(ge=1)]
    """How many images, crops included, were run."""
    machine: str
    at: _NonNegative
    """When it was measured, s since the Unix epoch."""
    cuts: tuple[CutCodec, ...]


def figures_path(model: Path) -> Path:
    """Where the figures of the model file `model` are kept, and looked for."""
    return model.with_suffix(".codecs.json")
