"""A site of a real Mosquitto, who takes what its agents say, and simulated agents: measured once, for a while.

What the store holds is counted against what was sent. Leaves to `control_plane.py` how many agents there are, and what
follows from it.
"""

import hashlib
import json
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from parts import line_from, process
from processor_time import process_cpu_s, queued_s, thread_cpu_s
from simulated_agents import JOINS_PER_S, ORIGIN, SITE, Orders, Said
from takers import Answer

from broker.mosquitto import PrivateMosquitto, free_port
from broker.sign_in import BrokerSettings
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings
from coordinator.telemetry.influx_server import InfluxServer
from testbed.carrier_models import write_carrier_model
from testbed.private_influxd import PrivateInfluxd

HERE: Final = Path(__file__).resolve().parent
OPS: Final = 20
SHAPE: Final = (1, 64, 64, 3)
AGENTS_OF_A_PROCESS: Final = 1_000
SETTLE_S: Final = 3.0
DRAIN_S: Final = 20.0
STANDSTILL_S: Final = 5.0
"""Nothing more was stored for so long: no more comes."""


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
            if self.said.silent:
                self.silent.set()


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
            taking = opened.enter_context(process(HERE / "takers.py", "count", str(broker.port)))
        else:
            told = directory / "coordinator.json"
            told.write_bytes(msgspec.json.encode(settings(directory, broker.port, database), enc_hook=str))
            taking = opened.enter_context(process(HERE / "takers.py", "coordinate", told))
        names = {int(number): name for number, name in json.loads(line_from(taking)).items()}
        sites = [
            Agents(opened.enter_context(process(HERE / "simulated_agents.py", orders)))
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
    begun = moved = time.monotonic()
    before = 0
    while (now := time.monotonic()) < begun + DRAIN_S and now < moved + STANDSTILL_S:
        known = in_ledgers(store)
        if known >= total:
            break
        if known > before:
            before, moved = known, now
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
