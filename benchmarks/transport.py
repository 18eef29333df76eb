"""Round trips of the tensor transport, open and with CURVE, against a bare socket: the payload out, 4 KB back.

    python benchmarks/transport.py

Between two processes on loopback, measured in turns, so that all see the same machine; ratios are of the medians.
"""

import multiprocessing
import queue
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from edge_agent.deliveries import Delivery
from edge_agent.keys import NodeKey, make_key
from edge_agent.transport import Transport
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord

ROUND_TRIPS = {4_000: 400, 600_000: 200, 3_000_000: 60}
REPLY_BYTES = 4_096
SLICES = 20
ROUTE = Route("benchmark", 1, bytes(16), 0)
LOOPBACK = "tcp://127.0.0.1:0"
MANNERS = ("open", "CURVE")


class Answering:
    """Hands every message of tensors to `on_message`, and ignores the rest."""

    def __init__(self, on_message: Callable[[TensorsMessage], None]) -> None:
        """Call `on_message` on the transport's thread."""
        self._on_message = on_message

    def on_tensors(self, message: TensorsMessage, src: str) -> None:  # noqa: ARG002  # the protocol's signature
        """Tensors have arrived."""
        self._on_message(message)

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """Not sent here."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """Not sent here."""

    def on_delivered(self, delivery: Delivery) -> None:
        """Not timed here."""


def key_of(manner: str) -> NodeKey | None:
    """A new key, or none where tensors run open."""
    return make_key() if manner == "CURVE" else None


def public(key: NodeKey | None) -> str | None:
    """What the other end has to know of a key."""
    return key.public if key else None


def serve(connection: Connection) -> None:
    """The far end, a process of its own: answers on both transports and on a bare socket."""
    reply = TensorsMessage(ROUTE, (np.zeros(REPLY_BYTES, np.int8),))
    with ExitStack() as stack:
        transports = {}
        for manner in MANNERS:
            key = key_of(manner)
            transport = stack.enter_context(Transport("far", LOOPBACK, key))
            transport.start(Answering(lambda _, transport=transport: transport.send("near", reply)))  # type: ignore[misc]  # mypy cannot type a default in a lambda
            transports[manner] = transport
            connection.send((transport.endpoint, public(key)))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        connection.send(listener.getsockname())
        for manner in MANNERS:
            transports[manner].connect("near", *connection.recv())
        bare, _ = listener.accept()
        with bare:
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buffer = bytearray(max(ROUND_TRIPS))
            while head := bare.recv(8):
                receive_into(bare, memoryview(buffer)[: int.from_bytes(head, "little")])
                bare.sendall(bytes(REPLY_BYTES))


def receive_into(bare: socket.socket, buffer: memoryview) -> None:
    """Fill `buffer` from the socket."""
    filled = 0
    while filled < len(buffer):
        filled += bare.recv_into(buffer[filled:])


def timed_ms(round_trip: Callable[[], None], times: int) -> list[float]:
    """How long each of so many round trips took."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        round_trip()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def main() -> None:
    """Print a row for each size and manner."""
    near_end, far_end = multiprocessing.Pipe()
    far = multiprocessing.get_context("spawn").Process(target=serve, args=(far_end,), daemon=True)
    far.start()
    answers: queue.SimpleQueue[TensorsMessage] = queue.SimpleQueue()
    with ExitStack() as stack:
        peers = [near_end.recv() for _ in MANNERS]
        bare = stack.enter_context(socket.create_connection(near_end.recv()))
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transports = {}
        for manner, peer in zip(MANNERS, peers, strict=True):
            key = key_of(manner)
            transports[manner] = stack.enter_context(Transport("near", LOOPBACK, key))
            transports[manner].start(Answering(answers.put))
            transports[manner].connect("far", *peer)
            near_end.send((transports[manner].endpoint, public(key)))
        back = bytearray(REPLY_BYTES)

        def over_transport(transport: Transport, values: npt.NDArray[np.int8]) -> None:
            transport.send("far", TensorsMessage(ROUTE, (values,)))
            answers.get(timeout=30)

        def over_socket(values: npt.NDArray[np.int8]) -> None:
            bare.sendall(len(values).to_bytes(8, "little"))
            bare.sendall(values.data)
            receive_into(bare, memoryview(back))

        print(f"{'bytes':>10} {'way':<7} {'p50 ms':>8} {'p99 ms':>8} {'to socket':>10} {'to open':>8}")
        for size, times in ROUND_TRIPS.items():
            values = np.random.default_rng(1).integers(-128, 127, size, np.int8)
            ways: dict[str, Callable[[], None]] = {"socket": lambda: over_socket(values)}  # noqa: B023  # called at once
            for manner, transport in transports.items():
                ways[manner] = lambda transport=transport: over_transport(transport, values)  # type: ignore[misc]  # noqa: B023  # as above
            taken_ms: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(SLICES + 1):
                for way, round_trip in ways.items():
                    slice_ms = timed_ms(round_trip, times // SLICES)
                    if turn > 0:  # the first turn warms up
                        taken_ms[way] += slice_ms
            p50_ms = {way: statistics.median(each) for way, each in taken_ms.items()}
            for way, each in taken_ms.items():
                p99_ms = statistics.quantiles(each, n=100)[98]
                ratios = f"{p50_ms[way] / p50_ms['socket']:>10.1f} {p50_ms[way] / p50_ms['open']:>8.2f}"
                print(f"{size:>10} {way:<7} {p50_ms[way]:>8.3f} {p99_ms:>8.3f} {ratios}")
    far.join(10)


if __name__ == "__main__":
    main()
