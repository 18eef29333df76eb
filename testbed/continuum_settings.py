"""The settings files of a continuum's processes, as a user would write them; starting the processes is the continuum's.

Everything listens on loopback, open or with the locks of a site. What an agent emulates is said in its own settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from broker.messages import Tier
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from coordinator.configuration import (
    CoordinatorSettings,
    DeploymentSettings,
    HttpSettings,
    LeadershipSettings,
    PlanningSettings,
)
from edge_agent.configuration import (
    AgentSettings,
    EmulationSettings,
    EnergySettings,
    ModelServerSettings,
    PowerSettings,
    SpoolSettings,
    TensorSettings,
)
from edge_agent.probes import LinkSettings
from testbed.shaping import LOOPBACK

COORDINATOR = "coordinator"


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


@dataclass(frozen=True, slots=True)
class Manner:
    """How the processes work; `spools` has, by node, the directories of the spools that lie apart."""

    planning: PlanningSettings
    probing: LinkSettings
    leadership: LeadershipSettings
    spools: Mapping[str, Path]
    failover: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where the processes of a continuum keep their files, and the site that they form."""

    site: str
    directory: Path
    caches: Path
    locks: SiteDirectory | None
    """Who is let in, and by what; None for a site that is open to everybody on this machine."""

    def http(self, port: int) -> HttpSettings:
        """How a coordinator serves HTTP on a port."""
        if self.locks is None:
            return HttpSettings(host=LOOPBACK, port=port)
        files = self.locks.directory_of(COORDINATOR)
        return HttpSettings(
            host=LOOPBACK,
            port=port,
            certificate_file=files / "http.pem",
            key_file=files / "http.pem",
            tokens_file=files / "tokens",
        )

    def models(self, node: str) -> ModelServerSettings:
        """How an agent proves itself to the coordinator."""
        if self.locks is None:
            return ModelServerSettings()
        files = self.locks.directory_of(node)
        return ModelServerSettings(token_file=files / "token", ca_file=files / "ca.crt")

    def load_file(self, node: str) -> Path:
        """The file that sets what others take of a node's processor."""
        return self.directory / f"{node}.load"

    def clock_file(self, node: str) -> Path:
        """The file that sets by how much a node's clock is wrong."""
        return self.directory / f"{node}.clock"

    def store(self, coordinator: str) -> Path:
        """The telemetry store of a coordinator."""
        return self.directory / ("telemetry.sqlite" if coordinator == COORDINATOR else f"{coordinator}.sqlite")


def coordinator_settings(
    name: str,
    place: Place,
    manner: Manner,
    *,
    broker: BrokerSettings,
    port: int,
    deployments: tuple[DeploymentSettings, ...],
) -> CoordinatorSettings:
    """What the coordinator `name` of this place is started with; it serves HTTP on `port`."""
    return CoordinatorSettings(
        site=place.site,
        name=name,
        broker=broker,
        leadership=manner.leadership,
        store=place.store(name),
        cache=place.caches,
        http=place.http(port),
        planning=manner.planning,
        deployments=deployments,
    )


def agent_settings(
    node: EmulatedNode,
    place: Place,
    manner: Manner,
    *,
    broker: BrokerSettings,
    port: int,
    peers: Mapping[str, str],
) -> AgentSettings:
    """What the agent of a node is started with; its tensors come in on `port`, it reaches the others at `peers`."""
    return AgentSettings(
        site=place.site,
        node=node.name,
        tier=node.tier,
        broker=broker,
        cache=place.caches,
        memory_mb=node.memory_mb,
        tensors=TensorSettings(
            fallback="none",  # the links are emulated between the agents, the broker's are not
            listen=f"tcp://{LOOPBACK}:{port}",
            security="open" if place.locks is None else "tls",
            key_file=place.directory / f"{node.name}.pem",
            pacing=None,  # the links do not carry the broker's messages: there is nothing to pace tensors for
            peers=dict(peers),
        ),
        failover=manner.failover,
        spool=SpoolSettings(file=manner.spools.get(node.name, place.directory) / f"{node.name}-spool.sqlite"),
        models=place.models(node.name),
        power=node.power,
        energy=EnergySettings(meter="modelled"),
        links=manner.probing,
        emulation=EmulationSettings(
            compute_factor=node.compute_factor,
            description=node.words,
            load_file=place.load_file(node.name),
            clock_file=place.clock_file(node.name),
        ),
    )


def write_settings(path: Path, settings: msgspec.Struct) -> None:
    """The settings as the YAML file that a user would write."""
    path.write_text(yaml.safe_dump(msgspec.to_builtins(settings, enc_hook=str), sort_keys=False), encoding="utf-8")
