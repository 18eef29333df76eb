"""How much telemetry goes from MQTT into InfluxDB on this machine, what it costs, and that none of it is lost.

    python benchmarks/telemetry_intake.py [--seconds 10] [--turns 2] [--out FILE]

A generator publishes as 20 agents do, through a real Mosquitto; who takes it, in turns: a bare paho subscriber that
only counts, one that writes each point alone, and the coordinator's intake. Each is given as much as it keeps up with.
"""

import argparse
import itertools
import mmap
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
from figures import Figure, repeated, write

from broker.connection import BrokerSettings
from broker.messages import (
    EnergyReading,
    InferenceReport,
    LinkReading,
    MachineReading,
    SpoolMark,
    StageReport,
    Telemetry,
    TelemetryStored,
    TransferReport,
)
from broker.mosquitto import PrivateMosquitto
from broker.server_process import ends_with_parent
from broker.session import Session
from broker.topics import ENERGY, INFERENCE, LINK, MACHINE, STORED, Topic
from coordinator.configuration import InfluxSettings
from coordinator.reception import Reception
from coordinator.site import EMPTY
from coordinator.state import apply
from coordinator.telemetry.influx_answers import Stored
from coordinator.telemetry.influx_lines import line_of
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_store import InfluxTelemetryStore
from coordinator.telemetry.points import samples_of
from coordinator.telemetry.store import StoredUpTo
from testbed.private_influxd import PrivateInfluxd

SITE = "intake"
NODES = 20
ROUTE = ("pi", "laptop", "pc")
# Of ten messages: six inferences over three nodes (six points each), two readings of meters, a machine's, a link's.
KINDS = (
    "inference",
    "energy",
    "inference",
    "inference",
    "machine",
    "inference",
    "energy",
    "inference",
    "link",
    "inference",
)
MOST_BEHIND = 4_000
"""How many messages the generator runs ahead of who takes them: less than any queue on the way holds."""
COUNTED = {"inference": "latency_ms", "stage": "compute_ms", "transfer": "size_bytes", "energy": "energy_j"}
COUNTED |= {"node": "cpu", "link": "rtt_ms"}
WAYS = ("counted", "alone", "coordinator")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Run:
    """One way in one turn: what was sent and stored, how long it took, and the CPU seconds of each process."""

    messages: int
    points: int
    stored: int
    seconds: float
    cpu_s: dict[str, float]

    @property
    def per_s(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


class Progress:
    """A number in a small file that two processes share."""

    def __init__(self, file: Path) -> None:
        file.touch()
        if file.stat().st_size < 8:
            file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 8)

    @property
    def count(self) -> int:
        """The number as the other process has left it."""
        (count,) = struct.unpack("<q", self._shared[:8])
        return int(count)

    @count.setter
    def count(self, value: int) -> None:
        self._shared[:8] = struct.pack("<q", value)


def telemetry(kind: str, node: str, sequence: int) -> Telemetry:
    """One piece of telemetry of a node, as its spool hands it out."""
    mark = SpoolMark(session="load", sequence=sequence, oldest=max(1, sequence - 200), age_s=0.012)
    at = time.time()
    match kind:
        case "inference":
            return InferenceReport(
                deployment="photos",
                epoch=7,
                request_id=f"{node}-{sequence}",
                origin=node,
                at=at,
                latency_ms=41.25,
                stages=tuple(
                    StageReport(node=name, start=10 * index, stop=10 * index + 10, compute_ms=7.123, wait_ms=0.25)
                    for index, name in enumerate(ROUTE)
                ),
                transfers=tuple(
                    TransferReport(src=src, dst=dst, size_bytes=150_528, transfer_ms=12.5)
                    for src, dst in itertools.pairwise(ROUTE)
                ),
                origin_energy_j=0.31,
                total_energy_j=0.42,
                model="mobilenet",
                mark=mark,
            )
        case "energy":
            return EnergyReading(
                node=node,
                session="load",
                sequence=sequence,
                at=at,
                energy_j=3.5 * sequence,
                power_w=3.5,
                interval_s=1.0,
                meter="model",
                source="modelled",
                scope="board",
                mark=mark,
            )
        case "machine":
            return MachineReading(
                node=node,
                session="load",
                at=at,
                cpu=0.25,
                memory_used_mb=900.0,
                memory_total_mb=4_000.0,
                agent_memory_mb=120.5,
                temperature_c=51.25,
                mark=mark,
            )
        case _:
            return LinkReading(
                src=node,
                dst="pc",
                at=at,
                rtt_ms=3.5,
                rtt_ms_std=0.25,
                mbps=40.5,
                mbps_std=1.5,
                method="transfer",
                mark=mark,
            )


def packet(message: Telemetry, number: int) -> bytes:
    """The message as an MQTT 3.1.1 PUBLISH with QoS 1."""
    match message:
        case InferenceReport():
            address, payload = INFERENCE.address(SITE, "photos", message.origin), INFERENCE.encode(message)
        case EnergyReading():
            address, payload = ENERGY.address(SITE, message.node), ENERGY.encode(message)
        case MachineReading():
            address, payload = MACHINE.address(SITE, message.node), MACHINE.encode(message)
        case LinkReading():
            address, payload = LINK.address(SITE, message.src, message.dst), LINK.encode(message)
        case _:
            raise TypeError(message)
    topic = address.encode()
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", number % 65_535 + 1) + payload
    length, rest = bytearray(), len(body)
    while True:
        rest, digit = divmod(rest, 128)[0], rest % 128
        length.append(digit | 128 if rest else digit)
        if not rest:
            return b"\x32" + bytes(length) + body


def generate(port: int, progress: Progress, seconds: float) -> None:
    """Publish what is kept up with, for a while; print how many messages of each kind that were."""
    sent = dict.fromkeys(KINDS, 0)
    sequences = dict.fromkeys((f"node{number:02d}" for number in range(NODES)), 0)
    nodes = list(sequences)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # CONNECT of MQTT 3.1.1, clean session, no keep-alive; its version 5 would hold us to 20 messages at a time.
        connection.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x00\x00\x04load")
        connection.recv(4)
        threading.Thread(target=_drain, args=(connection,), daemon=True).start()
        deadline, number = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            if number - progress.count > MOST_BEHIND:
                time.sleep(0.001)
                continue
            packets = []
            for _ in range(50):
                kind, node = KINDS[number % len(KINDS)], nodes[number // len(KINDS) % NODES]
                sequences[node] += 1
                packets.append(packet(telemetry(kind, node, sequences[node]), number))
                sent[kind] += 1
                number += 1
            connection.sendall(b"".join(packets))
        print(msgspec.json.encode(sent).decode(), flush=True)
        time.sleep(60.0)  # a broker drops what it has not read of a connection that is closed


def _drain(connection: socket.socket) -> None:
    """Read acknowledgements: what is sent is bounded by who takes it."""
    while connection.recv(65_536):
        pass


def count(port: int, progress: Progress, take: Callable[[bytes, str], None]) -> None:
    """Subscribe with bare paho and take every message."""
    taken = 0

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        nonlocal taken
        take(message.payload, message.topic)
        taken += 1
        progress.count = taken

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe(f"splitrail/v1/{SITE}/#", qos=1)
    print("ready", flush=True)
    client.loop_forever()


def writing_alone(url: str) -> Callable[[bytes, str], None]:
    """Write every point of a message by a request of its own."""
    server = InfluxServer(InfluxSettings(url=url))
    topics: tuple[Topic[InferenceReport] | Topic[EnergyReading] | Topic[MachineReading] | Topic[LinkReading], ...]
    topics = (INFERENCE, ENERGY, MACHINE, LINK)

    def take(payload: bytes, address: str) -> None:
        topic = next(each for each in topics if each.levels(address) is not None)
        for sample in samples_of(topic.decode(address, payload), time.time(), coordinator="alone"):
            answer = server.write(line_of(sample))
            if not isinstance(answer, Stored):
                raise SystemExit(f"{answer}")

    return take


def coordinate(port: int, progress: Progress, url: str, file: Path) -> None:
    """What a coordinator does with telemetry: hear, check, store and confirm it, and follow the state. No planning."""
    store = InfluxTelemetryStore(file, InfluxSettings(url=url), coordinator="coordinator", retention_s=86_400.0)
    session = Session(BrokerSettings(host="127.0.0.1", port=port), site=SITE, client_id="coordinator")
    stored_up_to: dict[str, int] = {}
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())

    def confirm(stored: tuple[StoredUpTo, ...]) -> None:
        for each in stored:
            stored_up_to[each.node] = each.sequence
            message = TelemetryStored(node=each.node, session=each.session, sequence=each.sequence, term=1)
            session.publish(STORED, message, each.node)
        progress.count = sum(stored_up_to.values())

    store.on_stored(confirm)
    reception = Reception(session, store, clock=time.time, on_term=lambda _: None, on_notice=lambda _: None)
    session.start()
    print("ready", flush=True)
    state = EMPTY
    while not ended.is_set():
        for event in reception.next_events():
            state = apply(event, state)
    session.close()
    store.close()


@contextmanager
def process(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A role of this benchmark as a process of its own, ended with the block."""
    command = [sys.executable, __file__, *(str(argument) for argument in arguments)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=ends_with_parent())  # noqa: PLW1509  # two system calls, which take no lock
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(30.0)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        if started.stdout is not None:
            started.stdout.close()


def line_from(started: subprocess.Popen[bytes]) -> bytes:
    """The next line that a process prints."""
    assert started.stdout is not None
    line = started.stdout.readline()
    if not line:
        raise SystemExit("a part of the benchmark has ended: see above")
    return line


def cpu_s(pid: int | None) -> float:
    """The CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def measure(way: str, seconds: float) -> Run:
    """One way with a broker and a database of its own."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        broker = opened.enter_context(PrivateMosquitto(directory / "mosquitto"))
        database = opened.enter_context(PrivateInfluxd(directory / "influxd"))
        server = opened.enter_context(closing(InfluxServer(database.settings)))
        server.query("CREATE DATABASE splitrail", timeout_s=30.0)
        progress = Progress(directory / "progress")
        role: list[str | Path] = [f"--role={way}", f"--port={broker.port}", f"--progress={directory / 'progress'}"]
        role += [f"--url={database.url}", f"--store={directory / 'store'}"]
        taking = opened.enter_context(process(*role))
        line_from(taking)
        time.sleep(0.5)
        generating = opened.enter_context(process("--role=generate", *role[1:3], f"--seconds={seconds}"))
        pids = {"mosquitto": broker.pid, "taking": taking.pid, "influxd": database.pid, "generator": generating.pid}
        before, started = {name: cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
        sent = msgspec.json.decode(line_from(generating), type=dict[str, int])
        messages = sum(sent.values())
        points = sum(sent.values()) + 5 * sent["inference"]
        while progress.count < messages:
            time.sleep(0.01)
        stored = points if way == "counted" else counted(server, points)
        took_s = time.monotonic() - started
        return Run(messages, points, stored, took_s, {name: cpu_s(pid) - before[name] for name, pid in pids.items()})


def counted(server: InfluxServer, points: int) -> int:
    """How many points InfluxDB has, once it has as many or no more come."""
    statements = "; ".join(f"SELECT count({field}) FROM {name}" for name, field in COUNTED.items())
    stored, deadline = 0, time.monotonic() + 60.0
    while stored < points and time.monotonic() < deadline:
        answers = server.query(statements, timeout_s=30.0)
        stored = sum(int(series.values[0][1] or 0) for each in answers for series in each)
        time.sleep(0.05)
    return stored


def middle(runs: list[Run]) -> Run:
    """The run of the median rate, with the counts of all."""
    ordered = sorted(runs, key=lambda run: run.per_s)
    lost = sum(run.points - run.stored for run in runs)
    run = ordered[len(ordered) // 2]
    return replace(run, stored=run.points - lost)


def lines(seconds: float, turns: int, figures: list[Figure]) -> Iterator[str]:
    """Measure, say what was found, and add the figures."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _ in range(turns):
        for way in WAYS:
            runs[way].append(measure(way, seconds))
    found = {way: middle(of_way) for way, of_way in runs.items()}
    size = statistics.mean(len(packet(telemetry(kind, "node00", 5_000), 1)) for kind in KINDS)
    per_message = found["counted"].points / found["counted"].messages
    yield f"Telemetry of {NODES} nodes through a real Mosquitto, {size:.0f} bytes and {per_message:g} points a message;"
    yield f"{os.cpu_count()} cores, {turns} turns of {seconds:g} s (the median), nothing else on the machine meant."
    yield "                 messages/s   points/s     lost    CPU s for 10,000 messages:"
    yield "                                                   mosquitto   taking  influxd  generator"
    for way, run in found.items():
        costs = "  ".join(f"{1e4 * run.cpu_s[name] / run.messages:8.2f}" for name in run.cpu_s)
        stored = "      none" if way == "counted" else f"{run.stored / run.seconds:10,.0f}"
        lost = "-" if way == "counted" else f"{run.points - run.stored}"
        yield f"  {way:12} {run.per_s:11,.0f} {stored} {lost:>8}    {costs}"
    intake = found["coordinator"]
    yield f"The coordinator takes {intake.per_s / found['alone'].per_s:.1f} times what a writer of single points does,"
    yield f"and {intake.per_s / found['counted'].per_s:.2f} of what a bare subscriber only counts."
    rates = [run.per_s for run in runs["coordinator"]]
    figures += [
        repeated("intake into InfluxDB", rates, "messages/s", "higher", reference=found["counted"].per_s),
        Figure(
            "CPU for a message",
            1e6 * intake.cpu_s["taking"] / intake.messages,
            "us",
            "lower",
            reference=1e6 * found["counted"].cpu_s["taking"] / found["counted"].messages,
        ),
        Figure("points lost", float(intake.points - intake.stored), "", "lower", goal=0.0),
    ]


def play(options: argparse.Namespace) -> None:
    """Be one of the parts."""
    progress = Progress(options.progress)
    match options.role:
        case "generate":
            generate(options.port, progress, options.seconds)
        case "counted":
            count(options.port, progress, lambda _payload, _topic: None)
        case "alone":
            count(options.port, progress, writing_alone(options.url))
        case _:
            coordinate(options.port, progress, options.url, options.store)


def main() -> None:
    """Print the figures, and write them where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each way is given telemetry, each turn")
    parser.add_argument("--turns", type=int, default=2, help="how often each way has its turn")
    parser.add_argument("--out", type=Path, help="file for what is printed")
    for name, kind in (("role", str), ("port", int), ("progress", Path), ("url", str), ("store", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="two turns of 3 s")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.role is not None:
        play(options)
        return
    printed: list[str] = []
    figures: list[Figure] = []
    seconds, turns = (3.0, 2) if options.quick else (options.seconds, options.turns)
    for line in lines(seconds, turns, figures):
        print(line, flush=True)
        printed.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(printed) + "\n", encoding="utf-8")
    if options.json is not None:
        write(options.json, figures)


if __name__ == "__main__":
    main()
