"""How many agents one coordinator holds, at a reading of energy and one of a link a second each; what gives out first.

    python benchmarks/control_plane.py [--seconds 60] [--store sqlite|influxdb] [--quick] [--json FILE]

A real coordinator behind a real Mosquitto, and simulated agents, each a client of its own. What the store holds is
counted against what was sent. Then more and more agents, until readings are confirmed late, or lost; and who of all
processes and threads had no more to give. Beside them, in the same run: a bare subscriber that only counts.
"""

import argparse
import hashlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

import msgspec
from figures import Figure, write
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from processor_time import process_cpu_s, queued_s, thread_cpu_s
from simulated_agents import JOINS_PER_S, ORIGIN, SITE, Orders, Said

from broker.connection import BrokerSettings
from broker.mosquitto import PrivateMosquitto, free_port
from broker.server_process import ends_with_parent
from coordinator.configuration import (
    CoordinatorSettings,
    DeploymentSettings,
    HttpSettings,
)
from coordinator.service import Coordinator
from coordinator.site import State
from coordinator.telemetry.influx_server import InfluxServer
from splitrail.commands.coordinator import announcements
from testbed.carrier_models import write_carrier_model
from testbed.private_influxd import PrivateInfluxd

OPS: Final = 20
SHAPE: Final = (1, 64, 64, 3)
AGENTS: Final = 1_000
GROWTH: Final = (100, 300, AGENTS)
STEPS: Final = (1_500, 2_000, 3_000, 4_000)
AGENTS_OF_A_PROCESS: Final = 1_000
LATE_S: Final = 3.0
"""A reading that is confirmed later than this: the site is saturated."""
BEHIND_S: Final = 0.5
"""Agents that speak later than this: it is they who are."""
MUCH_QUEUED: Final = 0.3
SETTLE_S: Final = 3.0
DRAIN_S: Final = 20.0
FILES: Final = 10_000


class Answer(NamedTuple):
    """What a coordinator knows at the end."""

    nodes: int
    links: int
    lost: int
    plans: int


@dataclass(frozen=True, slots=True)
class Run:
    """A site of so many agents: what was sent while it was measured, and what that took; CPU seconds a second."""

    agents: int
    seconds: float
    messages: int
    lost: int
    """Readings that the store does not hold at the end, of all that were sent."""
    late_s: float
    """How long a reading took at most until it was confirmed, or waited for it, while it was measured."""
    agents_late_s: float
    cores: dict[str, float]
    """By process."""
    threads: dict[str, float]
    """Of the taking process, by thread."""
    queued: float
    """How many threads of the taking process waited for a processor at a time, in the mean."""
    answer: Answer | None

    @property
    def saturated(self) -> bool:
        """Whether readings were confirmed late, or not at all."""
        return self.lost > 0 or self.late_s > LATE_S

    @property
    def us_per_message(self) -> float:
        """Microseconds of CPU that the taking process spends on a message."""
        return 1e6 * self.cores["taking"] * self.seconds / self.messages


class Agents:
    """A process of simulated agents and what it said last."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said = Said()
        self.late_s = 0.0
        self.confirmed_s = 0.0
        self.silent = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def begin(self) -> None:
        """Forget how late anything was until now."""
        self.late_s = self.confirmed_s = 0.0

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = msgspec.json.decode(line, type=Said)
            self.late_s = max(self.late_s, self.said.late_s)
            self.confirmed_s = max(self.confirmed_s, self.said.confirmed_s)
        self.silent.set()


def coordinate(settings: CoordinatorSettings) -> None:
    """Be the coordinator as `splitrail coordinator` is, until asked to end; then say what is known of the site."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    with Coordinator(settings, announce) as coordinator:
        say_threads()
        coordinator.run(ended)
        status = coordinator.status()
        plans = sum(deployment.plan.epoch for deployment in status.deployments if deployment.plan is not None)
        print(json.dumps(Answer(len(status.nodes), len(status.links), status.lost_telemetry, plans)), flush=True)


def announce(before: State, after: State) -> None:
    """What the command prints of a change is made, and thrown away."""
    announcements(before, after)


def count(port: int) -> None:
    """Be a bare subscriber that counts, until asked to end; then say how many readings came."""
    taken = 0

    def on_message(_client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        nonlocal taken
        taken += message.topic.endswith("/energy") or "/links/" in message.topic

    def end(_number: int, _frame: FrameType | None) -> None:
        print(taken, flush=True)
        os._exit(0)  # paho's loop would begin anew

    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe(f"splitrail/v1/{SITE}/#", qos=1)
    signal.signal(signal.SIGTERM, end)
    say_threads()
    client.loop_forever()


def say_threads() -> None:
    """Print what the threads are called by now: the kernel knows their numbers alone."""
    names = {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id is not None}
    print(json.dumps(names), flush=True)


@contextmanager
def process(*arguments: str, script: str = __file__) -> Iterator[subprocess.Popen[bytes]]:
    """A part of this benchmark as a process of its own, ended with the block."""
    command = [sys.executable, script, *arguments]
    started = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
    )
    try:
        yield started
    finally:
        started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()


def line_from(started: subprocess.Popen[bytes]) -> bytes:
    """The next line that a process prints."""
    assert started.stdout is not None
    line = started.stdout.readline()
    if not line:
        raise SystemExit("a part of the benchmark has ended: see above")
    return line


def measure(agents: int, seconds: float, store: str) -> Run:
    """A site of so many agents for so many seconds after all have joined; `store` is `none` for the bare subscriber."""
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        broker = opened.enter_context(PrivateMosquitto(directory / "mosquitto"))
        database = opened.enter_context(PrivateInfluxd(directory / "influxd")) if store == "influxdb" else None
        if database is not None:
            with closing(InfluxServer(database.settings)) as server:
                server.query("CREATE DATABASE splitrail", timeout_s=30.0)
        model = directory / "model.tflite"
        write_carrier_model(model, SHAPE, OPS)
        sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        if store == "none":
            taking = opened.enter_context(process("--role=count", f"--port={broker.port}"))
        else:
            told = directory / "coordinator.json"
            told.write_bytes(msgspec.json.encode(settings(directory, broker.port, database), enc_hook=str))
            taking = opened.enter_context(process("--role=coordinate", f"--settings={told}"))
        names = {int(number): name for number, name in json.loads(line_from(taking)).items()}
        sites = [
            Agents(opened.enter_context(process(orders, script=str(Path(__file__).with_name("simulated_agents.py")))))
            for orders in orders_of(agents, broker.port, sha256)
        ]
        wait_until_joined(sites, agents)
        pids = {"mosquitto": broker.pid, "taking": taking.pid} | ({"influxd": database.pid} if database else {})
        before = cpu_of(pids, sites)
        threads, queued = thread_cpu_s(taking.pid), queued_s(taking.pid)
        sent, started = sum(site.said.energy + site.said.links for site in sites), time.monotonic()
        for site in sites:
            site.begin()
        time.sleep(seconds)
        after, later, queued = cpu_of(pids, sites), thread_cpu_s(taking.pid), queued_s(taking.pid) - queued
        took_s = time.monotonic() - started
        messages = sum(site.said.energy + site.said.links for site in sites) - sent
        late_s, agents_late_s = max(site.confirmed_s for site in sites), max(site.late_s for site in sites)
        total = stop(sites)
        if store == "none":
            time.sleep(2.0)
            taking.terminate()
            lost, answer = total - int(line_from(taking)), None
        else:
            drain(directory / "store.sqlite", total)
            taking.terminate()
            answer = Answer(*json.loads(line_from(taking)))
            taking.wait()
            lost = total - stored(directory / "store.sqlite", database)
        return Run(
            agents=agents,
            seconds=took_s,
            messages=messages,
            lost=lost,
            late_s=late_s,
            agents_late_s=agents_late_s,
            cores={name: (after[name] - before[name]) / took_s for name in after},
            threads=by_name({number: cpu - threads.get(number, 0.0) for number, cpu in later.items()}, names, took_s),
            queued=queued / took_s,
            answer=answer,
        )


def settings(directory: Path, port: int, database: PrivateInfluxd | None) -> CoordinatorSettings:
    """The coordinator's: one deployment, whose candidates are all agents."""
    return CoordinatorSettings(
        site=SITE,
        broker=BrokerSettings(host="127.0.0.1", port=port),
        store=directory / "store.sqlite",
        influxdb=database.settings if database is not None else None,
        cache=directory / "cache",
        http=HttpSettings(port=free_port()),
        deployments=(DeploymentSettings(name="photos", model=directory / "model.tflite", origin=ORIGIN),),
    )


def orders_of(agents: int, port: int, sha256: str) -> Iterator[str]:
    """The argument of each process of agents."""
    for first in range(0, agents, AGENTS_OF_A_PROCESS):
        number = min(AGENTS_OF_A_PROCESS, agents - first)
        orders = Orders(port=port, first=first, count=number, agents=agents, model=sha256, ops=OPS)
        yield msgspec.json.encode(orders).decode()


def wait_until_joined(sites: list[Agents], agents: int) -> None:
    """Until all agents are there, and what that brought about has had its time."""
    deadline = time.monotonic() + 30.0 + 3.0 * agents / JOINS_PER_S
    while not all(site.said.joined for site in sites):
        if time.monotonic() > deadline or any(site.process.poll() is not None for site in sites):
            raise SystemExit(f"{agents} agents did not join")
        time.sleep(0.1)
    time.sleep(SETTLE_S)


def stop(sites: list[Agents]) -> int:
    """Have the agents fall silent, still connected; how many readings they have sent in all."""
    for site in sites:
        assert site.process.stdin is not None
        site.process.stdin.close()
    for site in sites:
        site.silent.wait(10.0)
    return sum(site.said.energy + site.said.links for site in sites)


def drain(store: Path, total: int) -> None:
    """Until all is stored, or no more comes."""
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline and in_ledgers(store) < total:
        time.sleep(0.25)
    time.sleep(0.5)


def in_ledgers(store: Path) -> int:
    """How many readings the coordinator says are stored."""
    with closing(sqlite3.connect(store, timeout=10.0)) as connection:
        return int(connection.execute("SELECT coalesce(sum(stored), 0) FROM ledger").fetchone()[0])


def stored(store: Path, database: PrivateInfluxd | None) -> int:
    """How many readings the store holds."""
    if database is None:
        with closing(sqlite3.connect(store)) as connection:
            tables = ("SELECT count(*) FROM energy", "SELECT count(*) FROM link")
            return sum(int(connection.execute(table).fetchone()[0]) for table in tables)
    statements = "SELECT count(energy_j) FROM energy; SELECT count(rtt_ms) FROM link"
    with closing(InfluxServer(database.settings)) as server:
        answers = server.query(statements, timeout_s=30.0)
        return sum(int(series.values[0][1] or 0) for each in answers for series in each)


def cpu_of(pids: dict[str, int | None], sites: list[Agents]) -> dict[str, float]:
    """The CPU seconds of every process so far, those of the agents together."""
    found = {name: process_cpu_s(pid) for name, pid in pids.items() if pid is not None}
    return found | {"agents": sum(process_cpu_s(site.process.pid) for site in sites)}


def by_name(cpu_s: dict[int, float], names: dict[int, str], seconds: float) -> dict[str, float]:
    """The busy threads by what they are called, in CPU seconds a second."""
    found: dict[str, float] = {}
    for number, spent in cpu_s.items():
        name = names.get(number, "others")
        name = "broker" if name.startswith("broker-") else name.removeprefix("splitrail-")
        found[name] = found.get(name, 0.0) + spent / seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def first_to_give_out(run: Run) -> str:
    """Who of a saturated site had no more to give."""
    if run.agents_late_s > BEHIND_S:
        return "the simulated agents themselves"
    if run.cores["taking"] > 0.85:
        return f"the coordinator's interpreter, most of it in its thread {next(iter(run.threads))!r}"
    if run.cores["mosquitto"] > 0.85:
        return "Mosquitto's only thread"
    if sum(run.cores.values()) > 0.85 * len(os.sched_getaffinity(0)):
        return "the machine's cores"
    if run.queued > MUCH_QUEUED:
        return "the machine's cores, which processes of others hold: this says nothing of the coordinator"
    return "none of the processors: the disk, or waiting"


def lines_of(run: Run) -> Iterator[str]:
    """What a run says."""
    cores = "  ".join(f"{name} {share:.2f}" for name, share in run.cores.items())
    yield (
        f"{run.agents:6,d} agents {run.messages / run.seconds:7,.0f} messages/s  lost {run.lost}  confirmed within "
        f"{run.late_s:.1f} s  cores: {cores}  ({run.us_per_message:.0f} us/message)"
    )
    threads = "  ".join(f"{name} {share:.2f}" for name, share in run.threads.items() if share >= 0.005)
    known = run.answer
    words = f"; {known.nodes} nodes, {known.links} links, {known.plans} plans, {known.lost} dropped" if known else ""
    yield f"       by thread: {threads}; {run.queued:.2f} threads wait for a core"
    yield f"       agents at most {run.agents_late_s:.2f} s late{words}"


def compare(seconds: float, step_s: float, growth: tuple[int, ...], steps: tuple[int, ...], store: str) -> list[Figure]:
    """Measure all, print it, and give the figures."""
    bare = measure(AGENTS, step_s, "none")
    print("a bare subscriber that only counts:")
    print(*lines_of(bare), sep="\n", flush=True)
    print(f"one coordinator, {store}:", flush=True)
    runs: dict[int, Run] = {}
    for agents in (*growth, *steps):
        runs[agents] = run = measure(agents, seconds if agents == AGENTS else step_s, store)
        print(*lines_of(run), sep="\n", flush=True)
        if run.saturated:
            print(f"saturated at {agents:,d} agents: {first_to_give_out(run)}")
            break
    held = max((agents for agents, run in runs.items() if not run.saturated), default=0)
    print(f"{held:,d} agents are held at 1 Hz each of energy and links.")
    least, most = min(runs), max(agents for agents in runs if agents <= AGENTS)
    figures = [
        Figure("agents held", held, "agents", "higher", goal=float(AGENTS)),
        Figure(f"lost of {most} agents' readings", runs[most].lost, "", "lower", goal=0.0),
        Figure(f"longest until confirmed, {most} agents", runs[most].late_s, "s", "lower", noise=0.3),
        Figure(
            f"CPU for a message, {most} agents",
            runs[most].us_per_message,
            "us",
            "lower",
            reference=bare.us_per_message,
        ),
    ]
    if least < most:
        grown = (runs[most].cores["taking"] / most) / (runs[least].cores["taking"] / least)
        # At most linear, with the noise of a short run.
        figures.append(Figure(f"CPU of an agent at {most} beside at {least}", grown, "", "lower", goal=1.1))
    return figures


def main() -> None:
    """Print the figures, and write them where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help=f"how long {AGENTS} agents are measured")
    parser.add_argument("--store", choices=("sqlite", "influxdb"), default="sqlite")
    parser.add_argument("--agents", type=int, nargs="+", help="measure these numbers of agents alone")
    parser.add_argument("--quick", action="store_true", help="fewer numbers of agents, and shorter")
    parser.add_argument("--json", type=Path, help="file for the figures")
    for name, kind in (("role", str), ("port", int), ("settings", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "count":
        count(options.port)
    elif options.role == "coordinate":
        coordinate(msgspec.json.decode(options.settings.read_bytes(), type=CoordinatorSettings, dec_hook=decoded))
    else:
        # Each agent is a connection of the broker's too, which inherits the bound.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
        if options.agents:
            for agents in options.agents:
                print(*lines_of(measure(agents, options.seconds, options.store)), sep="\n", flush=True)
            return
        quick = (15.0, 8.0, (100, AGENTS), (2_000, 4_000))
        seconds, step_s, growth, steps = quick if options.quick else (options.seconds, 15.0, GROWTH, STEPS)
        figures = compare(seconds, step_s, growth, steps, options.store)
        if options.json is not None:
            write(options.json, figures)


def decoded(kind: type, value: object) -> object:
    """A path of the settings, which JSON has as a text."""
    return kind(value)


if __name__ == "__main__":
    main()
