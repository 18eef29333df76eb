"""Round trips of the tensor transport against a bare socket: the payload out, 4 KB back, between two processes.

    python benchmarks/transport.py

Both are measured in turns, so that both see the same machine; the ratio is that of the medians.
"""

import multiprocessing
import queue
import socket
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import numpy.typing as npt

from edge_agent.deliveries import Delivery
from edge_agent.transport import Transport
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord

ROUND_TRIPS = {4_000: 400, 600_000: 200, 3_000_000: 60}
REPLY_BYTES = 4_096
SLICES = 20
ROUTE = Route("benchmark", 1, bytes(16), 0)


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


def serve(connection: Connection) -> None:
    """The far end, a process of its own: answers on a transport and on a bare socket."""
    reply = TensorsMessage(ROUTE, (np.zeros(REPLY_BYTES, np.int8),))
    with Transport("far", "tcp://127.0.0.1:0") as transport, socket.create_server(("127.0.0.1", 0)) as listener:
        transport.start(Answering(lambda _: transport.send("near", reply)))
        connection.send((transport.endpoint, listener.getsockname()))
        transport.connect("near", connection.recv())
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
    """Print a row for each size."""
    near_end, far_end = multiprocessing.Pipe()
    far = multiprocessing.get_context("spawn").Process(target=serve, args=(far_end,), daemon=True)
    far.start()
    answers: queue.SimpleQueue[TensorsMessage] = queue.SimpleQueue()
    endpoint, address = near_end.recv()
    with Transport("near", "tcp://127.0.0.1:0") as transport, socket.create_connection(address) as bare:
        bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.start(Answering(answers.put))
        transport.connect("far", endpoint)
        near_end.send(transport.endpoint)
        back = bytearray(REPLY_BYTES)

        def over_transport(values: npt.NDArray[np.int8]) -> None:
            transport.send("far", TensorsMessage(ROUTE, (values,)))
            answers.get(timeout=30)

        def over_socket(values: npt.NDArray[np.int8]) -> None:
            bare.sendall(len(values).to_bytes(8, "little"))
            bare.sendall(values.data)
            receive_into(bare, memoryview(back))

        print(f"{'bytes':>10} {'socket p50 ms':>14} {'transport p50 ms':>17} {'p99 ms':>8} {'ratio':>6}")
        for size, times in ROUND_TRIPS.items():
            values = np.random.default_rng(1).integers(-128, 127, size, np.int8)
            by_socket: list[float] = []
            by_transport: list[float] = []
            for turn in range(SLICES + 1):
                socket_ms = timed_ms(lambda: over_socket(values), times // SLICES)  # noqa: B023  # called at once
                transport_ms = timed_ms(lambda: over_transport(values), times // SLICES)  # noqa: B023  # called at once
                if turn > 0:  # the first turn warms up
                    by_socket += socket_ms
                    by_transport += transport_ms
            p50_socket, p50 = statistics.median(by_socket), statistics.median(by_transport)
            p99 = statistics.quantiles(by_transport, n=100)[98]
            print(f"{size:>10} {p50_socket:>14.3f} {p50:>17.3f} {p99:>8.3f} {p50 / p50_socket:>6.1f}")
    far.join(10)


if __name__ == "__main__":
    main()
