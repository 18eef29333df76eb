"""The tensor plane's messages and their fixed binary form: a prefix, a header, then the tensors' bytes, never pickled.

Every field is checked against bounds before memory is taken for it. How tensors lie in it: `edge_agent.wire_tensors`.
"""

import re
import struct
from functools import lru_cache
from typing import Any, Final, TypeAlias, assert_never

import msgspec
import numpy as np

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire_energy import ENERGY_FORM, pack_energy, unpack_energy
from edge_agent.wire_tensors import (
    DESCRIPTOR_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_TENSORS,
    Frame,
    Tensor,
    TensorSpec,
    describe,
    payload,
    specs_of,
)

MAGIC: Final = b"SPLT"
WIRE_VERSION: Final = 4

MAX_STAGE_RECORDS: Final = 256
MAX_REASON_BYTES: Final = 500
MAX_CHUNK_BYTES: Final = 65_536
REQUEST_BYTES: Final = 16

_PREFIX: Final = struct.Struct("<4sBBHQ")  # magic, version, kind, bytes of the header, bytes of what follows it
PREFIX_BYTES: Final = _PREFIX.size
_ROUTE: Final = struct.Struct("<64sI16sHI")  # deployment, epoch, request, hop, plan
_TENSORS_HEAD: Final = struct.Struct("<64sI16sHIHH")  # a route, tensors, stage records
_STAGE: Final = struct.Struct("<HQQQB" + ENERGY_FORM)  # hop, compute_ns, wait_ns, codec_ns, batch, and the energy
_TIMED: Final = struct.Struct("<QQ")  # bytes, nanoseconds
_TOKEN: Final = struct.Struct("<Q")  # or nanoseconds
_CHUNK: Final = struct.Struct("<QHH")  # probe, index, count

MAX_HEADER_BYTES: Final = _TENSORS_HEAD.size + MAX_TENSORS * DESCRIPTOR_BYTES + MAX_STAGE_RECORDS * _STAGE.size

TENSORS_KIND: Final = 1
_TENSORS, _FAILURE, _TRANSFER, _ACK, _PING, _PONG, _CHUNKS, _PROBE_REPLY, _HELLO, _WELCOME = range(1, 11)

_NAME_FORM: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Route(msgspec.Struct, frozen=True):
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


class StageRecord(msgspec.Struct, frozen=True):
    """What one stage of a request took on its node; it travels with the tensors to the origin."""

    hop: int
    """the hop at which it ran; 0 .. 65535"""
    compute_ns: int
    wait_ns: int
    energy: StageEnergy | None = None
    """Within `edge_agent.wire_energy`'s bounds; sent in whole microjoules."""
    codec_ns: int = 0
    """what of `compute_ns` went into unpacking its inputs and packing its outputs"""
    batch: int = 1
    """how many requests were computed in one run, of which this is one's share; 1 .. 255"""


class TensorsMessage(msgspec.Struct, frozen=True, eq=False):
    """The tensors of one hop, in the order of the segment's inputs; arrays are not compared, so neither is this."""

    route: Route
    tensors: tuple[Tensor, ...]
    stages: tuple[StageRecord, ...] = ()


class FailureMessage(msgspec.Struct, frozen=True):
    """A request that a node had to give up; `reason` is at most 500 bytes of UTF-8 and is cut to that."""

    route: Route
    reason: str


class TransferRecord(msgspec.Struct, frozen=True):
    """What a sender tells the origin of one hop: its bytes, and the nanoseconds until they had arrived."""

    route: Route
    size_bytes: int
    transfer_ns: int


class Acknowledgement(msgspec.Struct, frozen=True):
    """The tensors of `route` have arrived."""

    route: Route
    held_ns: int = 0
    """How long ago that was when this was sent."""


class Ping(msgspec.Struct, frozen=True):
    """A question that is answered at once by a Pong with the same token (64 bits)."""

    token: int


class Pong(msgspec.Struct, frozen=True):
    """The answer to a Ping."""

    token: int


class ProbeChunk(msgspec.Struct, frozen=True):
    """One of `count` messages, sent back to back, whose arrivals show the bandwidth; `index` counts from 0."""

    probe: int
    index: int
    count: int
    payload: Frame
    """1 .. 65,536 bytes without meaning"""


class ProbeReply(msgspec.Struct, frozen=True):
    """The receiver's timeline of a probe: `counted_bytes` arrived in `counted_ns` after its first part."""

    probe: int
    counted_bytes: int
    counted_ns: int


class Hello(msgspec.Struct, frozen=True):
    """The first message of whoever calls: which node it is."""

    node: str
    """A name as `broker.messages` has it."""


class Welcome(msgspec.Struct, frozen=True):
    """The answer to a Hello that was believed: from now on messages are taken."""


WireMessage: TypeAlias = (
    TensorsMessage
    | FailureMessage
    | TransferRecord
    | Acknowledgement
    | Ping
    | Pong
    | ProbeChunk
    | ProbeReply
    | Hello
    | Welcome
)


Prefix: TypeAlias = tuple[int, int, int]
"""What a message says of itself before it begins: its kind, and the bytes of its header and of what follows that."""

TensorsHeader: TypeAlias = tuple[Route, tuple[TensorSpec, ...], tuple[StageRecord, ...]]
"""A message of tensors without their bytes, which follow in the order of the specs."""


def encode(message: WireMessage) -> list[Frame]:
    """The bytes of a message: prefix and header, then the tensors' own memory, not copied.

    WireError where a field is out of its bounds or a dtype has no code.
    """
    try:
        return _encode(message)
    except struct.error as error:
        raise WireError(f"a field of {type(message).__name__} is out of its range: {error}") from None


def read_prefix(packed: Frame, at: int = 0) -> Prefix:
    """The prefix that begins at `at`, where at least PREFIX_BYTES are; within the bounds of its kind.

    WireError says what does not fit; a peer of another version is told apart and both versions are named.
    """
    magic, version, kind, header_bytes, payload_bytes = _PREFIX.unpack_from(packed, at)
    if magic != MAGIC:
        raise WireError("a message does not begin with Splitrail's magic bytes")
    if version != WIRE_VERSION:
        raise WireError(
            f"the peer speaks version {version} of the tensor protocol, this agent speaks {WIRE_VERSION}: "
            f"update Splitrail on {'the peer' if version < WIRE_VERSION else 'this node'}"
        )
    if header_bytes > MAX_HEADER_BYTES:
        raise WireError(f"a header of {header_bytes} bytes, at most {MAX_HEADER_BYTES} are allowed")
    allowed = MAX_MESSAGE_BYTES if kind == _TENSORS else MAX_CHUNK_BYTES if kind == _CHUNKS else 0
    if payload_bytes > allowed:
        raise WireError(f"a message of kind {kind} with {payload_bytes} bytes behind its header, {allowed} are allowed")
    return kind, header_bytes, payload_bytes


def decode(packed: Frame) -> WireMessage:
    """The message that these bytes are, no more and no less; its arrays are views on them. WireError as above."""
    if len(packed) < PREFIX_BYTES:
        raise WireError(f"a message of {len(packed)} bytes, a prefix alone has {PREFIX_BYTES}")
    whole = memoryview(packed)
    kind, header_bytes, payload_bytes = read_prefix(whole)
    end = PREFIX_BYTES + header_bytes
    if end + payload_bytes != len(whole):
        raise WireError(f"a message of {len(whole)} bytes says that it has {end + payload_bytes}")
    header, rest = bytes(whole[PREFIX_BYTES:end]), whole[end:]
    if kind != _TENSORS:
        return small_message(kind, header, rest)
    route, specs, stages = tensors_header(header, payload_bytes)
    arrays: list[Tensor] = []
    at = 0
    for spec in specs:
        arrays.append(np.ndarray(spec.shape, spec.dtype, buffer=rest[at : at + spec.size_bytes]))
        at += spec.size_bytes
    return TensorsMessage(route, tuple(arrays), stages)


def tensors_header(header: bytes, payload_bytes: int) -> TensorsHeader:
    """What a message of tensors says of them; WireError where that is not what its prefix announced."""
    if len(header) < _TENSORS_HEAD.size:
        raise WireError(f"a tensors' header of {len(header)} bytes, it has at least {_TENSORS_HEAD.size}")
    name, epoch, request, hop, plan, tensor_count, stage_count = _TENSORS_HEAD.unpack_from(header)
    if tensor_count > MAX_TENSORS or stage_count > MAX_STAGE_RECORDS:
        _check_counts(tensor_count, stage_count)
    boundary = _TENSORS_HEAD.size + tensor_count * DESCRIPTOR_BYTES
    expected = boundary + stage_count * _STAGE.size
    if len(header) != expected:
        raise WireError(f"a tensors' header of {len(header)} bytes, {expected} are needed")
    specs, size_bytes = specs_of(header[_TENSORS_HEAD.size : boundary])
    if size_bytes != payload_bytes:
        raise WireError(f"tensors of {size_bytes} bytes in a message of {payload_bytes}")
    stages = tuple(
        [
            StageRecord(each_hop, compute_ns, wait_ns, unpack_energy(energy), codec_ns, max(1, batch))
            for each_hop, compute_ns, wait_ns, codec_ns, batch, *energy in _STAGE.iter_unpack(header[boundary:])
        ]
    )
    return Route(_name(name), epoch, request, hop, plan), specs, stages


def small_message(kind: int, header: bytes, rest: Frame) -> WireMessage:  # noqa: PLR0911  # one for each kind
    """The message of any kind but tensors; a probe's chunk keeps `rest`. WireError says what does not fit."""
    if kind == _ACK:
        return Acknowledgement(_unpack_route(header[: _ROUTE.size]), *_unpack(_TOKEN, header[_ROUTE.size :]))
    if kind == _CHUNKS:
        probe, index, count = _unpack(_CHUNK, header)
        _check_chunk(index, count, len(rest))
        return ProbeChunk(probe, index, count, rest)
    if kind == _FAILURE:
        if len(header) > _ROUTE.size + MAX_REASON_BYTES:
            raise WireError(f"a reason of {len(header) - _ROUTE.size} bytes, at most {MAX_REASON_BYTES} are allowed")
        return FailureMessage(_unpack_route(header[: _ROUTE.size]), header[_ROUTE.size :].decode(errors="replace"))
    if kind == _TRANSFER:
        size_bytes, transfer_ns = _unpack(_TIMED, header[_ROUTE.size :])
        return TransferRecord(_unpack_route(header[: _ROUTE.size]), size_bytes, transfer_ns)
    if kind == _PING:
        return Ping(*_unpack(_TOKEN, header))
    if kind == _PONG:
        return Pong(*_unpack(_TOKEN, header))
    if kind == _PROBE_REPLY:
        probe = _unpack(_TOKEN, header[: _TOKEN.size])
        return ProbeReply(*probe, *_unpack(_TIMED, header[_TOKEN.size :]))
    if kind == _HELLO:
        if not _NAME_FORM.fullmatch(header):
            raise WireError("a hello without a node's name")
        return Hello(header.decode("ascii"))
    if kind == _WELCOME and not header:
        return Welcome()
    raise WireError(f"unknown kind of message {kind}")


def _encode(message: WireMessage) -> list[Frame]:  # noqa: PLR0911  # one return for each kind of message
    match message:
        case TensorsMessage():
            return _encode_tensors(message)
        case Acknowledgement():
            return [_small(_ACK, _pack_route(message.route) + _TOKEN.pack(message.held_ns))]
        case FailureMessage():
            reason = message.reason.encode(errors="replace")[:MAX_REASON_BYTES]
            return [_small(_FAILURE, _pack_route(message.route) + reason)]
        case TransferRecord():
            timed = _TIMED.pack(message.size_bytes, message.transfer_ns)
            return [_small(_TRANSFER, _pack_route(message.route) + timed)]
        case Ping():
            return [_small(_PING, _TOKEN.pack(message.token))]
        case Pong():
            return [_small(_PONG, _TOKEN.pack(message.token))]
        case ProbeChunk():
            size_bytes = len(message.payload)
            _check_chunk(message.index, message.count, size_bytes)
            header = _CHUNK.pack(message.probe, message.index, message.count)
            prefix = _PREFIX.pack(MAGIC, WIRE_VERSION, _CHUNKS, len(header), size_bytes)
            return [prefix + header, message.payload]
        case ProbeReply():
            timed = _TIMED.pack(message.counted_bytes, message.counted_ns)
            return [_small(_PROBE_REPLY, _TOKEN.pack(message.probe) + timed)]
        case Hello():
            return [_small(_HELLO, _packed_name(message.node))]
        case Welcome():
            return [_small(_WELCOME, b"")]
        case _:
            assert_never(message)


def _encode_tensors(message: TensorsMessage) -> list[Frame]:
    _check_counts(len(message.tensors), len(message.stages))
    route = message.route
    _check_request(route.request)
    parts = [b"", b""]  # filled when the counts are known
    payloads: list[Frame] = []
    size_bytes = 0
    for tensor in message.tensors:
        parts.append(describe(tensor.dtype, tensor.shape))
        frame = payload(tensor)
        size_bytes += len(frame)
        payloads.append(frame)
    if size_bytes > MAX_MESSAGE_BYTES:
        raise WireError(f"tensors of {size_bytes} bytes, at most {MAX_MESSAGE_BYTES} are allowed in one message")
    for record in message.stages:
        energy = pack_energy(record.energy)
        parts.append(_STAGE.pack(record.hop, record.compute_ns, record.wait_ns, record.codec_ns, record.batch, *energy))
    header_bytes = _TENSORS_HEAD.size + len(message.tensors) * DESCRIPTOR_BYTES + len(message.stages) * _STAGE.size
    parts[0] = _PREFIX.pack(MAGIC, WIRE_VERSION, _TENSORS, header_bytes, size_bytes)
    parts[1] = _TENSORS_HEAD.pack(
        _packed_name(route.deployment),
        route.epoch,
        route.request,
        route.hop,
        route.plan,
        len(message.tensors),
        len(message.stages),
    )
    return [b"".join(parts), *payloads]


def _check_counts(tensors: int, stages: int) -> None:
    if tensors > MAX_TENSORS:
        raise WireError(f"{tensors} tensors, at most {MAX_TENSORS} are allowed")
    if stages > MAX_STAGE_RECORDS:
        raise WireError(f"{stages} stage records, at most {MAX_STAGE_RECORDS} are allowed")


def _check_request(request: bytes) -> None:
    if len(request) != REQUEST_BYTES:
        raise WireError(f"a request id of {len(request)} bytes, {REQUEST_BYTES} are needed")


def _check_chunk(index: int, count: int, size_bytes: int) -> None:
    if index >= count:
        raise WireError(f"probe chunk {index} of {count}")
    if not 0 < size_bytes <= MAX_CHUNK_BYTES:
        raise WireError(f"a probe chunk of {size_bytes} bytes, 1 to {MAX_CHUNK_BYTES} are allowed")


def _small(kind: int, header: bytes) -> bytes:
    return _PREFIX.pack(MAGIC, WIRE_VERSION, kind, len(header), 0) + header


def _pack_route(route: Route) -> bytes:
    _check_request(route.request)
    return _ROUTE.pack(_packed_name(route.deployment), route.epoch, route.request, route.hop, route.plan)


def _unpack_route(packed: bytes) -> Route:
    padded, epoch, request, hop, plan = _unpack(_ROUTE, packed)
    return Route(_name(padded), epoch, request, hop, plan)


@lru_cache(256)
def _packed_name(name: str) -> bytes:
    packed = name.encode(errors="replace")
    if not _NAME_FORM.fullmatch(packed):
        raise WireError(f"{name!r} is not the name of a deployment or a node")
    return packed


@lru_cache(256)
def _name(padded: bytes) -> str:
    name = padded.rstrip(b"\0")
    if not _NAME_FORM.fullmatch(name):
        raise WireError("a message without a valid deployment name")
    return name.decode("ascii")


def _unpack(layout: struct.Struct, packed: Frame) -> tuple[Any, ...]:
    if len(packed) != layout.size:
        raise WireError(f"a field group of {len(packed)} bytes, {layout.size} are needed")
    return layout.unpack(packed)
