"""A channel under TLS: records are taken in by the callful, and leave in full segments."""

import base64
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from edge_agent import tcp
from edge_agent.admission import Admission
from edge_agent.channels import SecureChannel
from edge_agent.handshakes import Handshakes
from edge_agent.keys import NodeKey, make_key

PATIENCE_S = 30
RECORD_BYTES = 16_384
SENT_SEGMENTS = struct.Struct("=156xI")  # tcpi_data_segs_out

Pair = tuple[SecureChannel, SecureChannel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends that have shaken hands; neither waits."""
    own, other = make_key(), make_key()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        calling = socket.create_connection(listener.getsockname(), PATIENCE_S)
        called, _ = listener.accept()
    ends = secured(calling, own, other, is_called=False), secured(called, other, own, is_called=True)
    while [end.handshake() for end in ends] != ["done", "done"]:
        pass
    yield ends
    for end in ends:
        end.socket.close()


def secured(connected: socket.socket, own: NodeKey, other: NodeKey, *, is_called: bool) -> SecureChannel:
    """One end, which trusts the other."""
    admission = Admission(is_open=False)
    admission.admit("other", base64.b64decode(other.public))
    tcp.set_up(connected)
    context = Handshakes(own, admission).context(is_called=is_called)
    return SecureChannel(context.wrap_socket(connected, server_side=is_called, do_handshake_on_connect=False))


def received(channel: SecureChannel, count: int) -> bytes:
    """So many bytes, in as many calls as it takes."""
    memory = bytearray(count)
    at = 0
    while at < count:
        assert select.select([channel.socket], [], [], PATIENCE_S)[0]
        at += channel.fill(memoryview(memory)[at:]) or 0
    return bytes(memory)


def await_bytes(channel: SecureChannel, count: int) -> None:
    """Until so many have come, encrypted; none is taken."""
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
    assert select.select([channel.socket], [], [], PATIENCE_S)[0]


def test_one_call_takes_in_all_records_that_are_there(pair: Pair) -> None:
    """As many as the memory holds; of one that it holds in part, the rest is pending."""
    sender, receiver = pair
    content = bytes(range(250)) * 200
    for room_bytes in (len(content), 40_000):
        assert sender.send((content,)) == len(content)
        await_bytes(receiver, len(content))
        memory = memoryview(bytearray(room_bytes))
        assert receiver.fill(memory) == room_bytes
        assert memory == content[:room_bytes]
        assert receiver.has_pending == (room_bytes < len(content))


def test_a_call_ends_with_what_was_sent_at_once(pair: Pair) -> None:
    """So that a small message costs no look for another one: the poll tells of that."""
    sender, receiver = pair
    for size_bytes in (300, RECORD_BYTES + 100, 500):
        sender.send((bytes(size_bytes),))
    await_bytes(receiver, RECORD_BYTES + 900)
    memory = memoryview(bytearray(100_000))
    assert [receiver.fill(memory) for _ in range(4)] == [300, RECORD_BYTES + 100, 500, None]


@pytest.mark.parametrize("how", [socket.SHUT_WR, None])
def test_what_came_before_the_end_is_taken_in(pair: Pair, how: int | None) -> None:
    """Full records too, behind which more is looked for; then the end is told."""
    sender, receiver = pair
    sender.send((bytes(2 * RECORD_BYTES),))
    if how is None:
        sender.socket.close()
    else:
        socket.socket.shutdown(sender.socket, how)
    await_bytes(receiver, 2 * RECORD_BYTES)
    assert receiver.fill(memoryview(bytearray(100_000))) == 2 * RECORD_BYTES
    with pytest.raises(OSError):
        receiver.fill(memoryview(bytearray(100_000)))


def test_the_records_of_a_large_message_leave_in_full_segments(pair: Pair) -> None:
    """Not each in one of its own; and nothing is held back in the end."""
    sender, receiver = pair
    header, content = b"h" * 150, bytes(range(256)) * 1_000
    before = segments(sender)
    assert sender.send((header, content)) == len(header) + len(content)
    assert received(receiver, len(header) + len(content)) == header + content
    assert segments(sender) - before < len(content) / RECORD_BYTES
    assert sender.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK) == 0


def segments(channel: SecureChannel) -> int:
    """How many with content it has sent."""
    (count,) = SENT_SEGMENTS.unpack(channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SENT_SEGMENTS.size))
    return int(count)
