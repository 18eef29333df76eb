"""Every key of coordinator.yaml, typed, bounded and described; reading the file is `splitrail.settings`' part."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from broker.discovery import DEFAULT_PREFIX, Prefix
from broker.messages import CodecName, Name, StrategyName
from broker.sign_in import BrokerSettings

Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
Weight = Annotated[float, Meta(ge=0.0)]
Seconds = Annotated[float, Meta(gt=0.0)]


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of keys of the settings file."""


class HttpSettings(_Settings, frozen=True, kw_only=True):
    """Where the coordinator serves models and its status."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on; 0.0.0.0 serves every interface.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")] = 8484
    advertise: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s/]+(/[^\s]*)?\Z")] | None,
        Meta(description="Base URL that agents fetch models from; by default http(s)://<host>:<port>."),
    ] = None
    certificate_file: Annotated[
        Path | None, Meta(description="Certificate (PEM) to serve HTTPS with; goes with key_file.")
    ] = None
    key_file: Annotated[Path | None, Meta(description="The certificate's private key (PEM).")] = None
    tokens_file: Annotated[
        Path | None,
        Meta(
            description="Who may ask: lines of `name sha256-of-token`, read anew when it changes. Without it everyone "
            "may, which is refused unless `host` is loopback."
        ),
    ] = None


class InfluxSettings(_Settings, frozen=True, kw_only=True):
    """An InfluxDB that keeps the telemetry; which of its families it is, 1.6 to 3, it is asked."""

    url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s/]+(/[^\s]*)?\Z")],
        Meta(description="Base URL, for instance http://127.0.0.1:8086."),
    ]
    database: Annotated[
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")],
        Meta(description="Database, which InfluxDB 2 calls a bucket; `splitrail telemetry init` makes it."),
    ] = "splitrail"
    org: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None, Meta(description="Organisation, of InfluxDB 2 only.")
    ] = None
    username: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="User of InfluxDB 1; goes with a password."),
    ] = None
    password_file: Annotated[
        Path | None,
        Meta(description="File whose first line is the password; or give it in SPLITRAIL_INFLUXDB_PASSWORD."),
    ] = None
    token_file: Annotated[
        Path | None,
        Meta(
            description="File whose first line is the token of InfluxDB 2 or 3; or give it in SPLITRAIL_INFLUXDB_TOKEN."
        ),
    ] = None
    ca_file: Annotated[
        Path | None, Meta(description="Authority that signed the server's certificate; left out: the system's.")
    ] = None
    spool_mb: Annotated[
        Annotated[float, Meta(ge=1.0)],
        Meta(
            description="Bound on what waits for InfluxDB, in MB of `store`; the oldest is dropped first, and counted."
        ),
    ] = 1_000.0


class HomeAssistantSettings(_Settings, frozen=True, kw_only=True):
    """Shows every node to a Home Assistant on the same broker, by its MQTT discovery."""

    discovery_prefix: Annotated[
        Prefix,
        Meta(description="First level of the topics that Home Assistant discovers by; as set there."),
    ] = DEFAULT_PREFIX


class LeadershipSettings(_Settings, frozen=True, kw_only=True):
    """How the coordinators of a site agree on the one that leads."""

    heartbeat_s: Annotated[Seconds, Meta(description="Time between two signs of life of the leader.")] = 2.0
    lease_s: Annotated[Seconds, Meta(description="A leader that was not heard for so long is succeeded.")] = 6.0


class PlanningSettings(_Settings, frozen=True, kw_only=True):
    """When plans are weighed anew, and how much better a new one has to be."""

    interval_s: Annotated[Seconds, Meta(description="Time between two re-evaluations of a plan.")] = 5.0
    link_change: Annotated[
        Annotated[float, Meta(gt=0.0)],
        Meta(
            description="A link, or a node's time for its ops, that changed by more than this share since the last "
            "evaluation is acted on at once."
        ),
    ] = 0.1
    hysteresis: Annotated[
        Share, Meta(description="A new plan's objective must be lower than the current one's by more than this share.")
    ] = 0.02
    confidence: Annotated[
        Annotated[float, Meta(ge=0.0, le=10.0)],
        Meta(description="A gain must exceed so many standard deviations of what the estimates' spread can explain."),
    ] = 1.0
    switch_cost: Annotated[
        Annotated[float, Meta(ge=0.0, le=1_000.0)],
        Meta(
            description="Factor on what a switch costs (loading, a slow first request), which must have been lost or "
            "be expected to be gained; 0 switches to whatever is better."
        ),
    ] = 1.0
    least_dwell_s: Annotated[
        Annotated[float, Meta(ge=0.0)],
        Meta(description="A plan that can stay is kept for at least this long."),
    ] = 0.5
    join_s: Annotated[
        Annotated[float, Meta(ge=0.0)],
        Meta(
            description="Nodes that join are planned with once nothing new came from them for this long, and after "
            "five times as long in any case; the first plan does not wait."
        ),
    ] = 2.0
    settle_s: Annotated[
        Annotated[float, Meta(ge=0.0)],
        Meta(
            description="A plan that stays (static, fog-only, cloud-only) is made once nothing new came for this long."
        ),
    ] = 5.0
    refusal_s: Annotated[
        Seconds, Meta(description="A node that could not take its part of a plan is left out for this long.")
    ] = 60.0
    reap_every: Annotated[
        int, Meta(ge=1, description="The strategy reap looks for a better split after so many inferences.")
    ] = 100
    most_labels: Annotated[
        int,
        Meta(
            ge=1,
            description="The search for a plan is cut short after so many partial plans; it then takes the best found.",
        ),
    ] = 20_000


class ObjectiveSettings(_Settings, frozen=True, kw_only=True):
    """The weights of the objective; each figure counts as a share of what running all on the origin costs."""

    latency: Annotated[Weight, Meta(description="Weight of the latency.")] = 1.0
    origin_energy: Annotated[Weight, Meta(description="Weight of the origin's energy.")] = 0.0
    total_energy: Annotated[Weight, Meta(description="Weight of the energy of all nodes together.")] = 0.0
    throughput: Annotated[
        Weight, Meta(description="Weight of the time per inference on the busiest node or link, for streams.")
    ] = 0.0


class StageSettings(_Settings, frozen=True, kw_only=True):
    """One stage of a split that is given by hand; an empty one relays."""

    node: Annotated[Name, Meta(description="Node that runs the stage.")]
    start: Annotated[int, Meta(ge=0, description="First op of the stage.")]
    stop: Annotated[int, Meta(ge=0, description="First op after the stage.")]
    codec: Annotated[
        CodecName, Meta(description="How the tensors are packed that it takes in; a relay hands on what it was sent.")
    ] = "raw"


class DeploymentSettings(_Settings, frozen=True, kw_only=True):
    """One model, one origin, one objective."""

    name: Annotated[Name, Meta(description="Name of the deployment, unique at the site.")]
    model: Annotated[Path, Meta(description="The .tflite file, relative to this settings file.")]
    origin: Annotated[Name, Meta(description="Node where the inputs arise and the results are due.")]
    strategy: Annotated[StrategyName, Meta(description="How plans are made.")] = "exact"
    objective: Annotated[ObjectiveSettings, Meta(description="What a plan is judged by.")] = ObjectiveSettings()
    deadline_ms: Annotated[
        Annotated[float, Meta(gt=0.0)] | None, Meta(description="Bound on the latency in ms; null for none.")
    ] = None
    risk: Annotated[
        Annotated[float, Meta(ge=0.5, lt=1.0)] | None,
        Meta(description="Quantile of the latency that plans are made for, 0.95 for instance; null for the mean."),
    ] = None
    requests_per_s: Annotated[
        Annotated[float, Meta(ge=0.0)],
        Meta(description="Requests per second that are expected, as a load that other deployments' plans reckon with."),
    ] = 0.0
    stages: Annotated[
        Annotated[tuple[StageSettings, ...], Meta(max_length=64)],
        Meta(description="The split of a static deployment, by hand; left out, static plans once at launch."),
    ] = ()
    codecs: Annotated[
        bool, Meta(description="Whether tensors may be packed for transfers; false: everything travels raw.")
    ] = True
    codec_figures: Annotated[
        Path | None,
        Meta(
            description="What codecs cost and change, as `splitrail profile --codecs` writes it; by default "
            "`<model>.codecs.json` beside the model. Without it everything travels raw."
        ),
    ] = None
    accuracy_loss: Annotated[
        Share, Meta(description="Share of top-1 answers that codecs may change; 0 takes lossless codecs only.")
    ] = 0.0


class CoordinatorSettings(_Settings, frozen=True, kw_only=True):
    """The whole of coordinator.yaml."""

    site: Annotated[Name, Meta(description="Name of the site; the level under splitrail/v1/ of every topic.")]
    name: Annotated[Name, Meta(description="Name of this coordinator, unique at the site where there are two.")] = (
        "coordinator"
    )
    broker: Annotated[BrokerSettings, Meta(description="The MQTT broker.")] = BrokerSettings()
    leadership: Annotated[LeadershipSettings, Meta(description="Which of a site's coordinators leads.")] = (
        LeadershipSettings()
    )
    store: Annotated[
        Path,
        Meta(
            description="SQLite file that keeps what the coordinator knows, and the telemetry, or with `influxdb` what "
            "of it is on its way there."
        ),
    ] = Path("telemetry.sqlite")
    influxdb: Annotated[
        InfluxSettings | None, Meta(description="An InfluxDB to keep the telemetry in; left out: `store` keeps it.")
    ] = None
    retention_days: Annotated[
        Annotated[float, Meta(gt=0.0)],
        Meta(
            description="Telemetry older than this is deleted from `store`; InfluxDB keeps its own time, see "
            "`splitrail telemetry init`."
        ),
    ] = 7.0
    cache: Annotated[Path, Meta(description="Directory of the content-addressed model cache.")] = Path("models-cache")
    http: Annotated[HttpSettings, Meta(description="Where models and the status are served.")] = HttpSettings()
    home_assistant: Annotated[
        HomeAssistantSettings | None, Meta(description="Shows nodes in Home Assistant; left out: it does not.")
    ] = None
    planning: Annotated[PlanningSettings, Meta(description="When plans change.")] = PlanningSettings()
    deployments: Annotated[
        Annotated[tuple[DeploymentSettings, ...], Meta(min_length=1, max_length=256)],
        Meta(description="What runs at this site."),
    ]
