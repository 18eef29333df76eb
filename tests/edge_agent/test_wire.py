"""What is said on the tensor plane as a specification: what is sent comes back as it was."""

import numpy as np
import pytest
from drawn_messages import ROUTE, SMALL_MESSAGES, TENSORS_MESSAGES, transmitted
from hypothesis import given

from edge_agent.errors import WireError
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Hello,
    Ping,
    ProbeChunk,
    Route,
    TensorsMessage,
    WireMessage,
    encode,
)
from edge_agent.wire_layout import MAX_REASON_BYTES
from edge_agent.wire_reading import decode


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
