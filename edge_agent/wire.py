"""The tensor plane's messages, and how they are written: a prefix, a header, then the tensors' bytes, never pickled.

How they lie in bytes is `edge_agent.wire_layout`'s; reading them is `edge_agent.wire_reading`'s.
"""

import struct
from functools import lru_cache
from typing import TypeAlias, assert_never

import msgspec

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire_energy import pack_energy
from edge_agent.wire_layout import (
    ACKNOWLEDGEMENT_KIND,
    CHUNK,
    CHUNK_KIND,
    FAILURE_KIND,
    HELLO_KIND,
    MAGIC,
    MAX_REASON_BYTES,
    NAME_FORM,
    PING_KIND,
    PONG_KIND,
    PREFIX,
    PROBE_REPLY_KIND,
    REQUEST_BYTES,
    ROUTE,
    STAGE,
    TENSORS_HEAD,
    TENSORS_KIND,
    TIMED,
    TOKEN,
    TRANSFER_KIND,
    WELCOME_KIND,
    WIRE_VERSION,
    check_chunk,
    check_counts,
)
from edge_agent.wire_tensors import DESCRIPTOR_BYTES, MAX_MESSAGE_BYTES, Frame, Tensor, describe, payload


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


def encode(message: WireMessage) -> list[Frame]:
    """The bytes of a message: prefix and header, then the tensors' own memory, not copied.

    WireError where a field is out of its bounds or a dtype has no code.
    """
    try:
        return _encode(message)
    except struct.error as error:
        raise WireError(f"a field of {type(message).__name__} is out of its range: {error}") from None


def _encode(message: WireMessage) -> list[Frame]:  # noqa: PLR0911  # one return for each kind of message
    match message:
        case TensorsMessage():
            return _encode_tensors(message)
        case Acknowledgement():
            return [_small(ACKNOWLEDGEMENT_KIND, _pack_route(message.route) + TOKEN.pack(message.held_ns))]
        case FailureMessage():
            reason = message.reason.encode(errors="replace")[:MAX_REASON_BYTES]
            return [_small(FAILURE_KIND, _pack_route(message.route) + reason)]
        case TransferRecord():
            timed = TIMED.pack(message.size_bytes, message.transfer_ns)
            return [_small(TRANSFER_KIND, _pack_route(message.route) + timed)]
        case Ping():
            return [_small(PING_KIND, TOKEN.pack(message.token))]
        case Pong():
            return [_small(PONG_KIND, TOKEN.pack(message.token))]
        case ProbeChunk():
            size_bytes = len(message.payload)
            check_chunk(message.index, message.count, size_bytes)
            header = CHUNK.pack(message.probe, message.index, message.count)
            prefix = PREFIX.pack(MAGIC, WIRE_VERSION, CHUNK_KIND, len(header), size_bytes)
            return [prefix + header, message.payload]
        case ProbeReply():
            timed = TIMED.pack(message.counted_bytes, message.counted_ns)
            return [_small(PROBE_REPLY_KIND, TOKEN.pack(message.probe) + timed)]
        case Hello():
            return [_small(HELLO_KIND, _packed_name(message.node))]
        case Welcome():
            return [_small(WELCOME_KIND, b"")]
        case _:
            assert_never(message)


def _encode_tensors(message: TensorsMessage) -> list[Frame]:
    check_counts(len(message.tensors), len(message.stages))
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
        parts.append(STAGE.pack(record.hop, record.compute_ns, record.wait_ns, record.codec_ns, record.batch, *energy))
    header_bytes = TENSORS_HEAD.size + len(message.tensors) * DESCRIPTOR_BYTES + len(message.stages) * STAGE.size
    parts[0] = PREFIX.pack(MAGIC, WIRE_VERSION, TENSORS_KIND, header_bytes, size_bytes)
    parts[1] = TENSORS_HEAD.pack(
        _packed_name(route.deployment),
        route.epoch,
        route.request,
        route.hop,
        route.plan,
        len(message.tensors),
        len(message.stages),
    )
    return [b"".join(parts), *payloads]


def _check_request(request: bytes) -> None:
    if len(request) != REQUEST_BYTES:
        raise WireError(f"a request id of {len(request)} bytes, {REQUEST_BYTES} are needed")


def _small(kind: int, header: bytes) -> bytes:
    return PREFIX.pack(MAGIC, WIRE_VERSION, kind, len(header), 0) + header


def _pack_route(route: Route) -> bytes:
    _check_request(route.request)
    return ROUTE.pack(_packed_name(route.deployment), route.epoch, route.request, route.hop, route.plan)


@lru_cache(256)
def _packed_name(name: str) -> bytes:
    packed = name.encode(errors="replace")
    if not NAME_FORM.fullmatch(packed):
        raise WireError(f"{name!r} is not the name of a deployment or a node")
    return packed
