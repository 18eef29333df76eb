"""The settings of an agent, `agent.yaml`, as typed values; every key carries the sentence that documents it."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from broker.messages import Name, Tier
from broker.session import BrokerSettings
from edge_agent.probes import LinkSettings


def described(text: str, **bounds: float) -> Meta:
    """A field's bounds and the sentence that the reference of settings shows for it."""
    return Meta(description=text, **bounds)  # type: ignore[arg-type]  # bounds are gt, ge, lt or le


class TensorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where tensors come in, and how other agents reach this one."""

    listen: Annotated[str, described("Address on which tensors come in; port 0 takes a free one.")] = (
        "tcp://0.0.0.0:5757"
    )
    advertise: Annotated[
        str | None,
        described("Address that other agents should use, where it differs from `listen` (NAT, several interfaces)."),
    ] = None
    peers: Annotated[
        dict[Name, str],
        described("Addresses to use for named agents instead of the ones that they advertise (a tunnel, a proxy)."),
    ] = {}  # noqa: RUF012  # msgspec copies a mutable default for each instance


class PowerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of the modelled energy; those left out are chosen by the hardware."""

    idle_w: Annotated[float, described("Watts of the board when idle (modelled).", ge=0)] | None = None
    busy_w: Annotated[float, described("Watts of the board with all cores busy (modelled).", ge=0)] | None = None
    tx_j_per_mb: Annotated[float, described("Joules per MB sent (modelled).", ge=0)] = 0.0
    rx_j_per_mb: Annotated[float, described("Joules per MB received (modelled).", ge=0)] = 0.0


class EnergySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which energy meter is read, and how often."""

    meter: Annotated[
        Literal["auto", "modelled", "rapl"],
        described("The meter: `auto` takes the best that this machine has, else the model."),
    ] = "auto"
    interval_s: Annotated[float, described("Seconds between readings.", ge=0.1, le=3600)] = 1.0


class EmulationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Makes this agent behave as a slower machine; its figures then say so everywhere."""

    compute_factor: Annotated[float, described("How many times slower each op is made.", ge=1, le=10_000)]
    description: Annotated[str, described("What is emulated, shown beside every figure.")]


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in `agent.yaml`."""

    site: Annotated[Name, described("The site that this node belongs to; one coordinator plans for a site.")]
    node: Annotated[Name, described("The name of this node, unique in its site.")]
    tier: Annotated[Tier, described("Where the node stands: `edge`, `fog` or `cloud`.")]
    broker: Annotated[BrokerSettings, described("The MQTT broker.")] = BrokerSettings()
    cache: Annotated[Path, described("Directory of models, segments and profiles.")] = Path("~/.cache/splitrail")
    cache_mb: Annotated[float, described("Bound on the cached models and segments, in MB.", gt=0)] = 8_000.0
    threads: Annotated[int, described("Interpreter threads of each segment.", ge=1, le=256)] = 1
    memory_mb: Annotated[
        float | None, described("Bound on the weights that this node may hold, in MB; left out: half the memory.")
    ] = None
    request_timeout_s: Annotated[
        float, described("Seconds after which a request of this origin fails with an error.", gt=0, le=3600)
    ] = 30.0
    tensors: Annotated[TensorSettings, described("The tensor transport.")] = TensorSettings()
    power: Annotated[PowerSettings, described("The power model.")] = PowerSettings()
    energy: Annotated[EnergySettings, described("The energy meter.")] = EnergySettings()
    links: Annotated[LinkSettings, described("The link probes.")] = LinkSettings()
    emulation: Annotated[
        EmulationSettings | None, described("Slows this agent's compute; for testbeds on one machine.")
    ] = None
