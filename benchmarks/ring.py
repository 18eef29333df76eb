"""Three processes in a ring that do nothing but `recv_into` and `sendall`: the floor of what three agents take.

What goes round is bytes; `bare_chain.py` has the same ring with a segment at each process.
"""

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

PROCESSES = 3
LENGTH_BYTES = 8
STOP = 0
END_S = 10.0

Ends = tuple[socket.socket, socket.socket]
"""What a process has in a ring: the end that it reads, and the one that it writes."""


class Ring:
    """A ring whose first process sends what it is asked for and times its way around."""

    def __init__(self, asked: Connection) -> None:
        self._asked = asked

    def round_ms(self, size_bytes: int) -> float:
        """How long so many bytes took over the three hops."""
        self._asked.send(size_bytes)
        taken_ms: float = self._asked.recv()
        return taken_ms


@contextmanager
def ring(most_bytes: int) -> Iterator[Ring]:
    """A ring for messages of so many bytes at most, until the end of `with`."""
    room_bytes = most_bytes + LENGTH_BYTES
    with in_a_ring([(lead, room_bytes), (pass_on, room_bytes), (pass_on, room_bytes)]) as asked:
        yield Ring(asked)
        asked.send(STOP)


@contextmanager
def in_a_ring(parts: Sequence[tuple[Callable[[Connection, Any], None], Any]]) -> Iterator[Connection]:
    """Start a process for each part, called with the pipe for `joined` and an argument; what asks the first one.

    They have to end when the first does, as the sockets between them are closed.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = [context.Pipe() for _ in parts]
        for (part, argument), (_, theirs) in zip(parts, pipes, strict=True):
            process = context.Process(target=part, args=(theirs, argument), daemon=True)
            process.start()
            stack.callback(process.join, END_S)
        addresses = [ours.recv() for ours, _ in pipes]
        for number, (ours, _) in enumerate(pipes):
            ours.send(addresses[(number + 1) % len(parts)])
        for ours, _ in pipes:
            ours.recv()
        yield pipes[0][0]


def joined(connection: Connection) -> Ends:
    """The two ends that a process has in the ring."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection.send(listener.getsockname())
        outward = socket.create_connection(connection.recv())
        inward, _ = listener.accept()
    for end in (inward, outward):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.send("joined")
    return inward, outward


def lead(connection: Connection, room_bytes: int) -> None:
    """The first process: for each number that comes, sends so many bytes around and answers with the time."""
    inward, outward = joined(connection)
    with inward, outward:
        message, back = bytearray(room_bytes), memoryview(bytearray(room_bytes))
        while (size_bytes := connection.recv()) != STOP:
            message[:LENGTH_BYTES] = size_bytes.to_bytes(LENGTH_BYTES, "little")
            started = time.perf_counter()
            outward.sendall(memoryview(message)[: LENGTH_BYTES + size_bytes])
            receive(inward, back)
            connection.send((time.perf_counter() - started) * 1e3)


def pass_on(connection: Connection, room_bytes: int) -> None:
    """The other two: whatever comes whole goes on."""
    inward, outward = joined(connection)
    with inward, outward:
        buffer = memoryview(bytearray(room_bytes))
        while filled := receive(inward, buffer):
            outward.sendall(buffer[:filled])


def receive(inward: socket.socket, buffer: memoryview) -> int:
    """Read one message, its length before it, into `buffer`; its bytes, 0 at the end."""
    filled, wanted = 0, LENGTH_BYTES
    while filled < wanted:
        count = inward.recv_into(buffer[filled:])
        if count == 0:
            return 0
        filled += count
        if filled >= LENGTH_BYTES:
            wanted = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "little")
    return filled
