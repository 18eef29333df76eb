"""Streams of chunks: messages arrive once, whole and in order, whatever is lost between, and lies are refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.chunks import (
    CHUNK_BYTES,
    MAX_CONTENT_BYTES,
    WINDOW_BYTES,
    Arrived,
    Heard,
    Inbound,
    Outbound,
    Sort,
    read_chunk,
    receipt,
)
from edge_agent.errors import WireError

ROOM = 2**28
HEAD = struct.Struct("<4sBBQQQQ")
BEGINS, GOES_ON = 1, 2


def taken(inbound: Inbound, payload: bytes | bytearray) -> tuple[Sort, bytes] | None:
    """What the reader makes of a payload."""
    part = read_chunk(bytes(payload)).part
    assert part is not None
    arrived = inbound.take(part, ROOM)
    return None if arrived is None else (arrived.sort, bytes(arrived.content))


def passed(outbound: Outbound, inbound: Inbound) -> list[tuple[Sort, bytes]]:
    """All that comes through while nothing is lost."""
    messages = []
    while payloads := [bytes(payload) for payload in outbound.due(Heard())]:
        messages += [message for payload in payloads if (message := taken(inbound, payload)) is not None]
        outbound.was_heard(inbound.heard)
    return messages


def lie(kind: int, stream: int, number: int, content: bytes) -> bytes:
    """A payload that no agent of ours would send."""
    return HEAD.pack(b"SPLC", 1, kind, stream, number, 0, 0) + content


def begin(size_bytes: int, content: bytes = b"") -> bytes:
    """The first part of a message that claims to be so large."""
    return struct.pack("<Q", size_bytes) + content


@given(
    messages=st.lists(
        st.tuples(st.sampled_from(["message", "reply"]), st.binary(max_size=40)),
        max_size=8,
    )
)
def test_messages_arrive_as_they_were_told(messages: list[tuple[Sort, bytes]]) -> None:
    """In order, each of its sort, and empty ones too."""
    outbound, inbound = Outbound(), Inbound()
    for sort, content in messages:
        outbound.put(sort, [content])
    assert passed(outbound, inbound) == messages
    assert not outbound.kept_bytes
    assert not outbound.is_under_way


def test_a_large_message_is_cut_and_put_together() -> None:
    """Its tensors need not fit a chunk, nor begin with one."""
    outbound, inbound = Outbound(), Inbound()
    generator = np.random.default_rng(1)
    frames = [b"head", generator.bytes(3 * CHUNK_BYTES + 17), b"", generator.bytes(CHUNK_BYTES)]
    outbound.put("message", frames)
    assert passed(outbound, inbound) == [("message", b"".join(frames))]
    assert inbound.held_bytes == 0


def test_no_payload_is_larger_than_a_chunk() -> None:
    """So it fits a broker's bound on packets."""
    outbound = Outbound()
    outbound.put("message", [bytes(2 * CHUNK_BYTES)])
    assert max(len(payload) for payload in outbound.due(Heard())) <= CHUNK_BYTES


def test_a_message_may_change_once_it_was_put() -> None:
    """The memory of its frames is the sender's again."""
    outbound, inbound = Outbound(), Inbound()
    frame = bytearray(b"before")
    outbound.put("message", [memoryview(frame)])
    frame[:] = b"after!"
    assert passed(outbound, inbound) == [("message", b"before")]


def test_what_is_under_way_is_bounded() -> None:
    """What was not confirmed holds up the rest, and each confirmation lets as much follow."""
    outbound = Outbound()
    outbound.put("message", [bytes(4 * WINDOW_BYTES)])
    first = [bytes(payload) for payload in outbound.due(Heard())]
    assert sum(map(len, first)) <= WINDOW_BYTES
    assert list(outbound.due(Heard())) == []
    inbound = Inbound()
    taken(inbound, first[0])
    assert outbound.was_heard(inbound.heard)
    assert len(list(outbound.due(Heard()))) == 1


@given(data=st.data())
def test_whatever_is_lost_arrives_once_and_in_order(data: st.DataObject) -> None:
    """Once the reader asks again; some arrive twice before, and confirmations are lost too."""
    outbound, inbound = Outbound(), Inbound()
    size_bytes = st.sampled_from([1, CHUNK_BYTES // 2, 2 * CHUNK_BYTES])
    messages: list[tuple[Sort, bytes]] = [
        ("message", bytes([number]) * data.draw(size_bytes)) for number in range(data.draw(st.integers(1, 5)))
    ]
    for sort, content in messages:
        outbound.put(sort, [content])
    arrived = []
    for _ in range(10):
        for payload in [bytes(payload) for payload in outbound.due(Heard())]:
            for _ in range(data.draw(st.integers(0, 2))):
                message = taken(inbound, payload)
                arrived += [message] if message is not None else []
        if data.draw(st.booleans()):
            outbound.send_again(inbound.heard)
    outbound.send_again(inbound.heard)
    assert arrived + passed(outbound, inbound) == messages


def test_a_reader_that_begins_anew_gets_what_was_not_heard_to_its_end() -> None:
    """From the first part of that message, though some of it had been heard before."""
    outbound, before = Outbound(), Inbound()
    outbound.put("message", [b"done"])
    outbound.put("message", [bytes(2 * CHUNK_BYTES)])
    first, second, *_ = [bytes(payload) for payload in outbound.due(Heard())]
    taken(before, first)
    taken(before, second)
    outbound.was_heard(before.heard)
    after = Inbound()
    outbound.send_again(after.heard)
    assert passed(outbound, after) == [("message", bytes(2 * CHUNK_BYTES))]


def test_a_reader_that_comes_too_late_for_the_beginning_says_so() -> None:
    """It takes no stream from its middle, where messages would be missing that nobody asks for again."""
    outbound, late = Outbound(), Inbound()
    outbound.put("message", [b"first"])
    outbound.put("message", [b"second"])
    _, second = [bytes(payload) for payload in outbound.due(Heard())]
    assert taken(late, second) is None
    assert late.has_gap
    outbound.send_again(late.heard)
    assert passed(outbound, late) == [("message", b"first"), ("message", b"second")]
    assert not late.has_gap


def test_messages_that_were_not_confirmed_can_be_taken_back() -> None:
    """To go another way, in their order; replies stay, since they answer what came this way."""
    outbound, inbound = Outbound(), Inbound()
    outbound.put("message", [b"confirmed"])
    outbound.put("message", [b"head", bytes(2 * CHUNK_BYTES)])
    outbound.put("reply", [b"answer"])
    outbound.put("message", [b"last"])
    taken(inbound, next(outbound.due(Heard())))
    outbound.was_heard(inbound.heard)
    assert outbound.withdraw(sent=True) == [b"head" + bytes(2 * CHUNK_BYTES), b"last"]
    assert not outbound.kept_messages
    assert passed(outbound, inbound) == [("reply", b"answer")]


@given(sizes=st.lists(st.sampled_from([1, CHUNK_BYTES, WINDOW_BYTES]), max_size=5))
def test_what_was_not_sent_yet_can_be_taken_back_alone(sizes: list[int]) -> None:
    """What was begun arrives whole, and nothing is in both."""
    outbound, inbound = Outbound(), Inbound()
    messages = [bytes([number]) * size for number, size in enumerate(sizes)]
    for content in messages:
        outbound.put("message", [content])
    begun = [bytes(payload) for payload in outbound.due(Heard())]
    withdrawn = outbound.withdraw(sent=False)
    arrived = [message for payload in begun if (message := taken(inbound, payload)) is not None]
    outbound.was_heard(inbound.heard)
    arrived += passed(outbound, inbound)
    assert [content for _, content in arrived] + withdrawn == messages
    assert not outbound.kept_bytes


def test_a_receipt_says_how_far_its_sender_has_come() -> None:
    """And whether it wants the rest again."""
    for asks_again in (False, True):
        chunk = read_chunk(receipt(Heard(7, 3), asks_again=asks_again))
        assert (chunk.heard, chunk.asks_again, chunk.part) == (Heard(7, 3), asks_again, None)


def test_nobody_confirms_what_was_not_sent() -> None:
    """A reader that claims to have heard more than there is changes nothing of what comes."""
    outbound, inbound = Outbound(), Inbound()
    outbound.put("message", [b"one"])
    part = read_chunk(bytes(next(outbound.due(Heard())))).part
    assert part is not None
    outbound.put("message", [b"two"])
    outbound.was_heard(Heard(part.stream, 2**60))
    inbound.take(part, ROOM)
    assert passed(outbound, inbound) == [("message", b"two")]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"SPLC",
        b"x" * 60,
        HEAD.pack(b"SPLC", 2, BEGINS, 1, 0, 0, 0) + begin(1, content=b"x"),
        lie(9, 1, 0, b"x"),
        lie(BEGINS, 1, 0, b""),
        lie(BEGINS, 0, 0, b"x"),
        lie(BEGINS, 2**63, 0, b"x"),
        lie(GOES_ON, 1, 2**63, b"x"),
        lie(3, 0, 0, b"more"),
        lie(0x13, 0, 0, b""),
    ],
)
def test_what_is_no_chunk_is_refused(payload: bytes) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(WireError):
        read_chunk(payload)


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        bytes(7),
        begin(2**64 - 1),
        begin(MAX_CONTENT_BYTES + 1),
        begin(1, content=b"xx"),
        begin(ROOM // 2),
    ],
)
def test_a_message_of_wrong_counts_or_sizes_is_refused(content: bytes) -> None:
    """Before any memory is taken for it; what goes on with it is refused too, and the next message is taken."""
    inbound = Inbound()
    first, second = read_chunk(lie(BEGINS, 1, 0, content)).part, read_chunk(lie(GOES_ON, 1, 1, b"more")).part
    third = read_chunk(lie(BEGINS, 1, 2, begin(2, content=b"ok"))).part
    assert first is not None
    assert second is not None
    assert third is not None
    for part in (first, second):
        with pytest.raises(WireError):
            inbound.take(part, ROOM // 4)
        assert inbound.held_bytes == 0
    arrived = inbound.take(third, ROOM)
    assert isinstance(arrived, Arrived)
    assert bytes(arrived.content) == b"ok"


def test_a_message_within_a_message_is_refused() -> None:
    """Parts of two are never mixed."""
    inbound = Inbound()
    assert taken(inbound, lie(BEGINS, 1, 0, begin(10, content=b"half"))) is None
    with pytest.raises(WireError):
        taken(inbound, lie(BEGINS, 1, 1, begin(10, content=b"half")))
    assert inbound.held_bytes == 0


@given(st.binary(max_size=200), st.integers(0, 20))
def test_no_payload_does_more_than_be_refused(content: bytes, kind: int) -> None:
    """Nothing but a WireError comes of it."""
    inbound = Inbound()
    try:
        part = read_chunk(lie(kind, 1, 0, content)).part
        if part is not None:
            inbound.take(part, ROOM)
    except WireError:
        assert inbound.held_bytes == 0
