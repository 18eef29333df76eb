"""The settings of an agent, `agent.yaml`, as typed values; every key carries the sentence that documents it."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from broker.messages import Name, Tier
from broker.sign_in import BrokerSettings
from edge_agent.batching import MOST
from edge_agent.probes import LinkSettings

Address = Annotated[str, Meta(pattern=r"^tcp://[^\s/]+:([0-9]{1,5}|\*)\Z")]


class TensorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where tensors come in, and how other agents reach this one."""

    listen: Annotated[Address, Meta(description="Address on which tensors come in; port 0 takes a free one.")] = (
        "tcp://0.0.0.0:5757"
    )
    advertise: Annotated[
        Address | None,
        Meta(description="Address that other agents should use, where it is not `listen` (NAT, several interfaces)."),
    ] = None
    security: Annotated[
        Literal["tls", "open"],
        Meta(
            description="`tls` encrypts tensors and admits only agents of the site; `open` does neither, and is "
            "refused unless `listen` is on loopback."
        ),
    ] = "tls"
    key_file: Annotated[
        Path | None,
        Meta(description="This node's tensor key, made at the first start; left out: `keys/<node>.pem` in `cache`."),
    ] = None
    pacing: Annotated[
        Annotated[float, Meta(gt=0.0, le=1.0)] | None,
        Meta(
            description="Share of a link's estimated bandwidth that tensors may fill, so that messages stay quick; "
            "null paces nothing."
        ),
    ] = 0.9
    fallback: Annotated[
        Literal["mqtt", "none"],
        Meta(
            description="How tensors go to an agent that cannot be connected to: `mqtt` takes them through the broker, "
            "which then sees them and carries their load; `none` leaves them waiting."
        ),
    ] = "mqtt"
    fallback_after_s: Annotated[
        float,
        Meta(description="Seconds for which an agent could not be connected to before `fallback`.", ge=0.5, le=3_600),
    ] = 5.0
    peers: Annotated[
        dict[Name, Address],
        Meta(
            description="Addresses to use for named agents instead of the ones that they advertise (a tunnel, a proxy)."
        ),
    ] = {}  # msgspec copies a mutable default for each instance


class PowerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of the modelled energy; those left out are chosen by the hardware, the watts both or neither."""

    idle_w: Annotated[float, Meta(description="Watts of the board when idle (modelled).", ge=0)] | None = None
    busy_w: Annotated[float, Meta(description="Watts of the board with all cores busy (modelled).", ge=0)] | None = None
    tx_j_per_mb: Annotated[float, Meta(description="Joules per MB sent (modelled).", ge=0)] | None = None
    rx_j_per_mb: Annotated[float, Meta(description="Joules per MB received (modelled).", ge=0)] | None = None

    def __post_init__(self) -> None:
        """ValueError where busy watts would be below idle watts, or might be."""
        if (self.idle_w is None) != (self.busy_w is None):
            raise ValueError("idle_w and busy_w belong to one machine: give both or neither")
        if self.idle_w is not None and self.busy_w is not None and self.busy_w < self.idle_w:
            raise ValueError(f"busy_w is {self.busy_w:g}, it must be at least idle_w, {self.idle_w:g}")


MeterName = Literal["modelled", "rapl", "hwmon", "jetson", "pi5-pmic", "battery", "nvml", "plug"]


class PlugSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A smart plug that measures this node at the wall and says so over the same MQTT broker."""

    kind: Annotated[
        Literal["tasmota", "shelly", "zigbee2mqtt"], Meta(description="Whose messages it speaks; `shelly` is Gen2.")
    ]
    topic: Annotated[
        Annotated[str, Meta(pattern=r"^[^\s#+$\x00][^\s#+\x00]{0,199}\Z")],
        Meta(
            description="Topic of its readings, such as tele/pi-plug/SENSOR, pi-plug/status/switch:0 or "
            "zigbee2mqtt/pi-plug."
        ),
    ]


class EnergySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which energy meters are read, and how often. Every meter that is found is published, and the model too."""

    meter: Annotated[
        Literal["auto"] | MeterName,
        Meta(
            description="The meter that this node's inferences are reckoned by: `auto` takes the best that this "
            "machine has, else the model."
        ),
    ] = "auto"
    interval_s: Annotated[float, Meta(description="Seconds between published readings.", ge=0.1, le=3600)] = 1.0
    plug: Annotated[PlugSettings | None, Meta(description="A smart plug that measures this node.")] = None


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where this agent serves /metrics for Prometheus, /healthz and /readyz."""

    host: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(description="Address to listen on; another than loopback needs a `token_file`."),
    ] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)] | None,
        Meta(description="TCP port, for instance 9484; 0 takes a free one; left out: nothing is served."),
    ] = None
    token_file: Annotated[
        Path | None, Meta(description="File whose first line is the bearer token that /metrics asks for.")
    ] = None


class EmulationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Makes this agent behave as a slower machine; its figures then say so everywhere."""

    compute_factor: Annotated[float, Meta(description="How many times slower each op is made.", ge=1, le=10_000)]
    description: Annotated[str, Meta(description="What is emulated, shown beside every figure.")]
    load_file: Annotated[
        Path | None,
        Meta(
            description="File with one number from 0 to below 1, the share of the processor that others take; read "
            "before each run, which takes 1/(1-load) times as long."
        ),
    ] = None
    clock_file: Annotated[
        Path | None,
        Meta(description="File with one number: the seconds by which this node's clock is wrong, read at each look."),
    ] = None


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where telemetry waits until the coordinator has stored it."""

    file: Annotated[
        Path | None, Meta(description="The spool, an SQLite file; left out: `spool/<site>-<node>.sqlite` in `cache`.")
    ] = None
    max_mb: Annotated[
        float, Meta(description="Bound on what waits, in MB; the oldest is dropped first, and counted.", ge=1)
    ] = 64.0


class ModelServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this agent proves itself to the coordinator that serves the models, and the other way round."""

    token_file: Annotated[Path | None, Meta(description="File whose first line is this node's token.")] = None
    ca_file: Annotated[
        Path | None, Meta(description="Authority that signed the server's certificate; left out: the system's.")
    ] = None


class BatchingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether requests that wait for one segment are computed together; that is done where measured runs gain by it."""

    most: Annotated[
        int, Meta(description="Requests that one run computes at most; 1 computes each alone.", ge=1, le=MOST)
    ] = MOST
    longest_wait_ms: Annotated[
        float,
        Meta(
            description="Milliseconds for which a request that waits anyway may wait for more; 0 takes what is there.",
            ge=0,
            le=1000,
        ),
    ] = 0.0


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in `agent.yaml`."""

    site: Annotated[Name, Meta(description="The site that this node belongs to; one coordinator plans for a site.")]
    node: Annotated[Name, Meta(description="The name of this node, unique in its site.")]
    tier: Annotated[Tier, Meta(description="Where the node stands: `edge`, `fog` or `cloud`.")]
    broker: Annotated[BrokerSettings, Meta(description="The MQTT broker.")] = BrokerSettings()
    cache: Annotated[Path, Meta(description="Directory of models, segments and profiles.")] = Path("~/.cache/splitrail")
    cache_mb: Annotated[float, Meta(description="Bound on the cached models and segments, in MB.", gt=0)] = 8_000.0
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | Literal["auto"],
        Meta(
            description="Interpreter threads of each segment; `auto` takes the count that the profile finds best, and "
            "one for segments that gain nothing by more."
        ),
    ] = "auto"
    memory_mb: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="Bound on the weights that this node may hold, in MB; left out: half the memory."),
    ] = None
    request_timeout_s: Annotated[
        float, Meta(description="Seconds after which a request of this origin fails with an error.", gt=0, le=3600)
    ] = 30.0
    longest_wait_s: Annotated[
        float,
        Meta(description="A request that would wait for longer is answered `busy` at once.", gt=0, le=3600),
    ] = 10.0
    failover: Annotated[
        bool,
        Meta(
            description="Whether this origin finishes, or gives to another plan, what a stage does not do in the time "
            "that its plan predicts; otherwise only a node's death moves a request."
        ),
    ] = True
    spool: Annotated[SpoolSettings, Meta(description="The telemetry that waits to be stored.")] = SpoolSettings()
    models: Annotated[ModelServerSettings, Meta(description="The server of models.")] = ModelServerSettings()
    tensors: Annotated[TensorSettings, Meta(description="The tensor transport.")] = TensorSettings()
    power: Annotated[PowerSettings, Meta(description="The power model.")] = PowerSettings()
    energy: Annotated[EnergySettings, Meta(description="The energy meters.")] = EnergySettings()
    metrics: Annotated[MetricsSettings, Meta(description="What Prometheus reads.")] = MetricsSettings()
    batching: Annotated[BatchingSettings, Meta(description="Requests that are computed together.")] = BatchingSettings()
    links: Annotated[LinkSettings, Meta(description="The link probes.")] = LinkSettings()
    emulation: Annotated[
        EmulationSettings | None, Meta(description="Slows this agent's compute; for testbeds on one machine.")
    ] = None
