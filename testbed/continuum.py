"""A whole Splitrail on one machine: broker, coordinator, agents and shaped links, as separate processes on loopback.

What the nodes emulate, how the links run and what befalls a process is the caller's to say.
"""

import contextlib
import os
import signal
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from broker.messages import NodeStatus
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Incoming, Session
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from broker.site_record import ADMIN
from broker.topics import STATUS
from coordinator.configuration import DeploymentSettings, LeadershipSettings, PlanningSettings
from coordinator.status_report import StatusReport
from edge_agent.probes import LinkSettings
from splitrail.client import Client
from testbed.continuum_settings import (
    COORDINATOR,
    EmulatedNode,
    Manner,
    Place,
    agent_settings,
    coordinator_settings,
    write_settings,
)
from testbed.errors import ProcessFailedError, UnknownLinkError
from testbed.processes import ChildProcess, Step, last_line, silently, splitrail_command, stop_all
from testbed.shaping import LOOPBACK, LinkProxy, LinkShape

__all__ = ["BROKER", "COORDINATOR", "STANDBY", "Continuum", "EmulatedNode"]

BROKER, STANDBY = "broker", "standby"
"""The names, beside those of the nodes, by which a process is killed, paused and started."""

START_TIMEOUT_S = 60.0
STATUS_TIMEOUT_S = 10.0
POLL_S = 0.05


class Continuum:
    """The running system, from `with` to its end. Links between nodes are those of `shapes`; both directions each.

    Settings and logs go to `directory`. What is slow to make, models and profiles, is found again in the next
    continuum that is given the same `agent_caches`; without, it goes to `directory` too. `spools` has, by node, the
    directories of the spools that lie elsewhere. With the `locks` of a site, which names the nodes, everything is
    encrypted and admits its members alone; without, it is open to everybody on this machine. Without `failover` each
    strategy stands alone: no origin finishes what a plan does not do in its time. Start and use it from a
    thread that lives as long as it: the processes die with the thread that started them.
    """

    def __init__(
        self,
        nodes: tuple[EmulatedNode, ...],
        shapes: tuple[LinkShape, ...],
        deployments: tuple[DeploymentSettings, ...],
        directory: Path,
        *,
        site: str = "testbed",
        planning: PlanningSettings | None = None,
        probing: LinkSettings | None = None,
        leadership: LeadershipSettings | None = None,
        spools: Mapping[str, Path] | None = None,
        locks: SiteDirectory | None = None,
        failover: bool = True,
        agent_caches: Path | None = None,
        step: Step = silently,
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._deployments = deployments
        self._manner = Manner(
            planning or PlanningSettings(),
            probing or LinkSettings(),
            leadership or LeadershipSettings(),
            spools or {},
            failover,
        )
        self._place = Place(site, directory, agent_caches or directory / "cache", locks)
        self._step = step
        self._processes: dict[str, ChildProcess] = {}
        self._rivals: list[ChildProcess] = []
        self._mosquitto = PrivateMosquitto(directory / "mosquitto", site=locks)
        self._tensor_ports = {node.name: free_port() for node in nodes}
        self._http_ports = {COORDINATOR: free_port(), STANDBY: free_port()}
        self._peers: dict[str, dict[str, str]] = {node.name: {} for node in nodes}
        self._stack = contextlib.ExitStack()
        self.site = site
        self.links = LinkProxy(shapes)
        for shape in shapes:
            self._node(shape.src), self._node(shape.dst)

    def __enter__(self) -> Self:
        """Start everything; return once the coordinator answers and every agent is born. ProcessFailedError if not."""
        with contextlib.ExitStack() as stack:
            with self._step("starting a private Mosquitto"):
                stack.enter_context(self._mosquitto)
            stack.callback(self._stop_children)
            stack.enter_context(self.links)
            for src, dst in self.links.pairs:
                host, port = self.links.listen(src, dst, (LOOPBACK, self._tensor_ports[dst]))
                self._peers[src][dst] = f"tcp://{host}:{port}"
            with self._step("starting the coordinator"):
                self.start(COORDINATOR)
                self.wait_for_coordinator()
            with self._step(f"starting the agents of {', '.join(self._nodes)}"):
                self._start_agents()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything, in the reverse order."""
        with self._step("stopping every process"):
            self._stack.close()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes."""
        return tuple(self._nodes)

    def session(self, client_id: str, user: str = ADMIN) -> Session:
        """A client of the continuum's broker and site, not yet started; a site with locks knows it as `user`."""
        return Session(self._signing_in(user), site=self.site, client_id=client_id)

    def client(self, user: str = ADMIN) -> Client:
        """Who asks the continuum's site for inferences, not yet connected; a site with locks knows it as `user`."""
        return Client(self._signing_in(user), site=self.site)

    def status(self, coordinator: str = COORDINATOR) -> StatusReport:
        """What a coordinator knows of the site now; ProcessFailedError if it does not answer."""
        try:
            return msgspec.json.decode(self._get(coordinator, "/v1/status", STATUS_TIMEOUT_S), type=StatusReport)
        except OSError as error:
            self.check()
            raise ProcessFailedError(f"the {coordinator}", f"does not answer: {error}", self.log(coordinator)) from None

    def store(self, coordinator: str = COORDINATOR) -> Path:
        """The file of a coordinator's telemetry store."""
        return self._place.store(coordinator)

    @property
    def directory(self) -> Path:
        """Where settings, stores and logs are."""
        return self._place.directory

    @property
    def caches(self) -> Path:
        """Where models and segments are cached."""
        return self._place.caches

    def check(self) -> None:
        """ProcessFailedError if a process has died that nobody killed through us."""
        for process in self._processes.values():
            process.check()

    @property
    def locks(self) -> SiteDirectory | None:
        """Who is let in; None where everybody on this machine is."""
        return self._place.locks

    @property
    def coordinators(self) -> tuple[str, ...]:
        """The coordinators that have been started and not ended."""
        return tuple(name for name in self._processes if name in self._http_ports)

    def pids(self) -> Mapping[str, int]:
        """The processes that run, by name."""
        running = {name: process.pid for name, process in self._processes.items() if process.running}
        return running if self._mosquitto.pid is None else {BROKER: self._mosquitto.pid, **running}

    def kill(self, name: str) -> None:
        """End a node's agent, the broker or a coordinator at once, as a power cut would."""
        if name == BROKER:
            self._mosquitto.kill()
        else:
            self._running(name).kill()
            del self._processes[name]

    def stop(self, name: str) -> None:
        """End a node's agent or a coordinator in order, so that it can say farewell."""
        stop_all([self._running(name)])
        del self._processes[name]

    def pause(self, name: str) -> None:
        """Hold a process where it is, SIGSTOP, as a machine that swaps or sleeps does."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused process go on, SIGCONT."""
        self._signal(name, signal.SIGCONT)

    def start(self, name: str) -> None:
        """Start what was killed, on its own files, or the standby coordinator; waits for the broker alone."""
        if name == BROKER:
            self._mosquitto.start()
        elif name in self._http_ports:
            self._processes[name] = self._coordinator(name, self._place, self._http_ports[name])
        else:
            self._processes[name] = self._agent(self._node(name), self._place, self._tensor_ports[name])

    def wait_for_coordinator(self, coordinator: str = COORDINATOR) -> None:
        """Return once a coordinator that was started answers; ProcessFailedError if it does not in time."""
        self._wait(f"the {coordinator}", self.log(coordinator), lambda: self._answers(coordinator))

    def start_rival(self, name: str) -> ChildProcess:
        """Start a second process of the same identity beside a running one.

        An agent's has files of its own, a coordinator's the same store.
        """
        own = self._place.directory / f"rival-{len(self._rivals)}"
        own.mkdir()
        place = replace(self._place, directory=own, caches=own / "cache")
        if name in self._http_ports:
            rival = self._coordinator(name, self._place, free_port(), written_to=own)
        else:
            rival = self._agent(self._node(name), place, free_port())
        self._rivals.append(rival)
        return rival

    def set_load(self, node: str, load: float) -> None:
        """Let others use this share (0 to below 1) of a node's processor from now on; its compute slows accordingly.

        ValueError if the share is not one; UnknownLinkError if there is no such node.
        """
        if not 0.0 <= load < 1.0:
            raise ValueError(f"a load is a share from 0 to below 1, not {load:g}")
        _replace(self._place.load_file(self._node(node).name), f"{load:.6f}\n")

    def set_clock(self, node: str, wrong_by_s: float) -> None:
        """Let a node's clock be wrong by so many seconds from now on, ahead where positive; emulated.

        UnknownLinkError if there is no such node.
        """
        _replace(self._place.clock_file(self._node(node).name), f"{wrong_by_s:.3f}\n")

    def log(self, name: str) -> Path:
        """The log of a node's agent, or of a coordinator."""
        return self._place.directory / f"{name}.log"

    def _node(self, name: str) -> EmulatedNode:
        try:
            return self._nodes[name]
        except KeyError:
            raise UnknownLinkError(f"there is no node {name!r}; the nodes are: {', '.join(self._nodes)}") from None

    def _running(self, name: str) -> ChildProcess:
        if name in self._http_ports:
            return self._processes[name]
        return self._processes[self._node(name).name]

    def _signal(self, name: str, number: signal.Signals) -> None:
        if name != BROKER:
            self._running(name).signal(number)
        elif self._mosquitto.pid is not None:
            os.kill(self._mosquitto.pid, number)

    def _stop_children(self) -> None:
        stop_all([*self._processes.values(), *self._rivals])

    def _coordinator(self, name: str, place: Place, port: int, written_to: Path | None = None) -> ChildProcess:
        directory = written_to or place.directory
        settings = coordinator_settings(
            name,
            place,
            self._manner,
            broker=self._signing_in(COORDINATOR),
            port=port,
            deployments=self._deployments,
        )
        write_settings(directory / f"{name}.yaml", settings)
        command = splitrail_command("coordinator", "--config", str(directory / f"{name}.yaml"))
        return ChildProcess(f"the {name}", command, directory / f"{name}.log")

    def _agent(self, node: EmulatedNode, place: Place, port: int) -> ChildProcess:
        settings = agent_settings(
            node,
            place,
            self._manner,
            broker=self._signing_in(node.name),
            port=port,
            peers=self._peers[node.name],
        )
        configuration = place.directory / f"{node.name}.yaml"
        write_settings(configuration, settings)
        command = splitrail_command("agent", "--config", str(configuration))
        return ChildProcess(f"the agent of {node.name}", command, place.directory / f"{node.name}.log")

    def _answers(self, coordinator: str) -> bool:
        try:
            return bool(self._get(coordinator, "/healthz", timeout_s=2.0))
        except OSError:
            return False

    def _get(self, coordinator: str, path: str, timeout_s: float) -> bytes:
        locks, where = self._place.locks, f"{LOOPBACK}:{self._http_ports[coordinator]}{path}"
        if locks is None:
            request, context = urllib.request.Request(f"http://{where}"), None
        else:
            files = locks.directory_of(ADMIN)
            token = (files / "token").read_text(encoding="ascii").strip()
            request = urllib.request.Request(f"https://{where}", headers={"Authorization": f"Bearer {token}"})
            context = ssl.create_default_context(cafile=files / "ca.crt")
        with urllib.request.urlopen(request, timeout=timeout_s, context=context) as answer:
            content: bytes = answer.read()
            return content

    def _signing_in(self, user: str) -> BrokerSettings:
        locks = self._place.locks
        return self._mosquitto.settings if locks is None else locks.broker_settings(user, host=LOOPBACK)

    def _start_agents(self) -> None:
        born: set[str] = set()

        def witness(incoming: Incoming[NodeStatus]) -> None:
            if incoming.message.state == "online":
                born.add(incoming.message.node)

        observer = self.session("testbed-births")
        observer.on(STATUS, witness)
        with observer:
            for name in self._nodes:
                self.set_load(name, 0.0)
                self.set_clock(name, 0.0)
                self.start(name)
            for name in self._nodes:
                self._wait(f"the agent of {name}", self.log(name), lambda name=name: name in born)  # type: ignore[misc]  # mypy cannot type a default in a lambda

    def _wait(self, process: str, log: Path, ready: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not ready():
            self.check()
            if time.monotonic() > deadline_s:
                raise ProcessFailedError(process, f"is not ready after {START_TIMEOUT_S:g} s: {last_line(log)}", log)
            time.sleep(POLL_S)


def _replace(path: Path, text: str) -> None:
    """Write the file so that a reader finds the old text or the new one."""
    written = path.with_suffix(f"{path.suffix}.written")
    written.write_text(text, encoding="ascii")
    written.replace(path)
