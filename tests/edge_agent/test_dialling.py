"""Peers that are called: whenever they come, wherever they are, and however often they go."""

import logging
import select
import socket
from collections.abc import Callable

import pytest
from eventually import eventually
from open_nodes_fixture import Node, route, tensors

from edge_agent.connections import Connections
from edge_agent.dialling import Dialler

PATIENCE_S = 30


def test_a_peer_that_restarts_is_found_again(start: Callable[..., Node]) -> None:
    """Another process of the same name on the same port gets what is sent after its start."""
    edge, fog = start("edge"), start("fog")
    endpoint = fog.transport.endpoint
    edge.transport.connect("fog", endpoint)
    edge.transport.send("fog", tensors(1))
    fog.received.tensors.get(timeout=PATIENCE_S)
    edge.received.deliveries.get(timeout=PATIENCE_S)
    fog.transport.close()
    restarted = start("fog", endpoint)
    edge.transport.send("fog", tensors(2))
    message, _ = restarted.received.tensors.get(timeout=PATIENCE_S)
    assert message.route == route(2)
    assert edge.received.deliveries.get(timeout=PATIENCE_S).route == route(2)


def test_a_peer_may_come_later(start: Callable[..., Node]) -> None:
    """What is sent before the peer listens arrives once it does."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    edge = start("edge")
    edge.transport.connect("fog", f"tcp://127.0.0.1:{port}")
    edge.transport.send("fog", tensors(7))
    fog = start("fog", f"tcp://127.0.0.1:{port}")
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == route(7)


def test_a_peer_that_moved_is_reached_at_its_new_endpoint(start: Callable[..., Node]) -> None:
    """Connecting again with another endpoint replaces the connection; with the same one it keeps it."""
    edge, old, new = start("edge"), start("fog"), start("fog")
    edge.transport.connect("fog", old.transport.endpoint)
    edge.transport.connect("fog", new.transport.endpoint)
    edge.transport.connect("fog", new.transport.endpoint)
    edge.transport.send("fog", tensors(3))
    assert new.received.tensors.get(timeout=PATIENCE_S)[0].route == route(3)
    assert old.received.tensors.empty()


def test_a_machine_without_descriptors_left_is_survived(
    start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer for which there is none is warned about once; the others are served, and it is too once there is room."""
    edge, fog, late = start("edge"), start("fog"), start("late")
    edge.transport.connect("fog", fog.transport.endpoint)
    edge.transport.send("fog", tensors(0))
    fog.received.tensors.get(timeout=PATIENCE_S)

    def exhausted(*_: object) -> None:
        tried.append(True)
        raise OSError(24, "Too many open files")

    tried: list[bool] = []
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr("edge_agent.dialling.new_socket", exhausted)
        edge.transport.connect("late", late.transport.endpoint)
        assert eventually(lambda: len(tried) > 2)
    assert caplog.text.count(f"cannot connect to late at {late.transport.endpoint}: Too many open files") == 1
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == route(1)
    edge.transport.send("late", tensors(2))
    assert late.received.tensors.get(timeout=PATIENCE_S)[0].route == route(2)


def test_a_peer_is_found_by_its_name(start: Callable[..., Node]) -> None:
    """Whichever of the name's addresses it listens on."""
    edge, fog = start("edge"), start("fog")
    edge.transport.connect("fog", fog.transport.endpoint.replace("127.0.0.1", "localhost"))
    edge.transport.send("fog", tensors(1))
    assert fog.received.tensors.get(timeout=PATIENCE_S)[0].route == route(1)


def test_nobody_is_sent_to_who_is_not_called() -> None:
    """What was for them is counted as dropped, and nobody waits for it."""
    with select.epoll() as poll:
        dialler = Dialler(poll, Connections(), lambda _: None)
        dialler.send("fog", (b"tensors",))
        assert dialler.dropped == 1
        assert not dialler.is_ready("fog")
        assert dialler.withdraw("fog") == []


def test_what_waits_for_a_peer_can_be_taken_back() -> None:
    """In order, to go another way; once nobody is called any more, nothing waits."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    due: list[float] = []
    connections = Connections()
    with select.epoll() as poll:
        dialler = Dialler(poll, connections, due.append)
        try:
            dialler.open("fog", f"tcp://127.0.0.1:{port}")
            dialler.send("fog", (b"first ", b"message"))
            dialler.send("fog", (b"second",))
            assert [bytes(frame) for frame in dialler.withdraw("fog")] == [b"first message", b"second"]
            assert dialler.withdraw("fog") == []
            dialler.close()
            dialler.send("fog", (b"third",))
            assert dialler.dropped == 1
        finally:
            connections.close()
