"""What anybody may send to the tensor plane: it is read if it is a message of ours, and nothing else comes in."""

import contextlib
import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from drawn_messages import ROUTE, SMALL_MESSAGES, TENSORS_MESSAGES, transmitted
from hypothesis import given

from edge_agent.errors import WireError
from edge_agent.wire import Ping, TensorsMessage, WireMessage, encode
from edge_agent.wire_layout import MAGIC, WIRE_VERSION
from edge_agent.wire_reading import decode, read_prefix
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES


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
