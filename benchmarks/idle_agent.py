"""What an agent costs that has nothing to do: memory, processor time and wake-ups, in a site with two other agents.

    python benchmarks/idle_agent.py [--seconds 60] [--quick] [--json FILE]

A real site on this machine: broker, coordinator and three agents, one of which no plan needs. It was there before, so
its profile of the model is kept, and it loads no runtime. Beside it, in the same run: the origin, which holds a segment
of a model without weights and what reads images; and a bare interpreter with numpy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broker.messages import NodeStatus
    from broker.session import Session
    from testbed.processes import ChildProcess

SETTLE_S: Final = 8.0
WAIT_S: Final = 60.0
NODES: Final = ("pi", "laptop", "pc")
IDLE: Final = "pc"
SITE: Final = "idle"
BARE: Final = "import numpy, time; time.sleep(3600.0)"
MOST_MB: Final = 60.0
MOST_CORE: Final = 0.01


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process costs while nothing is asked of it."""

    resident_mb: float
    """Its resident set, in MB of 10^6 bytes."""
    own_mb: float
    """The same, shared pages divided among those that share them (PSS)."""
    core: float
    """The share of one core that it takes."""
    wakes_per_s: float
    threads: dict[str, float]
    """The share of one core, by thread."""


def be_agent(configuration: str, names: Path) -> None:
    """Be an agent as `splitrail agent` is; leave in a file what its threads are called, which the kernel knows not."""

    def tell() -> None:
        time.sleep(SETTLE_S / 2)
        known = {thread.native_id: thread.name for thread in threading.enumerate()}
        names.write_text(json.dumps(known), encoding="utf-8")

    threading.Thread(target=tell, daemon=True).start()
    from splitrail.cli import main as splitrail  # noqa: PLC0415  # what this file imports would count as the agent's

    sys.exit(splitrail(["agent", "--config", configuration]))


def cost_of(pid: int, seconds: float, names: Path | None) -> Cost:
    """What a process costs in so many seconds from now."""
    from processor_time import thread_cpu_s, thread_wakes  # noqa: PLC0415  # as above

    before, woken, began = thread_cpu_s(pid), thread_wakes(pid), time.monotonic()
    time.sleep(seconds)
    after, later, took_s = thread_cpu_s(pid), thread_wakes(pid), time.monotonic() - began
    called = {} if names is None else json.loads(names.read_text(encoding="utf-8"))
    threads = {
        f"{called.get(str(number), 'other')} {number - pid}": (cpu_s - before.get(number, 0.0)) / took_s
        for number, cpu_s in after.items()
    }
    rollup = dict(line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return Cost(
        resident_mb=int(rollup["Rss:"]) * 1_024 / 1e6,
        own_mb=int(rollup["Pss:"]) * 1_024 / 1e6,
        core=sum(threads.values()),
        wakes_per_s=(later - woken) / took_s,
        threads=dict(sorted(threads.items(), key=lambda item: -item[1])),
    )


def write_all_settings(directory: Path, port: int) -> None:
    """The settings of a coordinator with one deployment, which the first node runs by itself, and of all agents."""
    from broker.mosquitto import free_port  # noqa: PLC0415  # as above
    from broker.sign_in import BrokerSettings  # noqa: PLC0415  # as above
    from coordinator.configuration import (  # noqa: PLC0415  # as above
        CoordinatorSettings,
        DeploymentSettings,
        HttpSettings,
    )
    from edge_agent.configuration import AgentSettings, TensorSettings  # noqa: PLC0415  # as above
    from testbed.carrier_models import write_carrier_model  # noqa: PLC0415  # as above
    from testbed.continuum_settings import write_settings  # noqa: PLC0415  # as above

    broker, model = BrokerSettings(host="127.0.0.1", port=port), directory / "model.tflite"
    write_carrier_model(model, (1, 32, 32, 3), 8)
    deployment = DeploymentSettings(name="photos", model=model, origin=NODES[0], strategy="origin-only")
    coordinator = CoordinatorSettings(
        site=SITE,
        broker=broker,
        store=directory / "store.sqlite",
        cache=directory / "models",
        http=HttpSettings(port=free_port()),
        deployments=(deployment,),
    )
    write_settings(directory / "coordinator.yaml", coordinator)
    tensors = TensorSettings(listen="tcp://127.0.0.1:0", security="open")
    for node in NODES:
        settings = AgentSettings(
            site=SITE, node=node, tier="edge", broker=broker, cache=directory / node, tensors=tensors
        )
        write_settings(directory / f"{node}.yaml", settings)


class Witness:
    """Who of a site is there, has profiled the model, and is ready for its plan."""

    def __init__(self, session: "Session") -> None:
        from broker.topics import PROFILE, READY, STATUS  # noqa: PLC0415  # as above

        self.online: set[str] = set()
        self.profiled: set[str] = set()
        self.ready: set[str] = set()
        session.on(STATUS, lambda incoming: self._hear(incoming.message))
        session.on(PROFILE, lambda incoming: self.profiled.add(incoming.message.node))
        session.on(READY, lambda incoming: self.ready.add(incoming.message.node))

    def _hear(self, status: "NodeStatus") -> None:
        if status.state == "online":
            self.online.add(status.node)
        else:
            self.online.discard(status.node)

    @property
    def all_there(self) -> bool:
        """Whether nothing is left to be waited for."""
        return len(self.profiled) == len(self.online) == len(NODES) and bool(self.ready)


def measure(seconds: float) -> tuple[Cost, Cost, Cost]:
    """What an idle agent costs, one that holds a loaded segment without weights, and a bare interpreter."""
    from broker.mosquitto import PrivateMosquitto  # noqa: PLC0415  # as above
    from broker.session import Session  # noqa: PLC0415  # as above
    from broker.sign_in import BrokerSettings  # noqa: PLC0415  # as above
    from testbed.processes import ChildProcess, splitrail_command, stop_all  # noqa: PLC0415  # as above

    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        broker = opened.enter_context(PrivateMosquitto(directory / "mosquitto"))
        write_all_settings(directory, broker.port)
        address = BrokerSettings(host="127.0.0.1", port=broker.port)
        session = opened.enter_context(Session(address, site=SITE, client_id="witness"))
        witness = Witness(session)
        children: list[ChildProcess] = []
        opened.callback(lambda: stop_all(children))

        def start(name: str, command: list[str]) -> ChildProcess:
            children.append(ChildProcess(name, command, directory / f"{name}.log"))
            return children[-1]

        start("coordinator", splitrail_command("coordinator", "--config", str(directory / "coordinator.yaml")))
        origin, _ = (
            start(node, splitrail_command("agent", "--config", str(directory / f"{node}.yaml"))) for node in NODES[:2]
        )
        names = directory / "threads.json"
        itself = [sys.executable, __file__, "--role=agent", f"--configuration={directory / f'{IDLE}.yaml'}"]
        first = start(IDLE, [*itself, f"--names={names}"])
        until(lambda: witness.all_there, children)
        stop_all([first])
        children.remove(first)
        until(lambda: IDLE not in witness.online, children)
        idle = start(IDLE, [*itself, f"--names={names}"])
        until(lambda: witness.all_there, children)
        bare = subprocess.Popen([sys.executable, "-c", BARE])
        opened.callback(bare.wait)
        opened.callback(bare.kill)
        time.sleep(SETTLE_S)
        return cost_of(idle.pid, seconds, names), cost_of(origin.pid, 1.0, None), cost_of(bare.pid, 1.0, None)


def until(condition: Callable[[], bool], children: list["ChildProcess"]) -> None:
    """Wait until something holds, while all processes run."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise SystemExit("the site did not come about in time")
        time.sleep(0.1)


def main() -> None:
    """Print the figures, and write them where they are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the agent is measured")
    parser.add_argument("--quick", action="store_true", help="30 s of it")
    parser.add_argument("--json", type=Path, help="file for the figures")
    for name, kind in (("role", str), ("configuration", str), ("names", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "agent":
        be_agent(options.configuration, options.names)
    idle, loaded, bare = measure(30.0 if options.quick else options.seconds)
    costs = {"idle agent": idle, "origin that holds a segment": loaded, "bare interpreter with numpy": bare}
    for name, cost in costs.items():
        print(
            f"{name:28} resident {cost.resident_mb:6.1f} MB  its own share {cost.own_mb:6.1f} MB  "
            f"{100 * cost.core:5.2f} % of a core  {cost.wakes_per_s:6.1f} wakes/s"
        )
    for name, share in idle.threads.items():
        print(f"  {name:32} {100 * share:5.2f} %")
    if options.json is not None:
        from figures import Figure, write  # noqa: PLC0415  # as above

        found = [
            Figure("resident set", idle.resident_mb, "MB", "lower", reference=bare.resident_mb, goal=MOST_MB),
            Figure("share of a core", 100.0 * idle.core, "%", "lower", noise=0.1, goal=100.0 * MOST_CORE),
            Figure("wake-ups", idle.wakes_per_s, "1/s", "lower"),
            Figure("resident set, holding a segment", loaded.resident_mb, "MB", "lower", reference=bare.resident_mb),
        ]
        write(options.json, found)


if __name__ == "__main__":
    main()
