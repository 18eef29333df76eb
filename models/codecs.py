"""Packs the tensors of a cut for a transfer, and unpacks them: half floats, int8 by given scales, lz4 and zstd.

Which codec a transfer has is the planner's part; images are `models.images`', codecs in a graph `models.codec_graph`'s.
"""

import threading
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import lz4.block  # type: ignore[import-untyped]  # ships no types
import numpy as np
import zstandard
from numpy.typing import NDArray

from models.codec_figures import IMAGE_CODECS, CodecName
from models.errors import CodecError
from models.runtime import TensorSpec

Array: TypeAlias = NDArray[Any]
Number: TypeAlias = Literal["raw", "fp16", "int8"]
"""How a codec writes the numbers of a float tensor, before any compression."""

FLOAT: Final[np.dtype[Any]] = np.dtype(np.float32)
"""The type that codecs shorten; tensors of other types stay as they are."""
ZSTD_LEVEL: Final = 1
_PACKED_FLOATS: Final[dict[Number, np.dtype[Any]]] = {
    "raw": FLOAT,
    "fp16": np.dtype(np.float16),
    "int8": np.dtype(np.int8),
}


class AffineCode(Protocol):
    """An int8 code stands for `scale` * (code - `zero_point`); the scale is above 0, the zero point -128 .. 127."""

    @property
    def scale(self) -> float: ...

    @property
    def zero_point(self) -> int: ...


class _Zstd(threading.local):
    """No two threads may use one of these at once, and making one takes longer than packing a small tensor."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def number_of(codec: CodecName) -> Number:
    """How a codec writes floats. CodecError for one of images."""
    if codec in IMAGE_CODECS:
        raise CodecError(f"the codec {codec} packs an image that is the model's input, and no other tensors")
    return cast(Number, codec.partition("+")[0])


def pack(arrays: Sequence[Array], codec: CodecName, scales: Sequence[AffineCode] = ()) -> tuple[Array, ...]:
    """The arrays as they travel: float32 shortened; then, with compression, each a uint8 array of one dimension.

    int8 needs one of `scales` for each float32 array, in their order; what lies beyond its range takes the nearest
    code. An array that needs nothing is given back itself. CodecError where the codec cannot be applied.
    """
    number, _, compression = number_of(codec), *codec.partition("+")[1:]
    codes = _codes([array.dtype for array in arrays], number, scales)
    short = [shortened(array, number, code) for array, code in zip(arrays, codes, strict=True)]
    return tuple(_compressed(array, compression) if compression else array for array in short)


def unpack(
    arrays: Sequence[Array], specs: Sequence[TensorSpec], codec: CodecName, scales: Sequence[AffineCode] = ()
) -> tuple[Array, ...]:
    """The arrays of these specs that `pack` made these of; they may be read-only, or the given ones.

    A spec of the type that travels (float16 or int8) in the place of float32 takes the array as it is. Nothing larger
    than the specs ask for is allocated. CodecError where the arrays are not what the codec makes of such tensors.
    """
    if len(arrays) != len(specs):
        raise CodecError(f"{len(arrays)} packed tensors came where {len(specs)} are due")
    number, _, compression = number_of(codec), *codec.partition("+")[1:]
    kinds = [np.dtype(spec.dtype) for spec in specs]
    codes = _codes(kinds, number, scales)
    unpacked = []
    for array, spec, kind, code in zip(arrays, specs, kinds, codes, strict=True):
        packed = _PACKED_FLOATS[number] if kind == FLOAT else kind
        whole = _decompressed(array, compression, packed, spec) if compression else array
        if whole.dtype != packed:
            raise CodecError(f"{spec.name!r} came as {whole.dtype}, where {codec} makes it {packed}")
        unpacked.append(lengthened(whole, number, code) if kind == FLOAT else whole)
    return tuple(unpacked)


def shortened(array: Array, number: Number, code: AffineCode | None) -> Array:
    """A float32 array in half floats, or in int8 by its code, to the nearest and saturating; another one as it is."""
    if array.dtype != FLOAT or number == "raw":
        return array
    if code is None:
        with np.errstate(over="ignore"):  # beyond 65,504 there is infinity
            return array.astype(np.float16)
    steps = np.empty(array.shape, np.float32)
    np.divide(array, np.float32(code.scale), out=steps)
    steps += np.float32(code.zero_point)
    np.rint(steps, out=steps)
    np.clip(steps, -128, 127, out=steps)
    with np.errstate(invalid="ignore"):  # what is no number has no code
        return steps.astype(np.int8)


def lengthened(array: Array, number: Number, code: AffineCode | None) -> Array:
    """The float32 array that half floats, or int8 by its code, stand for."""
    if number == "raw":
        return array
    values: Array = array.astype(np.float32)
    if code is not None:
        values -= np.float32(code.zero_point)
        values *= np.float32(code.scale)
    return values


def _codes(kinds: Sequence[np.dtype[Any]], number: Number, scales: Sequence[AffineCode]) -> list[AffineCode | None]:
    """The code of each tensor, in order; None where it has none."""
    floats = kinds.count(FLOAT)
    if number != "int8" or not floats:
        return [None] * len(kinds)
    if len(scales) != floats:
        raise CodecError(f"int8 needs a scale for each float tensor: there are {floats}, and {len(scales)} scales")
    remaining = iter(scales)
    return [next(remaining) if kind == FLOAT else None for kind in kinds]


def _compressed(array: Array, compression: str) -> Array:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if compression == "lz4":
        return np.frombuffer(lz4.block.compress(content, store_size=False), np.uint8)
    return np.frombuffer(_zstd.compressor.compress(content.data), np.uint8)


def _decompressed(array: Array, compression: str, packed: np.dtype[Any], spec: TensorSpec) -> Array:
    """The array of a spec's shape and type `packed`, read-only; what is due is known, and no more is ever made."""
    if -1 in spec.signature:
        raise CodecError(f"{spec.name!r} has sizes that are known only at run time, so it cannot travel compressed")
    if array.dtype != np.uint8 or array.ndim != 1:
        raise CodecError(f"{spec.name!r} came as {array.dtype} of shape {list(array.shape)}, and not compressed")
    due_bytes = int(np.prod(spec.shape, dtype=np.int64)) * packed.itemsize
    try:
        content = _lz4_content(array, due_bytes) if compression == "lz4" else _zstd_content(array, due_bytes)
    except (lz4.block.LZ4BlockError, zstandard.ZstdError, OverflowError) as error:
        raise CodecError(f"{spec.name!r} cannot be decompressed by {compression}: {error}") from None
    if len(content) != due_bytes:
        raise CodecError(f"{spec.name!r} came as {len(content)} bytes by {compression}, where {due_bytes} are due")
    return np.frombuffer(content, packed).reshape(spec.shape)


def _lz4_content(array: Array, due_bytes: int) -> bytes:
    content: bytes = lz4.block.decompress(np.ascontiguousarray(array), uncompressed_size=due_bytes)
    return content


def _zstd_content(array: Array, due_bytes: int) -> bytes:
    frame = np.ascontiguousarray(array).data
    # The library allocates what the frame says, whatever the caller admits.
    told_bytes = zstandard.frame_content_size(frame)
    if told_bytes != due_bytes:
        raise zstandard.ZstdError(f"its frame tells of {told_bytes} bytes, where {due_bytes} are due")
    return _zstd.decompressor.decompress(frame, allow_extra_data=False)
