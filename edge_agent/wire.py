"""The tensor plane's messages and their fixed binary form: one header frame, then raw frames, never pickled.

Every field is checked against bounds and against the frames' real lengths before an array is made of it.
"""

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire_energy import ENERGY_FORM, pack_energy, unpack_energy

MAGIC: Final = b"SPLT"
WIRE_VERSION: Final = 4

MAX_TENSORS: Final = 64
MAX_DIMENSIONS: Final = 8
MAX_STAGE_RECORDS: Final = 256
MAX_TENSOR_BYTES: Final = 64 * 2**20
MAX_MESSAGE_BYTES: Final = 128 * 2**20
MAX_REASON_BYTES: Final = 500
MAX_CHUNK_BYTES: Final = 65_536
REQUEST_BYTES: Final = 16

Frame: TypeAlias = bytes | memoryview
Tensor: TypeAlias = npt.NDArray[Any]

# The codes are part of the protocol: never renumber, only append.
_DTYPES: Final = tuple(
    np.dtype(code)
    for code in ("<f4", "<f2", "<f8", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "|b1", "<c8", "<c16")
)
_DTYPE_CODES: Final = {dtype: code for code, dtype in enumerate(_DTYPES)}

_PREFIX: Final = struct.Struct("<4sBB")  # magic, version, kind
_ROUTE: Final = struct.Struct("<64sI16sHI")  # deployment, epoch, request, hop, plan
_COUNTS: Final = struct.Struct("<HH")  # tensors, stage records
_TENSOR: Final = struct.Struct("<BB8IQ")  # dtype code, dimensions in use, dimensions, bytes
_STAGE: Final = struct.Struct("<HQQQ" + ENERGY_FORM)  # hop, compute_ns, wait_ns, codec_ns, and the energy
_TIMED: Final = struct.Struct("<QQ")  # bytes, nanoseconds
_TOKEN: Final = struct.Struct("<Q")
_CHUNK: Final = struct.Struct("<QHH")  # probe, index, count

_TENSORS, _FAILURE, _TRANSFER, _ACK, _PING, _PONG, _CHUNKS, _PROBE_REPLY = range(1, 9)

_DEPLOYMENT_FORM: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Route:
    """What a message belongs to: a request of a deployment under one epoch, and the hop that it makes."""

    deployment: str
    epoch: int
    """0 .. 2**32-1"""
    request: bytes
    """16 bytes"""
    hop: int
    """0 .. 65535"""
    plan: int = 0
    """The digest of the plan, 0 .. 2**32-1: so two plans that have one epoch, of two leaders, are never mixed."""


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What one stage of a request took on its node; it travels with the tensors to the origin."""

    hop: int
    """the hop at which it ran; 0 .. 65535"""
    compute_ns: int
    wait_ns: int
    energy: StageEnergy | None = None
    """Within `edge_agent.wire_energy`'s bounds; sent in whole microjoules."""
    codec_ns: int = 0
    """what of `compute_ns` went into unpacking its inputs and packing its outputs"""


@dataclass(frozen=True, slots=True, eq=False)
class TensorsMessage:
    """The tensors of one hop, in the order of the segment's inputs; arrays are not compared, so neither is this."""

    route: Route
    tensors: tuple[Tensor, ...]
    stages: tuple[StageRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureMessage:
    """A request that a node had to give up; `reason` is at most 500 bytes of UTF-8 and is cut to that."""

    route: Route
    reason: str


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """What a sender tells the origin of one hop: its bytes, and the nanoseconds until they had arrived."""

    route: Route
    size_bytes: int
    transfer_ns: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The tensors of `route` have arrived."""

    route: Route


@dataclass(frozen=True, slots=True)
class Ping:
    """A question that is answered at once by a Pong with the same token (64 bits)."""

    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a Ping."""

    token: int


@dataclass(frozen=True, slots=True)
class ProbeChunk:
    """One of `count` messages, sent back to back, whose arrivals show the bandwidth; `index` counts from 0."""

    probe: int
    index: int
    count: int
    payload: Frame
    """1 .. 65,536 bytes without meaning"""


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """The receiver's timeline of a probe: `counted_bytes` arrived in `counted_ns` after its first part."""

    probe: int
    counted_bytes: int
    counted_ns: int


WireMessage: TypeAlias = (
    TensorsMessage | FailureMessage | TransferRecord | Acknowledgement | Ping | Pong | ProbeChunk | ProbeReply
)


def encode(message: WireMessage) -> list[Frame]:
    """The frames of a message; large tensors are not copied, so they must not change until they are delivered.

    WireError where a field is out of its bounds or a dtype has no code.
    """
    try:
        return _encode(message)
    except struct.error as error:
        raise WireError(f"a field of {type(message).__name__} is out of its range: {error}") from None


def decode(frames: Sequence[Frame]) -> WireMessage:
    """The message in these frames; its arrays are read-only or writable views on them, as the frames are.

    WireError says what does not fit; a peer of another version is told apart and both versions are named.
    """
    if not frames:
        raise WireError("a message without frames")
    header = bytes(frames[0][: _PREFIX.size + 600])
    if len(header) < _PREFIX.size or not header.startswith(MAGIC):
        raise WireError("the first frame does not begin with Splitrail's magic bytes")
    _, version, kind = _PREFIX.unpack_from(header)
    if version != WIRE_VERSION:
        raise WireError(
            f"the peer speaks version {version} of the tensor protocol, this agent speaks {WIRE_VERSION}: "
            f"update Splitrail on {'the peer' if version < WIRE_VERSION else 'this node'}"
        )
    if len(header) != len(frames[0]):
        raise WireError(f"a header of {len(frames[0])} bytes is too long")
    return _decode(kind, header[_PREFIX.size :], frames[1:])


def _encode(message: WireMessage) -> list[Frame]:  # noqa: PLR0911  # one return for each kind of message
    match message:
        case TensorsMessage():
            return _encode_tensors(message)
        case FailureMessage():
            reason = message.reason.encode(errors="replace")[:MAX_REASON_BYTES]
            return [_prefix(_FAILURE) + _pack_route(message.route) + reason]
        case TransferRecord():
            timed = _TIMED.pack(message.size_bytes, message.transfer_ns)
            return [_prefix(_TRANSFER) + _pack_route(message.route) + timed]
        case Acknowledgement():
            return [_prefix(_ACK) + _pack_route(message.route)]
        case Ping():
            return [_prefix(_PING) + _TOKEN.pack(message.token)]
        case Pong():
            return [_prefix(_PONG) + _TOKEN.pack(message.token)]
        case ProbeChunk():
            _check_chunk(message.index, message.count, len(message.payload))
            return [_prefix(_CHUNKS) + _CHUNK.pack(message.probe, message.index, message.count), message.payload]
        case ProbeReply():
            timed = _TIMED.pack(message.counted_bytes, message.counted_ns)
            return [_prefix(_PROBE_REPLY) + _TOKEN.pack(message.probe) + timed]
        case _:
            assert_never(message)


def _decode(kind: int, body: bytes, rest: Sequence[Frame]) -> WireMessage:  # noqa: PLR0911  # one for each kind
    if kind == _TENSORS:
        return _decode_tensors(body, rest)
    if kind == _CHUNKS:
        if len(rest) != 1:
            raise WireError(f"a probe chunk has one payload frame, not {len(rest)}")
        probe, index, count = _unpack(_CHUNK, body)
        _check_chunk(index, count, len(rest[0]))
        return ProbeChunk(probe, index, count, rest[0])
    if rest:
        raise WireError(f"a message of kind {kind} has one frame, not {1 + len(rest)}")
    if kind == _FAILURE:
        if len(body) > _ROUTE.size + MAX_REASON_BYTES:
            raise WireError(f"a reason of {len(body) - _ROUTE.size} bytes, at most {MAX_REASON_BYTES} are allowed")
        reason = body[_ROUTE.size :].decode(errors="replace")
        return FailureMessage(_unpack_route(body[: _ROUTE.size]), reason)
    if kind == _TRANSFER:
        size_bytes, transfer_ns = _unpack(_TIMED, body[_ROUTE.size :])
        return TransferRecord(_unpack_route(body[: _ROUTE.size]), size_bytes, transfer_ns)
    if kind == _ACK:
        return Acknowledgement(_unpack_route(body))
    if kind == _PING:
        return Ping(*_unpack(_TOKEN, body))
    if kind == _PONG:
        return Pong(*_unpack(_TOKEN, body))
    if kind == _PROBE_REPLY:
        probe = _unpack(_TOKEN, body[: _TOKEN.size])
        return ProbeReply(*probe, *_unpack(_TIMED, body[_TOKEN.size :]))
    raise WireError(f"unknown kind of message {kind}")


def _encode_tensors(message: TensorsMessage) -> list[Frame]:
    _check_counts(len(message.tensors), len(message.stages))
    counts = _COUNTS.pack(len(message.tensors), len(message.stages))
    descriptors = bytearray()
    payloads: list[Frame] = []
    for tensor in message.tensors:
        code = _DTYPE_CODES.get(tensor.dtype.newbyteorder("<"))
        if code is None:
            raise WireError(f"a tensor of type {tensor.dtype} cannot be sent")
        _check_shape(tensor.shape, _DTYPES[code])
        dimensions = tensor.shape + (0,) * (MAX_DIMENSIONS - tensor.ndim)
        descriptors += _TENSOR.pack(code, tensor.ndim, *dimensions, tensor.nbytes)
        flat = np.ascontiguousarray(tensor, dtype=_DTYPES[code]).reshape(-1)
        payloads.append(flat.view(np.uint8).data)
    _check_size(payloads)
    for record in message.stages:
        energy = pack_energy(record.energy)
        descriptors += _STAGE.pack(record.hop, record.compute_ns, record.wait_ns, record.codec_ns, *energy)
    header = _prefix(_TENSORS) + _pack_route(message.route) + counts
    return [header, bytes(descriptors), *payloads]


def _decode_tensors(body: bytes, rest: Sequence[Frame]) -> TensorsMessage:
    route = _unpack_route(body[: _ROUTE.size])
    tensor_count, stage_count = _unpack(_COUNTS, body[_ROUTE.size :])
    _check_counts(tensor_count, stage_count)
    if len(rest) != 1 + tensor_count:
        raise WireError(f"{tensor_count} tensors need {2 + tensor_count} frames, not {1 + len(rest)}")
    descriptors, payloads = rest[0], rest[1:]
    _check_size(payloads)
    boundary = tensor_count * _TENSOR.size
    expected = boundary + stage_count * _STAGE.size
    if len(descriptors) != expected:
        raise WireError(f"a descriptor frame of {len(descriptors)} bytes, {expected} are needed")
    tensors = tuple(
        _view(record, payload)
        for record, payload in zip(_TENSOR.iter_unpack(descriptors[:boundary]), payloads, strict=True)
    )
    stages = tuple(
        StageRecord(hop, compute_ns, wait_ns, unpack_energy(energy), codec_ns)
        for hop, compute_ns, wait_ns, codec_ns, *energy in _STAGE.iter_unpack(descriptors[boundary:])
    )
    return TensorsMessage(route, tensors, stages)


def _view(record: tuple[int, ...], payload: Frame) -> Tensor:
    code, used, *dimensions, size_bytes = record
    if code >= len(_DTYPES):
        raise WireError(f"unknown tensor type code {code}")
    if used > MAX_DIMENSIONS or any(dimensions[used:]):
        raise WireError(f"a tensor of {used} dimensions with {dimensions}")
    dtype, shape = _DTYPES[code], tuple(dimensions[:used])
    _check_shape(shape, dtype)
    if not math.prod(shape) * dtype.itemsize == size_bytes == len(payload):
        raise WireError(f"a tensor of shape {shape} and type {dtype} in a frame of {len(payload)} bytes")
    return np.ndarray(shape, dtype, buffer=payload)


def _check_shape(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) > MAX_DIMENSIONS:
        raise WireError(f"a tensor of {len(shape)} dimensions, at most {MAX_DIMENSIONS} are allowed")
    # Dimensions beside a zero count too: numpy refuses shapes whose other dimensions overflow.
    if math.prod(max(dimension, 1) for dimension in shape) * dtype.itemsize > MAX_TENSOR_BYTES:
        raise WireError(f"a tensor of shape {shape} and type {dtype} is larger than {MAX_TENSOR_BYTES} bytes")


def _check_counts(tensors: int, stages: int) -> None:
    if tensors > MAX_TENSORS:
        raise WireError(f"{tensors} tensors, at most {MAX_TENSORS} are allowed")
    if stages > MAX_STAGE_RECORDS:
        raise WireError(f"{stages} stage records, at most {MAX_STAGE_RECORDS} are allowed")


def _check_size(payloads: Sequence[Frame]) -> None:
    size_bytes = sum(map(len, payloads))
    if size_bytes > MAX_MESSAGE_BYTES:
        raise WireError(f"tensors of {size_bytes} bytes, at most {MAX_MESSAGE_BYTES} are allowed in one message")


def _check_chunk(index: int, count: int, size_bytes: int) -> None:
    if index >= count:
        raise WireError(f"probe chunk {index} of {count}")
    if not 0 < size_bytes <= MAX_CHUNK_BYTES:
        raise WireError(f"a probe chunk of {size_bytes} bytes, 1 to {MAX_CHUNK_BYTES} are allowed")


def _prefix(kind: int) -> bytes:
    return _PREFIX.pack(MAGIC, WIRE_VERSION, kind)


def _pack_route(route: Route) -> bytes:
    deployment = route.deployment.encode(errors="replace")
    if not _DEPLOYMENT_FORM.fullmatch(deployment):
        raise WireError(f"{route.deployment!r} is not a deployment's name")
    if len(route.request) != REQUEST_BYTES:
        raise WireError(f"a request id of {len(route.request)} bytes, {REQUEST_BYTES} are needed")
    return _ROUTE.pack(deployment, route.epoch, route.request, route.hop, route.plan)


def _unpack_route(packed: bytes) -> Route:
    padded, epoch, request, hop, plan = _unpack(_ROUTE, packed)
    deployment = padded.rstrip(b"\0")
    if not _DEPLOYMENT_FORM.fullmatch(deployment):
        raise WireError("a message without a valid deployment name")
    return Route(deployment.decode("ascii"), epoch, request, hop, plan)


def _unpack(layout: struct.Struct, packed: bytes) -> tuple[Any, ...]:
    if len(packed) != layout.size:
        raise WireError(f"a field group of {len(packed)} bytes, {layout.size} are needed")
    return layout.unpack(packed)
