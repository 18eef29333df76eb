"""What tensors cost through the broker, beside the same straight from agent to agent.

    python benchmarks/fallback.py [--quick] [--json FILE]

Two processes on loopback with a real Mosquitto between, open and unshaped: the worst case for the broker, whose cost is
hidden by any thin link. Both ways take turns, one tensor each; a time is that from the send to the acknowledgement, as
the sender's line measures it and plans reckon with it. The rate is that of 64 tensors of 600 KB sent at once.
"""

import argparse
import multiprocessing
import queue
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from figures import Figure, repeated, spread, write
from taking import Taking

from broker.mosquitto import PrivateMosquitto, free_port
from broker.sign_in import BrokerSettings
from edge_agent.deliveries import Delivery
from edge_agent.mqtt_way import MqttWay
from edge_agent.transport import Transport
from edge_agent.wire import Route, TensorsMessage

SIZES = {"4 KB": 4_096, "600 KB": 602_112, "3 MB": 3_000_000}
STREAMED_BYTES, STREAMED = SIZES["600 KB"], 64
WAIT_S = 60.0
PARTS = 5
"""The noise of a median is seen from those of so many parts of its times."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A transport that reaches its receiver by one way."""

    transport: Transport
    delivered: queue.SimpleQueue[Delivery]

    def sent_ms(self, number: int, tensor: np.ndarray) -> float:
        """How long one tensor took."""
        self.transport.send("receiver", message(number, tensor))
        return self.delivered.get(timeout=WAIT_S).elapsed_ms

    def streamed_mb_per_s(self, tensor: np.ndarray) -> float:
        """The rate of many that are sent at once."""
        started = time.perf_counter()
        for number in range(STREAMED):
            self.transport.send("receiver", message(number, tensor))
        for _ in range(STREAMED):
            self.delivered.get(timeout=WAIT_S)
        return STREAMED * tensor.nbytes / 1e6 / (time.perf_counter() - started)


def message(number: int, tensor: np.ndarray) -> TensorsMessage:
    """A hop of the request with this number."""
    return TensorsMessage(Route("photos", 1, number.to_bytes(16, "little"), 1), (tensor,))


def main() -> None:
    """Measure, print a row for each size, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the tensors")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    tensors, streams = (40, 2) if arguments.quick else (200, 5)
    figures: list[Figure] = []
    with joined() as (direct, by_mqtt):
        print(f"{'':>8} {'MQTT ms p50':>12} {'direct ms p50':>14} {'ratio':>6}")
        for name, size_bytes in SIZES.items():
            found = times(name, size_bytes, tensors, direct, by_mqtt)
            figures.append(found)
            print(f"{name:>8} {found.value:12.2f} {found.reference:14.2f} {found.ratio:6.1f}", flush=True)
        tensor = np.zeros(STREAMED_BYTES, np.uint8)
        pairs = [tuple(way.streamed_mb_per_s(tensor) for way in (by_mqtt, direct)) for _ in range(streams)]
        rates, references = zip(*pairs, strict=True)
        reference = statistics.median(references)
        rate = repeated("streamed at 600 KB by MQTT", rates, "MB/s", "higher", reference=reference)
        figures.append(rate)
        print(f"streamed at 600 KB: {rate.value:.0f} MB/s by MQTT, {reference:.0f} directly")
    if arguments.json:
        write(arguments.json, figures)


def times(name: str, size_bytes: int, tensors: int, direct: Sender, by_mqtt: Sender) -> Figure:
    """Both ways in turns, after a few that do not count."""
    tensor = np.zeros(size_bytes, np.uint8)
    direct_ms: list[float] = []
    mqtt_ms: list[float] = []
    for number in range(-5, tensors):
        for sender, taken in ((direct, direct_ms), (by_mqtt, mqtt_ms)):
            took_ms = sender.sent_ms(number + 5, tensor)
            if number >= 0:
                taken.append(took_ms)
    value, reference = statistics.median(mqtt_ms), statistics.median(direct_ms)
    return Figure(
        f"{name} by MQTT",
        value,
        "ms",
        "lower",
        noise=spread([statistics.median(part) for part in parts(mqtt_ms)]),
        reference=reference,
        ratio=value / reference,
    )


def parts(values: Sequence[float]) -> list[Sequence[float]]:
    """So many stretches of the values as they came."""
    length = len(values) // PARTS
    return [values[start : start + length] for start in range(0, PARTS * length, length)]


@contextmanager
def joined() -> Iterator[tuple[Sender, Sender]]:
    """A sender by each way; their receivers are in another process."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="splitrail-fallback-")))
        broker = stack.enter_context(PrivateMosquitto(directory)).settings
        ours, theirs = context.Pipe()
        process = context.Process(target=receive, args=(theirs, broker), daemon=True)
        process.start()
        stack.callback(process.join, 10)
        stack.callback(ours.send, "stop")
        endpoint: str = ours.recv()
        senders = []
        for site, reached in (("direct", endpoint), ("mqtt", f"tcp://127.0.0.1:{free_port()}")):
            transport = end("sender", site, broker, lambda _peer, site=site: ours.send(site))
            stack.callback(transport.close)
            delivered: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
            transport.start(Taking(delivered.put))
            transport.connect("receiver", reached, takes_mqtt=True)
            senders.append(Sender(transport, delivered))
        direct, by_mqtt = senders
        deadline = time.monotonic() + WAIT_S
        while by_mqtt.transport.way("receiver") != "mqtt":
            if time.monotonic() > deadline:
                raise SystemExit("the way through the broker was not taken")
            time.sleep(0.05)
        yield direct, by_mqtt


def end(node: str, site: str, broker: BrokerSettings, call: object) -> Transport:
    """One end of a way; each way has a site of its own."""
    mqtt = MqttWay(node, site, broker, client_id=f"{site}-{node}", call=call)  # type: ignore[arg-type]  # any of ours
    return Transport(node, "tcp://127.0.0.1:0", mqtt=mqtt, fallback_after_s=0.5)


def receive(connection: Connection, broker: BrokerSettings) -> None:
    """The other process: a receiver for each way, which listens at the broker when it is called."""
    with ExitStack() as stack:
        receivers = {}
        for site in ("direct", "mqtt"):
            transport = end("receiver", site, broker, lambda _peer: None)
            stack.callback(transport.close)
            transport.start(Taking())
            transport.connect("sender", f"tcp://127.0.0.1:{free_port()}", takes_mqtt=True)
            receivers[site] = transport
        connection.send(receivers["direct"].endpoint)
        while (asked := connection.recv()) != "stop":
            receivers[asked].called("sender")


if __name__ == "__main__":
    main()
