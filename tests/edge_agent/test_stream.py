"""Reading messages out of a stream: however it is cut, the messages are the same, and nothing unbounded is kept."""

from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from edge_agent.errors import WireError
from edge_agent.stream import BUFFER_BYTES, REPLY_BUFFER_BYTES, MessageReader
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Ping,
    ProbeChunk,
    Route,
    StageRecord,
    TensorsMessage,
    WireMessage,
    encode,
)
from edge_agent.wire_tensors import Tensor, TensorSpec

ROUTE = Route("faces", 7, bytes(range(16)), 2)


class Bytes:
    """What comes on a connection, in pieces of some sizes, and nothing between them."""

    def __init__(self, content: bytes, sizes: Sequence[int]) -> None:
        """The sizes are taken over and over again."""
        self.content, self.sizes = content, sizes
        self.turn = 0
        self.rests = False

    def fill(self, memory: memoryview) -> int | None:
        """A piece, and then nothing once."""
        self.rests = not self.rests
        if self.rests or not self.content:
            return None
        count = min(len(memory), self.sizes[self.turn % len(self.sizes)], len(self.content))
        self.turn += 1
        memory[:count] = self.content[:count]
        self.content = self.content[count:]
        return count


class NewMemory:
    """Gives none."""

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """New arrays are made."""


def packed(messages: Sequence[WireMessage]) -> bytes:
    """All of them, one behind the other."""
    return b"".join(b"".join(encode(message)) for message in messages)


def read(content: bytes, sizes: Sequence[int]) -> list[WireMessage]:
    """The messages in these bytes, as they come."""
    stream = Bytes(content, sizes)
    reader = MessageReader(NewMemory(), lambda _: None)
    messages = []
    while stream.content or stream.rests:
        message = reader.take(stream.fill)
        if isinstance(message, ProbeChunk):
            message = ProbeChunk(message.probe, message.index, message.count, bytes(message.payload))
        if message is not None:
            messages.append(message)
    while (message := reader.take(stream.fill)) is not None:
        messages.append(message)
    assert reader.received_bytes == len(content)
    assert reader.under_way_bytes == 0
    assert not reader.has_buffered
    return messages


def told(message: WireMessage) -> object:
    """What can be compared."""
    if isinstance(message, TensorsMessage):
        values = [(tensor.dtype, tensor.shape, tensor.tobytes()) for tensor in message.tensors]
        return message.route, message.stages, values
    return message


MESSAGES = st.one_of(
    st.builds(Ping, token=st.integers(0, 2**64 - 1)),
    st.builds(FailureMessage, route=st.just(ROUTE), reason=st.text(max_size=50)),
    st.builds(
        lambda size: ProbeChunk(1, 0, 2, bytes([7]) * size),
        st.sampled_from([1, 1_000, 65_536]) | st.integers(1, 65_536),
    ),
    st.builds(
        lambda sizes, stages: TensorsMessage(
            ROUTE, tuple(np.arange(size, dtype=np.uint8) for size in sizes), (StageRecord(0, 1, 2),) * stages
        ),
        st.lists(st.sampled_from([0, 1, 1_000, 66_000, 200_000]), max_size=4),
        st.integers(0, 256),
    ),
)


@given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(1, 100_000), min_size=1, max_size=5))
def test_a_stream_is_read_as_it_was_sent(messages: list[WireMessage], sizes: list[int]) -> None:
    """Whatever pieces it comes in."""
    assert [told(message) for message in read(packed(messages), sizes)] == [told(message) for message in messages]


def test_the_smallest_pieces_do() -> None:
    """A byte at a time."""
    messages = [Ping(1), TensorsMessage(ROUTE, (np.arange(300, dtype=np.int16),)), Acknowledgement(ROUTE)]
    assert [told(message) for message in read(packed(messages), [1])] == [told(message) for message in messages]


def test_large_tensors_are_received_where_they_belong() -> None:
    """Into the array that is given for each, without another one between."""
    places = [np.zeros(500_000, np.float32), np.zeros((2, 3), np.int8)]

    class Given:
        def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor]:
            assert route == ROUTE
            return places

    sent = TensorsMessage(ROUTE, (np.arange(500_000, dtype=np.float32), np.ones((2, 3), np.int8)))
    reserved: list[int] = []
    stream = Bytes(packed([sent]), [BUFFER_BYTES])
    reader = MessageReader(Given(), reserved.append)
    message = None
    while message is None:
        message = reader.take(stream.fill)
        assert reader.under_way_bytes in (0, 2_000_006)
    assert isinstance(message, TensorsMessage)
    assert all(place is tensor for place, tensor in zip(places, message.tensors, strict=True))
    assert told(message) == told(sent)
    assert reserved == [2_000_006]


def test_a_refused_reservation_leaves_no_memory() -> None:
    """It is asked for before the arrays are made."""

    class Unasked:
        def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
            raise AssertionError

    def refuse(size_bytes: int) -> None:
        raise WireError(f"no room for {size_bytes} bytes")

    stream = Bytes(packed([TensorsMessage(ROUTE, (np.zeros(200_000, np.uint8),))]), [1_000])
    reader = MessageReader(Unasked(), refuse)
    with pytest.raises(WireError, match="no room for 200000 bytes"):
        while reader.take(stream.fill) is None:
            pass


@pytest.mark.parametrize(
    "message", [TensorsMessage(ROUTE, (np.zeros(1, np.uint8),)), ProbeChunk(1, 0, 1, bytes(REPLY_BUFFER_BYTES))]
)
def test_where_only_replies_come_nothing_large_does(message: WireMessage) -> None:
    """Neither tensors nor what is larger than any reply."""
    stream = Bytes(packed([message]), [1_000])
    reader = MessageReader(None, lambda _: None, REPLY_BUFFER_BYTES)
    with pytest.raises(WireError):
        while reader.take(stream.fill) is None:
            pass
