"""The bounds on what a transport's connections may hold, and that none of them is mistaken for another."""

import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from edge_agent.connections import MAX_STRANGERS, Connections
from edge_agent.tcp import TcpConnection


class Pair:
    """Both ends of a TCP connection on loopback."""

    def __init__(self) -> None:
        """Connect them."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.far = socket.create_connection(listener.getsockname())
            self.near, _ = listener.accept()
        self.near.settimeout(20)

    @property
    def is_cut(self) -> bool:
        """Whether the near end reads the end of the connection, though the far one is open."""
        self.near.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return self.near.recv(1) == b""
        return False

    def close(self) -> None:
        """Close both ends."""
        self.near.close()
        self.far.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """A few connections."""
    made = [Pair() for _ in range(3)]
    yield made
    for pair in made:
        pair.close()


def test_the_silent_stranger_of_longest_standing_makes_place(
    monkeypatch: pytest.MonkeyPatch, pairs: list[Pair]
) -> None:
    """Whoever has spoken stays, and so do the connections that this node made itself."""
    monkeypatch.setattr("edge_agent.connections.MAX_STRANGERS", 1)
    assert MAX_STRANGERS > 1
    connections = Connections()
    speaker, stranger, newcomer = pairs
    connections.opened(speaker.near.fileno(), is_called=False)
    connections.spoke(speaker.near.fileno(), "pi")
    connections.opened(stranger.near.fileno(), is_called=False)
    connections.opened(newcomer.near.fileno(), is_called=False)
    assert [pair.is_cut for pair in pairs] == [False, True, False]
    assert connections.cut == 1


def test_a_dismissed_speaker_is_cut_and_no_other(pairs: list[Pair]) -> None:
    """Every connection on which it called, not those on which it was called."""
    connections = Connections()
    for pair, speaker in zip(pairs, ("pi", "pi", "fog"), strict=True):
        connections.opened(pair.near.fileno(), is_called=pair is pairs[1])
        connections.spoke(pair.near.fileno(), speaker)
    connections.dismiss("pi")
    assert [pair.is_cut for pair in pairs] == [True, False, False]


def test_what_is_unread_for_two_looks_is_cut(monkeypatch: pytest.MonkeyPatch, pairs: list[Pair]) -> None:
    """Once may be a pause of this process; a whole message that came meanwhile starts the count anew."""
    monkeypatch.setattr("edge_agent.connections.MAX_UNREAD_BYTES", 1_000)
    connections = Connections()
    for pair in pairs[:2]:
        connections.opened(pair.near.fileno(), is_called=False)
        pair.far.sendall(bytes(2_000))
        pair.near.recv(2_000)
    connections.look()
    assert connections.cut == 0
    connections.took(pairs[1].near.fileno())
    connections.look()
    assert [pair.is_cut for pair in pairs] == [True, False, False]


def test_a_number_that_was_given_away_again_is_left_alone(pairs: list[Pair]) -> None:
    """A connection that ended unnoticed is not confused with the one that has its descriptor now."""
    old, new, _ = pairs
    tcp = TcpConnection(old.near.fileno())
    descriptor = old.near.fileno()
    old.near.close()
    replacement = socket.socket(fileno=new.near.detach())
    try:
        if replacement.fileno() != descriptor:
            os.dup2(replacement.fileno(), descriptor)
        tcp.cut()
        tcp.pace(1_000_000)
        assert tcp.received_bytes() is None
        new.far.sendall(b"still here")
        assert replacement.recv(10) == b"still here"
    finally:
        if replacement.fileno() != descriptor:
            os.close(descriptor)
        replacement.close()


def test_what_is_no_connection_is_no_fault(tmp_path: object) -> None:
    """A descriptor that is closed, or a file's."""
    tcp = TcpConnection(10_000)
    tcp.cut()
    tcp.pace(None)
    assert tcp.received_bytes() is None
