"""Nodes with open tensor transports on the loopback, and messages that are known by their number."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from received import Received

from edge_agent.transport import Transport
from edge_agent.wire import Route, TensorsMessage

__all__ = ["start"]


def route(number: int, hop: int = 0) -> Route:
    """The route of the request with this number."""
    return Route("faces", 1, number.to_bytes(16, "little"), hop)


def tensors(number: int, size: int = 1_000) -> TensorsMessage:
    """A message of one float tensor that holds its number."""
    return TensorsMessage(route(number), (np.full(size, number, np.float32),))


class Node:
    """A transport and what it has received."""

    def __init__(self, name: str, listen: str = "tcp://127.0.0.1:0") -> None:
        """Listen on a free port of the loopback."""
        self.received, self.observed = Received(), Received()
        self.transport = Transport(name, listen)
        self.transport.start(self.received, self.observed)


@pytest.fixture
def start() -> Iterator[Callable[..., Node]]:
    """Starts nodes, and closes them in the end."""
    with contextlib.ExitStack() as running:

        def start_node(name: str, listen: str = "tcp://127.0.0.1:0") -> Node:
            node = Node(name, listen)
            running.callback(node.transport.close)
            return node

        yield start_node
