"""What carries tensors best from process to process on loopback: ours, and what it was chosen over, beside raw sockets.

    python benchmarks/transports.py [--quick] [--json FILE] [--only WAY ...]

Three processes; a payload goes round the ring of them ("ring"), or to one that answers with 4 KB ("trip"). All ways are
there at once and measured in turns, so that they see the same machine; ratios are those of the medians of a turn to the
raw sockets' in it. MQTT goes through a real Mosquitto.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Literal

from figures import Figure, spread, write
from transport_ways import BareTls, End, Ours, RawSockets
from weighed_transports import Asyncio, Grpc, Mqtt, Zmq

from broker.mosquitto import PrivateMosquitto

SIZES: Final = {"4KB": (4_000, 40), "600KB": (600_000, 12), "3MB": (3_000_000, 5)}
"""Bytes, and exchanges in each turn."""
REPLY_BYTES: Final = 4_000
TURNS, QUICK_TURNS = 12, 4
PATIENCE_S: Final = 30.0
REFERENCE: Final = "raw sockets"
KINDS: Final = ("ring", "trip")
NODES: Final = ("near", "middle", "far")

Kind = Literal["ring", "trip"]


def ways(mosquitto_port: int) -> dict[str, Callable[[str], End]]:
    """How each is made in a process of this name."""
    return {
        REFERENCE: lambda _: RawSockets(),
        "ours, open": lambda name: Ours(name, encrypted=False),
        "bare TLS": lambda _: BareTls(),
        "ours, TLS": lambda name: Ours(name, encrypted=True),
        "pyzmq": lambda name: Zmq(name, encrypted=False),
        "pyzmq, CURVE": lambda name: Zmq(name, encrypted=True),
        "asyncio": lambda _: Asyncio(on_uvloop=False),
        "uvloop": lambda _: Asyncio(on_uvloop=True),
        "gRPC": lambda _: Grpc(),
        "MQTT": lambda name: Mqtt(name, mosquitto_port),
    }


def main() -> None:
    """Print a row for each size, kind and way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a third of the turns")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", nargs="+", choices=list(ways(0)), metavar="WAY", help="beside the raw sockets")
    arguments = parser.parse_args()
    turns = QUICK_TURNS if arguments.quick else TURNS
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mosquitto = stack.enter_context(PrivateMosquitto(directory))
        chosen = [way for way in ways(0) if not arguments.only or way in (REFERENCE, *arguments.only)]
        rings = {way: stack.enter_context(Ring(way, mosquitto.port)) for way in chosen}
        print(f"{'size':<6}{'kind':<6}{'way':<14}{'p50 ms':>9}{'p99 ms':>9}{'to raw':>8}")
        figures = []
        for size in SIZES:
            for kind in KINDS:
                for row in measured(rings, kind, size, turns):
                    print(f"{size:<6}{kind:<6}{row.way:<14}{row.p50_ms:>9.3f}{row.p99_ms:>9.3f}{row.ratio:>8.2f}")
                    figures += [] if row.way == REFERENCE else [row.figure(f"{kind} of {size}")]
    if arguments.json:
        write(arguments.json, figures)


@dataclass(frozen=True, slots=True)
class Row:
    """What one way took; `ratio` to the raw sockets, `noise_ms` from turn to turn."""

    way: str
    p50_ms: float
    p99_ms: float
    raw_ms: float
    ratio: float
    noise_ms: float | None

    def figure(self, what: str) -> Figure:
        """It, for the report."""
        return Figure(
            f"{what}, {self.way}", self.p50_ms, "ms", "lower", self.noise_ms, reference=self.raw_ms, ratio=self.ratio
        )


def measured(rings: dict[str, "Ring"], kind: Kind, size: str, turns: int) -> list[Row]:
    """All ways, in turns; the first turn warms up."""
    size_bytes, exchanges = SIZES[size]
    payload = memoryview(bytearray(size_bytes))
    payload[0] = KINDS.index(kind)
    taken_ms: dict[str, list[list[float]]] = {way: [] for way in rings}
    for _ in range(turns + 1):
        for way, ring in rings.items():
            taken_ms[way].append([ring.exchange(payload) for _ in range(exchanges)])
    medians = {way: [statistics.median(turn) for turn in turns_ms[1:]] for way, turns_ms in taken_ms.items()}
    rows = []
    for way, turns_ms in taken_ms.items():
        every = [each for turn in turns_ms[1:] for each in turn]
        ratio = statistics.median(own / raw for own, raw in zip(medians[way], medians[REFERENCE], strict=True))
        p50_ms, raw_ms = statistics.median(medians[way]), statistics.median(medians[REFERENCE])
        p99_ms = statistics.quantiles(every, n=100)[98]
        rows.append(Row(way, p50_ms, p99_ms, raw_ms, ratio, spread(medians[way])))
    return rows


class Ring:
    """Three processes that a payload goes round, or to the second and back."""

    def __init__(self, way: str, mosquitto_port: int) -> None:
        """Start the other two, and connect all."""
        spawning = multiprocessing.get_context("spawn")
        pipes = [spawning.Pipe() for _ in NODES[1:]]
        self._ends = [near for near, _ in pipes]
        self._processes = [
            spawning.Process(target=serve, args=(way, name, mosquitto_port, far), daemon=True)
            for name, (_, far) in zip(NODES[1:], pipes, strict=True)
        ]
        for process in self._processes:
            process.start()
        self._came = threading.Event()
        self._came_at = 0.0
        self._end = ways(mosquitto_port)[way](NODES[0])
        addresses = [self._end.listen(self._take), *(end.recv() for end in self._ends)]
        for end in self._ends:
            end.send(addresses)
        connect(self._end, NODES[0], addresses)
        for end in self._ends:
            end.recv()

    def exchange(self, payload: memoryview) -> float:
        """How long it took, in ms, from the send to the last byte's arrival here."""
        self._came.clear()
        begun = time.perf_counter()
        self._end.send(NODES[1], payload)
        if not self._came.wait(PATIENCE_S):
            raise TimeoutError("a payload got lost")
        return (self._came_at - begun) * 1e3

    def __enter__(self) -> "Ring":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def _take(self, payload: memoryview) -> None:  # noqa: ARG002  # every end's signature
        self._came_at = time.perf_counter()
        self._came.set()


def connect(end: End, name: str, addresses: list[object]) -> None:
    """To each other one."""
    for peer, address in zip(NODES, addresses, strict=True):
        if peer != name:
            end.connect(peer, address)


def serve(way: str, name: str, mosquitto_port: int, connection: Connection) -> None:
    """One of the other processes: passes payloads on, and answers those that ask for it."""
    end = ways(mosquitto_port)[way](name)
    reply = memoryview(bytearray(REPLY_BYTES))
    onward = NODES[(NODES.index(name) + 1) % len(NODES)]

    def pass_on(payload: memoryview) -> None:
        if payload[0] == KINDS.index("trip"):
            end.send(NODES[0], reply)
        else:
            end.send(onward, payload)

    connection.send(end.listen(pass_on))
    connect(end, name, connection.recv())
    connection.send(None)
    threading.Event().wait()


if __name__ == "__main__":
    main()
