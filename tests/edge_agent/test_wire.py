"""The wire format as a specification: what is sent comes back, and nothing else comes in."""

import contextlib
import struct

import hypothesis.extra.numpy as numpy_strategies
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire import (
    MAGIC,
    MAX_REASON_BYTES,
    WIRE_VERSION,
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
    decode,
    encode,
    read_prefix,
)
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES

U64 = st.integers(0, 2**64 - 1)
ROUTES = st.builds(
    Route,
    deployment=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"),
    epoch=st.integers(0, 2**32 - 1),
    request=st.binary(min_size=16, max_size=16),
    hop=st.integers(0, 2**16 - 1),
)
TENSORS = numpy_strategies.arrays(
    dtype=st.sampled_from(["<f4", "<f2", "<f8", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "?", "<c8"]),
    shape=numpy_strategies.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3),
)
MICROJOULES = st.integers(0, 10**15).map(lambda energy_uj: energy_uj / 1e6)
WAYS = st.sampled_from([("integrated", "measured"), ("scaled", "modelled"), ("model", "modelled")])
ENERGIES = st.builds(
    lambda energy_j, std_j, way, scope, meter: StageEnergy(
        energy_j=energy_j, energy_j_std=std_j, method=way[0], source=way[1], scope=scope, meter=meter
    ),
    MICROJOULES,
    MICROJOULES,
    WAYS,
    st.sampled_from(["board", "soc", "package", "gpu", "wall"]),
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,23}\Z"),
)
STAGES = st.builds(
    StageRecord,
    hop=st.integers(0, 2**16 - 1),
    compute_ns=U64,
    wait_ns=U64,
    energy=st.none() | ENERGIES,
    codec_ns=U64,
)
TENSORS_MESSAGES = st.builds(
    TensorsMessage,
    route=ROUTES,
    tensors=st.lists(TENSORS, max_size=4).map(tuple),
    stages=st.lists(STAGES, max_size=4).map(tuple),
)
SMALL_MESSAGES = st.one_of(
    st.builds(FailureMessage, route=ROUTES, reason=st.text(max_size=100)),
    st.builds(TransferRecord, route=ROUTES, size_bytes=U64, transfer_ns=U64),
    st.builds(Acknowledgement, route=ROUTES, held_ns=U64),
    st.builds(Ping, token=U64),
    st.builds(Pong, token=U64),
    st.builds(ProbeChunk, probe=U64, index=st.just(3), count=st.integers(4, 999), payload=st.binary(min_size=1)),
    st.builds(ProbeReply, probe=U64, counted_bytes=U64, counted_ns=U64),
    st.builds(Hello, node=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")),
    st.just(Welcome()),
)
ROUTE = Route("faces", 7, bytes(range(16)), 2)


def transmitted(message: WireMessage) -> bytes:
    """The bytes as they come out of a socket."""
    return b"".join(encode(message))


@given(SMALL_MESSAGES)
def test_a_message_comes_back_as_it_was(message: WireMessage) -> None:
    """Decoding what was encoded gives an equal message, for every kind without tensors."""
    assert decode(transmitted(message)) == message


@given(TENSORS_MESSAGES)
def test_tensors_come_back_as_they_were(message: TensorsMessage) -> None:
    """Shapes, types and every byte of the tensors survive, scalars and empty tensors too."""
    received = decode(transmitted(message))
    assert isinstance(received, TensorsMessage)
    assert (received.route, received.stages) == (message.route, message.stages)
    assert len(received.tensors) == len(message.tensors)
    for before, after in zip(message.tensors, received.tensors, strict=True):
        assert (after.shape, after.dtype) == (before.shape, before.dtype)
        assert after.tobytes() == before.tobytes()


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(noise: bytes) -> None:
    """Noise raises a WireError and nothing else."""
    with pytest.raises(WireError):
        decode(noise)


@given(st.one_of(SMALL_MESSAGES, TENSORS_MESSAGES), st.data())
def test_a_damaged_message_is_read_or_refused(message: WireMessage, data: st.DataObject) -> None:
    """Whatever a wrong bit or a missing end does, nothing but a WireError comes of it."""
    packed = bytearray(transmitted(message))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(packed) - 1))
        if data.draw(st.booleans()):
            packed[place] = data.draw(st.integers(0, 255))
        elif place:
            del packed[place:]
    with contextlib.suppress(WireError):
        decode(bytes(packed))


def test_tensors_are_views_on_the_bytes() -> None:
    """A decoded tensor shares the memory of its message; nothing is copied."""
    packed = transmitted(TensorsMessage(ROUTE, (np.arange(1000, dtype=np.float32),)))
    received = decode(packed)
    assert isinstance(received, TensorsMessage)
    assert np.shares_memory(received.tensors[0], np.frombuffer(packed, dtype=np.uint8))


def test_tensors_are_sent_from_their_own_memory() -> None:
    """Encoding copies nothing of them."""
    values = np.arange(1000, dtype=np.float32).reshape(10, 100)
    head, payload = encode(TensorsMessage(ROUTE, (values,)))
    assert np.shares_memory(values, np.frombuffer(payload, np.uint8))
    assert len(head) < 200


def test_a_strided_or_big_endian_tensor_is_sent_by_value() -> None:
    """What is not contiguous little-endian is made so on its way."""
    strided = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
    received = decode(transmitted(TensorsMessage(ROUTE, (strided,))))
    assert isinstance(received, TensorsMessage)
    assert received.tensors[0].tolist() == strided.tolist()


@pytest.mark.parametrize(("version", "older"), [(WIRE_VERSION + 8, "this node"), (WIRE_VERSION - 1, "the peer")])
def test_another_version_is_named(version: int, older: str) -> None:
    """A peer of another version is refused with both versions in the message, and the side to update."""
    packed = transmitted(Ping(1))
    packed = MAGIC + bytes([version]) + packed[5:]
    told = rf"version {version} .* this agent speaks {WIRE_VERSION}: update Splitrail on {older}$"
    with pytest.raises(WireError, match=told):
        decode(packed)


def test_a_newer_version_may_have_another_prefix() -> None:
    """The version is told before anything else is judged."""
    with pytest.raises(WireError, match="version 200"):
        decode(MAGIC + bytes([200]) + b"\xff" * 5000)


@pytest.mark.parametrize(
    ("descriptor", "payload"),
    [
        (struct.pack("<BB8IQ", 99, 1, 4, *[0] * 7, 16), bytes(16)),
        (struct.pack("<BB8IQ", 0, 9, *[1] * 8, 4), bytes(4)),
        (struct.pack("<BB8IQ", 0, 1, 4, 1, *[0] * 6, 16), bytes(16)),
        (struct.pack("<BB8IQ", 0, 1, 4, *[0] * 7, 16), bytes(12)),
        (struct.pack("<BB8IQ", 0, 1, 3, *[0] * 7, 16), bytes(16)),
        (struct.pack("<BB8IQ", 0, 8, *[2**32 - 1] * 8, 0), b""),
        (struct.pack("<BB8IQ", 0, 8, *[2**32 - 1] * 7, 0, 0), b""),
    ],
    ids=["dtype", "dimensions", "dimensions beyond ndim", "short frame", "shape", "overflow", "overflow beside zero"],
)
def test_a_descriptor_that_lies_is_refused(descriptor: bytes, payload: bytes) -> None:
    """A descriptor that does not fit its bytes is refused before an array is made."""
    head, _ = encode(TensorsMessage(ROUTE, (np.zeros(4, np.float32),)))
    head = bytes(head)[:8] + len(payload).to_bytes(8, "little") + bytes(head)[16 : -len(descriptor)] + descriptor
    with pytest.raises(WireError):
        decode(head + payload)


@pytest.mark.parametrize(
    ("kind", "header_bytes", "payload_bytes"),
    [(1, 60_000, 0), (1, 100, MAX_MESSAGE_BYTES + 1), (7, 12, 65_537), (5, 8, 1), (1, 100, 2**64 - 1)],
    ids=["header", "tensors", "chunk", "ping with tensors", "overflow"],
)
def test_a_prefix_beyond_the_bounds_is_refused(kind: int, header_bytes: int, payload_bytes: int) -> None:
    """Before anything of what it announces is waited for."""
    prefix = struct.pack("<4sBBHQ", MAGIC, WIRE_VERSION, kind, header_bytes, payload_bytes)
    with pytest.raises(WireError, match="allowed"):
        read_prefix(prefix)


def test_too_many_tensors_are_refused() -> None:
    """More than 64 tensors are neither sent nor accepted."""
    with pytest.raises(WireError, match="65 tensors"):
        encode(TensorsMessage(ROUTE, (np.zeros(1, np.int8),) * 65))


def test_a_long_reason_is_cut() -> None:
    """A reason of more than 500 bytes is cut, in the middle of a character if need be, and still read."""
    received = decode(transmitted(FailureMessage(ROUTE, "€" * 400)))
    assert isinstance(received, FailureMessage)
    assert received.reason.startswith("€" * (MAX_REASON_BYTES // 3))


@pytest.mark.parametrize(
    "message",
    [
        Ping(2**64),
        Hello("a name with spaces"),
        Acknowledgement(Route("a name with spaces", 1, bytes(16), 0)),
        Acknowledgement(Route("faces", 1, bytes(15), 0)),
        Acknowledgement(Route("faces", -1, bytes(16), 0)),
        TensorsMessage(ROUTE, (np.array(["text"]),)),
        TensorsMessage(ROUTE, (np.array([object()]),)),
        ProbeChunk(1, 4, 4, b"x"),
    ],
)
def test_a_message_out_of_bounds_is_not_sent(message: WireMessage) -> None:
    """Fields out of range and types without a code raise a WireError at the sender."""
    with pytest.raises(WireError):
        encode(message)
