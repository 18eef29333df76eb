"""Reads the tensor plane's messages, which anybody may have sent: every field is checked before memory is taken for it.

What they say is `edge_agent.wire`'s; how a stream of bytes becomes messages, `edge_agent.stream`'s.
"""

import struct
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from edge_agent.errors import WireError
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Hello,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    StageRecord,
    TensorsMessage,
    TransferRecord,
    Welcome,
    WireMessage,
)
from edge_agent.wire_energy import unpack_energy
from edge_agent.wire_layout import (
    ACKNOWLEDGEMENT_KIND,
    CHUNK,
    CHUNK_KIND,
    FAILURE_KIND,
    HELLO_KIND,
    MAGIC,
    MAX_CHUNK_BYTES,
    MAX_HEADER_BYTES,
    MAX_REASON_BYTES,
    MAX_STAGE_RECORDS,
    NAME_FORM,
    PING_KIND,
    PONG_KIND,
    PREFIX,
    PREFIX_BYTES,
    PROBE_REPLY_KIND,
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
from edge_agent.wire_tensors import (
    DESCRIPTOR_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_TENSORS,
    Frame,
    Tensor,
    TensorSpec,
    specs_of,
)

Prefix: TypeAlias = tuple[int, int, int]
"""What a message says of itself before it begins: its kind, and the bytes of its header and of what follows that."""

TensorsHeader: TypeAlias = tuple[Route, tuple[TensorSpec, ...], tuple[StageRecord, ...]]
"""A message of tensors without their bytes, which follow in the order of the specs."""


def read_prefix(packed: Frame, at: int = 0) -> Prefix:
    """The prefix that begins at `at`, where at least PREFIX_BYTES are; within the bounds of its kind.

    WireError says what does not fit; a peer of another version is told apart and both versions are named.
    """
    magic, version, kind, header_bytes, payload_bytes = PREFIX.unpack_from(packed, at)
    if magic != MAGIC:
        raise WireError("a message does not begin with Splitrail's magic bytes")
    if version != WIRE_VERSION:
        raise WireError(
            f"the peer speaks version {version} of the tensor protocol, this agent speaks {WIRE_VERSION}: "
            f"update Splitrail on {'the peer' if version < WIRE_VERSION else 'this node'}"
        )
    if header_bytes > MAX_HEADER_BYTES:
        raise WireError(f"a header of {header_bytes} bytes, at most {MAX_HEADER_BYTES} are allowed")
    allowed = MAX_MESSAGE_BYTES if kind == TENSORS_KIND else MAX_CHUNK_BYTES if kind == CHUNK_KIND else 0
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
    if kind != TENSORS_KIND:
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
    if len(header) < TENSORS_HEAD.size:
        raise WireError(f"a tensors' header of {len(header)} bytes, it has at least {TENSORS_HEAD.size}")
    name, epoch, request, hop, plan, tensor_count, stage_count = TENSORS_HEAD.unpack_from(header)
    if tensor_count > MAX_TENSORS or stage_count > MAX_STAGE_RECORDS:
        check_counts(tensor_count, stage_count)
    boundary = TENSORS_HEAD.size + tensor_count * DESCRIPTOR_BYTES
    expected = boundary + stage_count * STAGE.size
    if len(header) != expected:
        raise WireError(f"a tensors' header of {len(header)} bytes, {expected} are needed")
    specs, size_bytes = specs_of(header[TENSORS_HEAD.size : boundary])
    if size_bytes != payload_bytes:
        raise WireError(f"tensors of {size_bytes} bytes in a message of {payload_bytes}")
    stages = tuple(
        [
            StageRecord(each_hop, compute_ns, wait_ns, unpack_energy(energy), codec_ns, max(1, batch))
            for each_hop, compute_ns, wait_ns, codec_ns, batch, *energy in STAGE.iter_unpack(header[boundary:])
        ]
    )
    return Route(_name(name), epoch, request, hop, plan), specs, stages


def small_message(kind: int, header: bytes, rest: Frame) -> WireMessage:  # noqa: PLR0911  # one for each kind
    """The message of any kind but tensors; a probe's chunk keeps `rest`. WireError says what does not fit."""
    if kind == ACKNOWLEDGEMENT_KIND:
        return Acknowledgement(_unpack_route(header[: ROUTE.size]), *_unpack(TOKEN, header[ROUTE.size :]))
    if kind == CHUNK_KIND:
        probe, index, count = _unpack(CHUNK, header)
        check_chunk(index, count, len(rest))
        return ProbeChunk(probe, index, count, rest)
    if kind == FAILURE_KIND:
        if len(header) > ROUTE.size + MAX_REASON_BYTES:
            raise WireError(f"a reason of {len(header) - ROUTE.size} bytes, at most {MAX_REASON_BYTES} are allowed")
        return FailureMessage(_unpack_route(header[: ROUTE.size]), header[ROUTE.size :].decode(errors="replace"))
    if kind == TRANSFER_KIND:
        size_bytes, transfer_ns = _unpack(TIMED, header[ROUTE.size :])
        return TransferRecord(_unpack_route(header[: ROUTE.size]), size_bytes, transfer_ns)
    if kind == PING_KIND:
        return Ping(*_unpack(TOKEN, header))
    if kind == PONG_KIND:
        return Pong(*_unpack(TOKEN, header))
    if kind == PROBE_REPLY_KIND:
        probe = _unpack(TOKEN, header[: TOKEN.size])
        return ProbeReply(*probe, *_unpack(TIMED, header[TOKEN.size :]))
    if kind == HELLO_KIND:
        if not NAME_FORM.fullmatch(header):
            raise WireError("a hello without a node's name")
        return Hello(header.decode("ascii"))
    if kind == WELCOME_KIND and not header:
        return Welcome()
    raise WireError(f"unknown kind of message {kind}")


def _unpack_route(packed: bytes) -> Route:
    padded, epoch, request, hop, plan = _unpack(ROUTE, packed)
    return Route(_name(padded), epoch, request, hop, plan)


@lru_cache(256)
def _name(padded: bytes) -> str:
    name = padded.rstrip(b"\0")
    if not NAME_FORM.fullmatch(name):
        raise WireError("a message without a valid deployment name")
    return name.decode("ascii")


def _unpack(layout: struct.Struct, packed: Frame) -> tuple[Any, ...]:
    if len(packed) != layout.size:
        raise WireError(f"a field group of {len(packed)} bytes, {layout.size} are needed")
    return layout.unpack(packed)
