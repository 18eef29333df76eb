"""The bounds on a transport's connections, and what one of them owes to whoever sends on it."""

import contextlib
import select
import socket
import time
import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from eventually import eventually

from edge_agent.connection import MAX_WAITING_MESSAGES, Connection, Phase
from edge_agent.connections import HANDSHAKE_S, MAX_STRANGERS, Connections
from edge_agent.errors import WireError
from edge_agent.stream import MessageReader
from edge_agent.wire import Route, TensorsMessage, encode
from edge_agent.wire_tensors import Tensor, TensorSpec


class Pair:
    """Both ends of a TCP connection on loopback, the near one a transport's."""

    def __init__(self, poll: "select.epoll") -> None:
        """Connect them."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
        near.setblocking(False)
        self.far.settimeout(20)
        self.near = Connection(near, poll, peer=None)
        self.near.watch()

    @property
    def is_cut(self) -> bool:
        """Whether the far end reads the end of the connection."""
        self.far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return self.far.recv(1) == b""
        return False

    def holds(self, size_bytes: int) -> "Pair":
        """A message of this size is under way on it."""
        self.near.reader = MessageReader(None, lambda _: None)
        self.near.reader.under_way_bytes = size_bytes
        return self


@pytest.fixture
def poll() -> Iterator["select.epoll"]:
    """What waits for all of them."""
    with select.epoll() as poll:
        yield poll


@pytest.fixture
def pairs(poll: "select.epoll") -> Iterator[list[Pair]]:
    """A few connections."""
    made = [Pair(poll) for _ in range(3)]
    yield made
    for pair in made:
        pair.near.cut()
        pair.far.close()


def test_the_silent_stranger_of_longest_standing_makes_place(
    monkeypatch: pytest.MonkeyPatch, pairs: list[Pair]
) -> None:
    """Whoever has spoken stays, and so do the connections that this node made itself."""
    monkeypatch.setattr("edge_agent.connections.MAX_STRANGERS", 1)
    assert MAX_STRANGERS > 1
    connections = Connections()
    speaker, stranger, newcomer = pairs
    connections.opened(speaker.near)
    speaker.near.speaker = "pi"
    connections.opened(stranger.near)
    connections.opened(newcomer.near)
    assert [pair.is_cut for pair in pairs] == [False, True, False]
    assert connections.cut == 1


def test_a_dismissed_speaker_is_cut_and_no_other(pairs: list[Pair]) -> None:
    """Every connection on which it called, not those on which it was called."""
    connections = Connections()
    for pair, speaker in zip(pairs, ("pi", None, "fog"), strict=True):
        connections.opened(pair.near)
        pair.near.speaker = speaker
    pairs[1].near.peer = "pi"
    connections.dismiss("pi")
    assert [pair.is_cut for pair in pairs] == [True, False, False]


def test_the_largest_message_makes_place_for_others(monkeypatch: pytest.MonkeyPatch, pairs: list[Pair]) -> None:
    """Even if it is the one that has just begun."""
    monkeypatch.setattr("edge_agent.connections.MAX_UNDER_WAY_BYTES", 1_000)
    connections = Connections()
    for pair, size_bytes in zip(pairs, (300, 600, 0), strict=True):
        connections.opened(pair.holds(size_bytes).near)
    with pytest.raises(WireError, match="a message of 700 bytes beside others"):
        connections.reserve(pairs[2].near, 700)
    assert [pair.is_cut for pair in pairs] == [False, False, True]
    connections.reserve(pairs[0].near, 500)
    assert [pair.is_cut for pair in pairs] == [False, True, True]


def test_who_takes_too_long_to_say_who_it_is_is_overdue(pairs: list[Pair]) -> None:
    """Counted from the last step of the opening; an open connection may be silent for as long as it likes."""
    connections = Connections()
    for pair, phase in zip(pairs, (Phase.SECURING, Phase.GREETING, Phase.OPEN), strict=True):
        connections.opened(pair.near)
        pair.near.begin(phase)
    now_s = time.monotonic()
    assert connections.overdue(now_s) == []
    assert connections.overdue(now_s + HANDSHAKE_S + 1) == [pairs[0].near, pairs[1].near]


def test_what_the_kernel_does_not_take_is_copied_and_sent_in_order(pairs: list[Pair], poll: "select.epoll") -> None:
    """The frames may change at once; the poll tells when there is room."""
    near, far = pairs[0].near, pairs[0].far
    frames = [bytearray([number]) * 6_000_000 for number in range(3)]
    for frame in frames:
        assert near.send((b"head", memoryview(frame)))
        frame[:] = b"x" * len(frame)
    received = bytearray()
    while len(received) < 3 * 6_000_004:
        for descriptor, events in poll.poll(0):
            if descriptor == near.descriptor and events & select.EPOLLOUT:
                near.flush()
                assert near.claim()
                near.release()
        received += far.recv(1_000_000)
    assert received == b"".join(b"head" + bytes([number]) * 6_000_000 for number in range(3))
    assert near.sent_bytes == len(received)


def test_what_was_not_begun_is_given_back(pairs: list[Pair]) -> None:
    """When the connection ends, so that it can be sent on the next one; what was begun is lost."""
    near = pairs[0].near
    near.send((bytes(50_000_000),))
    near.send((b"second", b"message"))
    near.send((b"third",))
    assert [bytes(message) for message in near.cut()] == [b"secondmessage", b"third"]
    assert not near.send((b"fourth",))


def test_what_waits_on_one_connection_is_bounded(pairs: list[Pair]) -> None:
    """In number; what is too much is dropped and counted."""
    near = pairs[0].near
    near.send((bytes(50_000_000),))
    assert all(near.send((b"reply",)) for _ in range(MAX_WAITING_MESSAGES - 1))
    assert not near.send((b"reply",))
    assert near.dropped == 1


def test_a_connection_that_is_read_is_closed_by_its_reader(pairs: list[Pair]) -> None:
    """Until then its number belongs to no other."""
    near = pairs[0].near
    assert near.claim()
    assert not near.claim()
    near.cut()
    assert near.channel.socket.fileno() == near.descriptor
    near.release()
    assert near.channel.socket.fileno() < 0
    assert not near.claim()


def test_a_connection_that_is_being_opened_is_nobody_elses(poll: "select.epoll") -> None:
    """Of its number the poll may still tell what another connection had; one that ends meanwhile is closed then."""
    near, far = socket.socketpair()
    with near, far:
        connection = Connection(near, poll, peer=None)
        assert not connection.claim()
        connection.cut()
        assert near.fileno() == connection.descriptor
        connection.watch()
        assert near.fileno() < 0
        assert not connection.claim()


def test_what_was_coming_in_lets_go_of_its_memory(pairs: list[Pair]) -> None:
    """As soon as the connection ends: it may be a segment's, which is lent to nobody else meanwhile."""
    pair = pairs[0]
    place = np.zeros(50_000, np.float32)
    held = weakref.ref(place)
    given = [place]

    class Memory:
        def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
            return (given.pop(),)

    del place
    pair.near.reader = MessageReader(Memory(), lambda _: None)
    header, content = encode(TensorsMessage(Route("faces", 1, bytes(16), 0), (np.zeros(50_000, np.float32),)))
    pair.far.sendall(bytes(header) + bytes(content[:1_000]))
    assert pair.near.claim()
    assert eventually(lambda: pair.near.reader.take(pair.near.channel.fill) is None and not given)
    pair.near.cut()
    assert held() is not None
    pair.near.release()
    assert held() is None
