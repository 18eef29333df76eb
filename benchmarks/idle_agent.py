"""What an agent costs that has nothing to do: memory, processor time and wake-ups, in a site with two other agents.

    python benchmarks/idle_agent.py [--seconds 60] [--quick] [--json FILE]

A real site on this machine: broker, coordinator and three agents, one of which no plan needs. It was there before, so
its profile of the model is kept, and it loads no runtime. Beside it, in the same run: a bare interpreter with numpy.
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
from typing import Final

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
    """What a process costs while it idles."""

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


def measure(seconds: float) -> tuple[Cost, Cost]:
    """What an idle agent costs, and a bare interpreter."""
    from broker.connection import BrokerSettings  # noqa: PLC0415  # as above
    from broker.messages import NodeProfile, NodeStatus, PlanReady  # noqa: PLC0415  # as above
    from broker.mosquitto import PrivateMosquitto, free_port  # noqa: PLC0415  # as above
    from broker.session import Incoming, Session  # noqa: PLC0415  # as above
    from broker.topics import PROFILE, READY, STATUS  # noqa: PLC0415  # as above
    from coordinator.configuration import (  # noqa: PLC0415  # as above
        CoordinatorSettings,
        DeploymentSettings,
        HttpSettings,
    )
    from edge_agent.configuration import AgentSettings, TensorSettings  # noqa: PLC0415  # as above
    from testbed.carrier_models import write_carrier_model  # noqa: PLC0415  # as above
    from testbed.continuum_settings import write_settings  # noqa: PLC0415  # as above
    from testbed.processes import ChildProcess, splitrail_command, stop_all  # noqa: PLC0415  # as above

    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        broker = opened.enter_context(PrivateMosquitto(directory / "mosquitto"))
        address = BrokerSettings(host="127.0.0.1", port=broker.port)
        write_carrier_model(directory / "model.tflite", (1, 32, 32, 3), 8)
        write_settings(
            directory / "coordinator.yaml",
            CoordinatorSettings(
                site=SITE,
                broker=address,
                store=directory / "store.sqlite",
                cache=directory / "models",
                http=HttpSettings(port=free_port()),
                deployments=(
                    DeploymentSettings(
                        name="photos", model=directory / "model.tflite", origin=NODES[0], strategy="origin-only"
                    ),
                ),
            ),
        )
        for node in NODES:
            settings = AgentSettings(
                site=SITE,
                node=node,
                tier="edge",
                broker=address,
                cache=directory / node,
                tensors=TensorSettings(listen="tcp://127.0.0.1:0", security="open"),
            )
            write_settings(directory / f"{node}.yaml", settings)
        profiled: set[str] = set()
        online: set[str] = set()
        ready: set[str] = set()
        witness = opened.enter_context(Session(address, site=SITE, client_id="witness"))

        def hear_status(incoming: Incoming[NodeStatus]) -> None:
            (online.add if incoming.message.state == "online" else online.discard)(incoming.message.node)

        def hear_profile(incoming: Incoming[NodeProfile]) -> None:
            profiled.add(incoming.message.node)

        def hear_ready(incoming: Incoming[PlanReady]) -> None:
            ready.add(incoming.message.node)

        witness.on(STATUS, hear_status)
        witness.on(PROFILE, hear_profile)
        witness.on(READY, hear_ready)
        names = directory / "threads.json"
        command = [sys.executable, __file__, "--role=agent", f"--configuration={directory / f'{IDLE}.yaml'}"]
        coordinator = ["coordinator", "--config", str(directory / "coordinator.yaml")]
        children = [ChildProcess("coordinator", splitrail_command(*coordinator), directory / "coordinator.log")]
        opened.callback(lambda: stop_all(children))
        for node in NODES[:2]:
            start = splitrail_command("agent", "--config", str(directory / f"{node}.yaml"))
            children.append(ChildProcess(node, start, directory / f"{node}.log"))
        for turn in ("first", "second"):
            child = ChildProcess(IDLE, [*command, f"--names={names}"], directory / f"{IDLE}-{turn}.log")
            children.append(child)
            until(lambda: len(profiled) == len(NODES) and len(online) == len(NODES) and bool(ready), children)
            if turn == "first":
                stop_all([child])
                children.remove(child)
                until(lambda: len(online) < len(NODES), children)
        bare = subprocess.Popen([sys.executable, "-c", BARE])
        opened.callback(bare.wait)
        opened.callback(bare.kill)
        time.sleep(SETTLE_S)
        found = cost_of(child.pid, seconds, names)
        return found, cost_of(bare.pid, 1.0, None)


def until(condition: Callable[[], bool], children: list) -> None:
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
    idle, bare = measure(30.0 if options.quick else options.seconds)
    for name, cost in (("idle agent", idle), ("bare interpreter with numpy", bare)):
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
        ]
        write(options.json, found)


if __name__ == "__main__":
    main()
