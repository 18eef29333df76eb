"""How much telemetry goes from MQTT into InfluxDB on this machine, what it costs, and that none of it is lost.

    python benchmarks/telemetry_intake.py [--seconds 10] [--turns 2] [--quick] [--json FILE]

A process publishes as 20 agents do, through a real Mosquitto; who takes it, in turns: a bare paho subscriber that only
counts, one that writes each point alone, and the coordinator's intake. Each is given as much as it keeps up with.
"""

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
from figures import Figure, repeated, write
from paho.mqtt.enums import CallbackAPIVersion
from parts import line_from, process
from processor_time import process_cpu_s
from telemetry_load import KINDS, NODES, SITE, Progress, publication, telemetry

from broker.messages import EnergyReading, InferenceReport, LinkReading, MachineReading, TelemetryStored
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.sign_in import BrokerSettings
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

LOAD = Path(__file__).with_name("telemetry_load.py")
COUNTED = {"inference": "latency_ms", "stage": "compute_ms", "transfer": "size_bytes", "energy": "energy_j"}
COUNTED |= {"node": "cpu", "link": "rtt_ms"}
WAYS = ("counted", "alone", "coordinator")
QUICK_WAYS = ("counted", "coordinator")


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


def count(port: int, progress: Progress, take: Callable[[bytes, str], None]) -> None:
    """Subscribe with bare paho and take every message."""
    taken = 0

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        nonlocal taken
        take(bytes(message.payload), message.topic)
        taken += 1
        progress.count = taken

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
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


def measure(way: str, seconds: float) -> Run:
    """One way with a broker and a database of its own."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        broker = opened.enter_context(PrivateMosquitto(directory / "mosquitto"))
        database = opened.enter_context(PrivateInfluxd(directory / "influxd"))
        server = opened.enter_context(closing(InfluxServer(database.settings)))
        server.query("CREATE DATABASE splitrail", timeout_s=30.0)
        progress = Progress(directory / "progress")
        at = (f"--port={broker.port}", f"--progress={directory / 'progress'}")
        into = (f"--url={database.url}", f"--store={directory / 'store'}")
        taking = opened.enter_context(process(__file__, f"--role={way}", *at, *into))
        line_from(taking)
        time.sleep(0.5)
        generating = opened.enter_context(process(LOAD, str(broker.port), directory / "progress", str(seconds)))
        pids = {"mosquitto": broker.pid, "taking": taking.pid, "influxd": database.pid, "generator": generating.pid}
        before, started = cpu_of(pids), time.monotonic()
        sent = msgspec.json.decode(line_from(generating), type=dict[str, int])
        messages = sum(sent.values())
        points = sum(sent.values()) + 5 * sent["inference"]
        while progress.count < messages:
            time.sleep(0.01)
        stored = points if way == "counted" else counted(server, points)
        took_s = time.monotonic() - started
        after = cpu_of(pids)
        return Run(messages, points, stored, took_s, {name: after[name] - before[name] for name in after})


def cpu_of(pids: Mapping[str, int | None]) -> dict[str, float]:
    """The CPU seconds of every process so far."""
    return {name: process_cpu_s(pid) for name, pid in pids.items() if pid is not None}


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


def lines(ways: Sequence[str], seconds: float, turns: int, figures: list[Figure]) -> Iterator[str]:
    """Measure, say what was found, and add the figures."""
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    for _ in range(turns):
        for way in ways:
            runs[way].append(measure(way, seconds))
    found = {way: middle(of_way) for way, of_way in runs.items()}
    size = statistics.mean(len(publication(telemetry(kind, "node00", 5_000), 1)) for kind in KINDS)
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
    yield f"The coordinator takes {intake.per_s / found['counted'].per_s:.2f} of what a bare subscriber only counts"
    if "alone" in found:
        yield f"and {intake.per_s / found['alone'].per_s:.1f} times what a writer of single points does."
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
    for name, kind in (("role", str), ("port", int), ("progress", Path), ("url", str), ("store", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="two turns of 2 s, and no writer of single points")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    if options.role is not None:
        play(options)
        return
    figures: list[Figure] = []
    if options.quick:
        found = lines(QUICK_WAYS, 2.0, 2, figures)
    else:
        found = lines(WAYS, options.seconds, options.turns, figures)
    for line in found:
        print(line, flush=True)
    if options.json is not None:
        write(options.json, figures)


if __name__ == "__main__":
    main()
