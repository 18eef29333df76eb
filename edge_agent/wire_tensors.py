"""How tensors are described and laid out in a message of the tensor plane: type, shape and bytes of each.

The message around them is `edge_agent.wire`'s.
"""

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from edge_agent.errors import WireError

MAX_TENSORS: Final = 64
MAX_DIMENSIONS: Final = 8
MAX_TENSOR_BYTES: Final = 64 * 2**20
MAX_MESSAGE_BYTES: Final = 128 * 2**20

Frame: TypeAlias = bytes | memoryview
Tensor: TypeAlias = npt.NDArray[Any]

# The codes are part of the protocol: never renumber, only append.
_DTYPES: Final = tuple(
    np.dtype(code)
    for code in ("<f4", "<f2", "<f8", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "|b1", "<c8", "<c16")
)
_DTYPE_CODES: Final = {dtype: code for code, dtype in enumerate(_DTYPES)}
_TENSOR: Final = struct.Struct("<BB8IQ")  # dtype code, dimensions in use, dimensions, bytes
DESCRIPTOR_BYTES: Final = _TENSOR.size


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor without its values; within the bounds above."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """Little-endian."""
    size_bytes: int


@lru_cache(1_024)
def describe(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The DESCRIPTOR_BYTES of a tensor; WireError where it cannot be sent."""
    code = _DTYPE_CODES.get(dtype.newbyteorder("<"))
    if code is None:
        raise WireError(f"a tensor of type {dtype} cannot be sent")
    _check_shape(shape, _DTYPES[code])
    dimensions = shape + (0,) * (MAX_DIMENSIONS - len(shape))
    return _TENSOR.pack(code, len(shape), *dimensions, math.prod(shape) * dtype.itemsize)


def payload(tensor: Tensor) -> memoryview:
    """The bytes of a tensor as they are sent: its own memory, or a copy where that is strided or big-endian."""
    if not tensor.flags.c_contiguous or not tensor.dtype.isnative:
        tensor = np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
    return bytes_of(tensor)


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor."""
    return tensor.reshape(-1).view(np.uint8).data


@lru_cache(256)
def specs_of(descriptors: bytes) -> tuple[tuple[TensorSpec, ...], int]:
    """What these descriptors say, and the bytes of all their tensors; WireError where one cannot be."""
    specs = tuple(map(_spec, _TENSOR.iter_unpack(descriptors)))
    size_bytes = sum(spec.size_bytes for spec in specs)
    if size_bytes > MAX_MESSAGE_BYTES:
        raise WireError(f"tensors of {size_bytes} bytes, at most {MAX_MESSAGE_BYTES} are allowed in one message")
    return specs, size_bytes


def _spec(record: tuple[int, ...]) -> TensorSpec:
    code, used, *dimensions, size_bytes = record
    if code >= len(_DTYPES):
        raise WireError(f"unknown tensor type code {code}")
    if used > MAX_DIMENSIONS or any(dimensions[used:]):
        raise WireError(f"a tensor of {used} dimensions with {dimensions}")
    dtype, shape = _DTYPES[code], tuple(dimensions[:used])
    _check_shape(shape, dtype)
    if math.prod(shape) * dtype.itemsize != size_bytes:
        raise WireError(f"a tensor of shape {shape} and type {dtype} in {size_bytes} bytes")
    return TensorSpec(shape, dtype, size_bytes)


def _check_shape(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) > MAX_DIMENSIONS:
        raise WireError(f"a tensor of {len(shape)} dimensions, at most {MAX_DIMENSIONS} are allowed")
    # Dimensions beside a zero count too: numpy refuses shapes whose other dimensions overflow.
    if math.prod(max(dimension, 1) for dimension in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise WireError(f"a tensor of shape {shape} and type {dtype} is larger than {MAX_TENSOR_BYTES} bytes")
