"""A whole Splitrail on one machine: broker, coordinator, agents and shaped links, as separate processes on loopback.

What the nodes emulate and how the links run is the caller's to say; the demo and the end-to-end tests are callers.
"""

import contextlib
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import yaml

from broker.connection import BrokerSettings
from broker.messages import NodeStatus, Tier
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Incoming, Session
from broker.topics import STATUS
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings, PlanningSettings
from coordinator.status_report import StatusReport
from edge_agent.configuration import AgentSettings, EmulationSettings, EnergySettings, PowerSettings, TensorSettings
from edge_agent.probes import LinkSettings
from testbed.errors import ProcessFailedError, UnknownLinkError
from testbed.processes import ChildProcess, Step, last_line, silently, splitrail_command, stop_all
from testbed.shaping import LOOPBACK, LinkProxy, LinkShape

START_TIMEOUT_S = 60.0
STATUS_TIMEOUT_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class EmulatedNode:
    """A machine that an agent plays. `compute_factor`, at least 1, stretches its compute; 1 plays this machine itself.

    `words` say what is emulated and after which figures; they are shown beside everything that the node reports.
    """

    name: str
    tier: Tier
    compute_factor: float
    power: PowerSettings
    words: str
    memory_mb: float | None = None


class Continuum:
    """The running system, from `with` to its end. Links between nodes are those of `shapes`; both directions each.

    Settings and logs go to `directory`. What is slow to make, models and profiles, is found again in the next
    continuum that is given the same `agent_caches`; without, it goes to `directory` too. Start and use it from a thread
    that lives as long as it: the processes die with the thread that started them.
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
        agent_caches: Path | None = None,
        step: Step = silently,
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._deployments = deployments
        self._directory = directory
        self._planning = planning or PlanningSettings()
        self._probing = probing or LinkSettings()
        self._cache = agent_caches or directory / "cache"
        self._step = step
        self._agents: dict[str, ChildProcess] = {}
        self._coordinator: ChildProcess | None = None
        self._tensor_ports = {node.name: free_port() for node in nodes}
        self._peers: dict[str, dict[str, str]] = {node.name: {} for node in nodes}
        self._stack = contextlib.ExitStack()
        self.site = site
        self.links = LinkProxy(shapes)
        self.broker = BrokerSettings()
        self.coordinator_url = f"http://{LOOPBACK}:{free_port()}"
        for shape in shapes:
            self._node(shape.src), self._node(shape.dst)

    def __enter__(self) -> Self:
        """Start everything; return once the coordinator answers and every agent is born. ProcessFailedError if not."""
        with contextlib.ExitStack() as stack:
            with self._step("starting a private Mosquitto"):
                mosquitto = stack.enter_context(PrivateMosquitto(self._directory / "mosquitto"))
            self.broker = mosquitto.settings
            stack.callback(self._stop_children)
            stack.enter_context(self.links)
            for src, dst in self.links.pairs:
                host, port = self.links.listen(src, dst, (LOOPBACK, self._tensor_ports[dst]))
                self._peers[src][dst] = f"tcp://{host}:{port}"
            with self._step("starting the coordinator"):
                self._start_coordinator()
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

    def session(self, client_id: str) -> Session:
        """A client of the continuum's broker and site, not yet started."""
        return Session(self.broker, site=self.site, client_id=client_id)

    def status(self) -> StatusReport:
        """What the coordinator knows of the site now; ProcessFailedError if it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.coordinator_url}/v1/status", timeout=STATUS_TIMEOUT_S) as answer:
                return msgspec.json.decode(answer.read(), type=StatusReport)
        except OSError as error:
            self.check()
            raise ProcessFailedError("the coordinator", f"does not answer: {error}", self.log("coordinator")) from None

    def check(self) -> None:
        """ProcessFailedError if a process has died that nobody killed through us."""
        for process in self._children():
            process.check()

    def kill(self, node: str) -> None:
        """End a node's agent at once, as a power cut would."""
        self._node(node)
        self._agents.pop(node).kill()

    def start(self, node: str) -> None:
        """Start the agent of a node that was killed; it keeps its cache. Does not wait for its birth."""
        configuration = self._directory / f"{node}.yaml"
        _write(configuration, self._agent_settings(self._node(node)))
        self._agents[node] = ChildProcess(
            f"the agent of {node}", splitrail_command("agent", "--config", str(configuration)), self.log(node)
        )

    def set_load(self, node: str, load: float) -> None:
        """Let others use this share (0 to below 1) of a node's processor from now on; its compute slows accordingly.

        ValueError if the share is not one; UnknownLinkError if there is no such node.
        """
        if not 0.0 <= load < 1.0:
            raise ValueError(f"a load is a share from 0 to below 1, not {load:g}")
        path = self._load_file(self._node(node))
        written = path.with_suffix(".written")
        written.write_text(f"{load:.6f}\n", encoding="ascii")
        written.replace(path)

    def log(self, name: str) -> Path:
        """The log of a node's agent, or of `coordinator`."""
        return self._directory / f"{name}.log"

    def _node(self, name: str) -> EmulatedNode:
        try:
            return self._nodes[name]
        except KeyError:
            raise UnknownLinkError(f"there is no node {name!r}; the nodes are: {', '.join(self._nodes)}") from None

    def _load_file(self, node: EmulatedNode) -> Path:
        return self._directory / f"{node.name}.load"

    def _children(self) -> list[ChildProcess]:
        return [*self._agents.values(), *([self._coordinator] if self._coordinator else [])]

    def _stop_children(self) -> None:
        stop_all(self._children())

    def _start_coordinator(self) -> None:
        configuration = self._directory / "coordinator.yaml"
        port = int(self.coordinator_url.rsplit(":", 1)[1])
        settings = CoordinatorSettings(
            site=self.site,
            broker=self.broker,
            store=self._directory / "telemetry.sqlite",
            cache=self._cache,
            http=HttpSettings(host=LOOPBACK, port=port),
            planning=self._planning,
            deployments=self._deployments,
        )
        _write(configuration, settings)
        self._coordinator = ChildProcess(
            "the coordinator",
            splitrail_command("coordinator", "--config", str(configuration)),
            self.log("coordinator"),
        )
        self._wait("the coordinator", self.log("coordinator"), self._coordinator_answers)

    def _coordinator_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.coordinator_url}/healthz", timeout=2) as answer:  # our own loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

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

    def _agent_settings(self, node: EmulatedNode) -> AgentSettings:
        return AgentSettings(
            site=self.site,
            node=node.name,
            tier=node.tier,
            broker=self.broker,
            cache=self._cache,
            memory_mb=node.memory_mb,
            tensors=TensorSettings(
                listen=f"tcp://{LOOPBACK}:{self._tensor_ports[node.name]}", peers=self._peers[node.name]
            ),
            power=node.power,
            energy=EnergySettings(meter="modelled"),
            links=self._probing,
            emulation=EmulationSettings(
                compute_factor=node.compute_factor, description=node.words, load_file=self._load_file(node)
            ),
        )


def _write(path: Path, settings: msgspec.Struct) -> None:
    """The settings as the YAML file that a user would write."""
    path.write_text(yaml.safe_dump(msgspec.to_builtins(settings, enc_hook=str), sort_keys=False), encoding="utf-8")
