"""The telemetry schema: every measurement with its tags, its fields and their units, and what bounds its series.

One declaration for InfluxDB, the SQLite store's views, exports, dashboards and docs/telemetry.md.
"""

from dataclasses import dataclass
from typing import Final, Literal

FieldKind = Literal["number", "count", "text", "flag"]
"""A 64-bit float, an integer, a text, true or false. A field keeps its kind: databases fix it at first sight."""

MOST_ROUTE_NODES: Final = 8
MOST_STAGES: Final = 256


@dataclass(frozen=True, slots=True)
class Tag:
    """An indexed text; `bound` says in words how many values it may take at a site. An empty one is left out."""

    name: str
    summary: str
    bound: str


@dataclass(frozen=True, slots=True)
class Field:
    """A figure or text of a point; one that is not known is left out."""

    name: str
    kind: FieldKind
    unit: str
    """Empty where it has none."""
    summary: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One kind of point."""

    name: str
    summary: str
    time: str
    """What its time is, in words."""
    tags: tuple[Tag, ...]
    fields: tuple[Field, ...]


_NODE = Tag("node", "the node", "nodes")
_DEPLOYMENT = Tag("deployment", "the deployment", "deployments")
_POSITION = Tag(
    "position", "its place in the plan, 000 for the first", f"at most {MOST_STAGES}; the stages of the plans"
)
_EMULATED = Tag("emulated", "`yes` where an emulated machine is part of it", "2")
_SOURCE = Tag("source", "`measured` or `modelled`", "2")
_SCOPE = Tag("scope", "what it covers: `board`, `soc`, `package`, `gpu` or `wall`", "5")
_EPOCH = Field("epoch", "count", "", "the plan's epoch")
_SKEW = Field("skew_s", "number", "s", "how far the node's clock is ahead of the coordinator's")

ENERGY = Measurement(
    "energy",
    "readings of energy meters; the model is one",
    "when the meter was read",
    (
        _NODE,
        Tag("meter", "the meter", "those of a node, at most 9"),
        _SOURCE,
        _SCOPE,
        _EMULATED,
    ),
    (
        Field("energy_j", "number", "J", "the meter's counter; it begins anew with each run of the agent"),
        Field("used_j", "number", "J", "what the counter rose by in the interval: to be summed"),
        Field("power_w", "number", "W", "mean power over the interval"),
        Field("interval_s", "number", "s", "time since the reading before, less what the meter missed"),
        Field("resolution_j", "number", "J", "the counter's smallest step"),
    ),
)
NODE = Measurement(
    "node",
    "the state of a node's machine, and what others take of it",
    "when it was looked at",
    (_NODE, _EMULATED),
    (
        Field("cpu", "number", "0..1", "share of all cores that is busy; an emulated node's is its host's"),
        Field("memory_used_mb", "number", "MB", "memory in use"),
        Field("memory_total_mb", "number", "MB", "memory there is"),
        Field("agent_memory_mb", "number", "MB", "the agent's resident set"),
        Field("temperature_c", "number", "°C", "the processor's temperature"),
        Field("throttled", "count", "", "how many causes hold the processor back now; 0 if none"),
        Field("throttled_by", "text", "", "those causes, with commas between"),
        Field("load", "number", "0..1", "what others take of the processor: compute takes 1/(1-load) times as long"),
        Field("load_std", "number", "0..1", "the spread of `load`"),
        _SKEW,
    ),
)
LINK = Measurement(
    "link",
    "nodes' estimates of their links",
    "when it was estimated",
    (
        Tag("src", "the node that sends", "nodes"),
        Tag("dst", "the node that receives", "nodes"),
        Tag("method", "`probe` (estimated actively) or `transfer` (from tensors, passive)", "2"),
        Tag("way", "`direct`, or `mqtt` where tensors go through the broker", "2"),
    ),
    (
        Field("rtt_ms", "number", "ms", "round trip"),
        Field("rtt_ms_std", "number", "ms", "its spread"),
        Field("mbps", "number", "Mbit/s", "one-way bandwidth"),
        Field("mbps_std", "number", "Mbit/s", "its spread"),
    ),
)
INFERENCE = Measurement(
    "inference",
    "inferences, as their origins saw them",
    "when the request began",
    (
        _DEPLOYMENT,
        Tag("origin", "the node where the input arose", "nodes"),
        Tag("model", "the model's name", "models"),
        Tag(
            "route",
            f"the nodes that computed, in order, with `>` between; `many` where there are more than {MOST_ROUTE_NODES}",
            "orders of nodes that plans have used",
        ),
        Tag("outcome", "`answered`, `rescued` (finished by the origin alone) or `failed`", "3"),
        Tag("energy_source", "of origin_energy_j and total_energy_j", "2"),
        Tag("energy_scope", "of origin_energy_j and total_energy_j", "5"),
        Tag("compute_energy_source", "of compute_energy_j: `measured`, `modelled` or `mixed`", "3"),
        Tag("compute_energy_scope", "of compute_energy_j, `mixed` where its stages' differ", "6"),
        _EMULATED,
    ),
    (
        Field("latency_ms", "number", "ms", "from the request to the result"),
        _EPOCH,
        Field("origin_energy_j", "number", "J", "the origin's energy: compute, waiting, radio"),
        Field("total_energy_j", "number", "J", "the energy of all nodes"),
        Field("compute_energy_j", "number", "J", "the sum of its stages' energies"),
        Field("compute_energy_j_std", "number", "J", "its spread"),
        Field("stages", "count", "", "how many stages computed"),
        Field("sent_bytes", "count", "B", "bytes over all links"),
        Field("request_id", "text", "", "the request"),
        Field("error", "text", "", "why it failed"),
        Field("fallback", "text", "", "why the origin finished it alone"),
    ),
)
STAGE = Measurement(
    "stage",
    "the stages of inferences",
    "when the request began",
    (
        _DEPLOYMENT,
        _NODE,
        _POSITION,
        Tag("energy_method", "`integrated` (a meter over the stage), `scaled` (the model, by a meter) or `model`", "3"),
        Tag("energy_source", "of energy_j: `measured` or `modelled`", "2"),
        Tag("energy_scope", "of energy_j", "5"),
        Tag("energy_meter", "the meter behind energy_j", "those of a node, at most 9"),
        _EMULATED,
    ),
    (
        Field("compute_ms", "number", "ms", "time to compute"),
        Field("codec_ms", "number", "ms", "what of it went into unpacking and packing tensors"),
        Field("wait_ms", "number", "ms", "from the arrival of its tensors to the start of its compute"),
        Field("batch", "count", "", "requests in one run; the time and the energy are this one's share"),
        Field("start", "count", "", "first op"),
        Field("stop", "count", "", "first op after it"),
        _EPOCH,
        Field("energy_j", "number", "J", "the node's energy while it computed, idle power included"),
        Field("energy_j_std", "number", "J", "its spread"),
    ),
)
TRANSFER = Measurement(
    "transfer",
    "the hops of inferences",
    "when the request began",
    (
        _DEPLOYMENT,
        Tag("src", "the node that sent", "nodes"),
        Tag("dst", "the node that received", "nodes"),
        _POSITION,
        _EMULATED,
    ),
    (
        Field("transfer_ms", "number", "ms", "from the send to the arrival"),
        Field("size_bytes", "count", "B", "bytes sent"),
        _EPOCH,
    ),
)
PLAN = Measurement(
    "plan",
    "partition plans as they were published",
    "when the plan was made",
    (_DEPLOYMENT, Tag("strategy", "how it was made", "strategies"), Tag("model", "the model's name", "models")),
    (
        _EPOCH,
        Field("term", "count", "", "the leadership under which it was made"),
        Field("split", "text", "", "its stages in words, such as `pi 0-11, laptop 12-64`"),
        Field("reason", "text", "", "why it was made"),
        Field("modelled_latency_ms", "number", "ms", "what the cost model expects"),
        Field("modelled_latency_ms_std", "number", "ms", "its spread"),
        Field("modelled_origin_energy_j", "number", "J", "what the cost model expects of the origin"),
        Field("modelled_total_energy_j", "number", "J", "what the cost model expects of all nodes"),
    ),
)
PLAN_STAGE = Measurement(
    "plan_stage",
    "the stages of plans",
    "when the plan was made",
    (_DEPLOYMENT, _NODE, _POSITION),
    (
        _EPOCH,
        Field("start", "count", "", "first op"),
        Field("stop", "count", "", "first op after it; `start` where it relays"),
        Field("codec", "text", "", "how the tensors are packed that it takes in, `raw` if they are not"),
        Field("modelled_compute_ms", "number", "ms", "what the cost model expects of its compute"),
        Field("modelled_transfer_ms", "number", "ms", "what the cost model expects of the transfer into it"),
    ),
)
PROFILE = Measurement(
    "profile",
    "nodes' profiles of models; the times of single ops are in the message that the broker keeps",
    "when it was measured",
    (_NODE, Tag("model", "the first 12 digits of the model's sha256", "models"), _EMULATED),
    (
        Field("unsplit_ms", "number", "ms", "time of the unsplit model"),
        Field("unsplit_ms_std", "number", "ms", "its spread"),
        Field("memory_mb", "number", "MB", "by how much the process grew"),
        Field("ops", "count", "", "ops of the model"),
        Field("threads", "count", "", "interpreter threads"),
        Field("runtime", "text", "", "the runtime"),
    ),
)
EVENT = Measurement(
    "event",
    "what happened at the site: nodes came and went, stages were missed, plans were refused",
    "when it happened; of what only the coordinator noticed, when it did",
    (
        Tag("kind", "`birth`, `death`, `miss`, `refusal`, `unprofiled` or `clock`", "6"),
        Tag("node", "whom it is about", "nodes"),
        Tag("deployment", "the deployment, where it is of one", "deployments"),
        Tag("reporter", "the node or coordinator that noticed it", "nodes and coordinators"),
    ),
    (
        Field("text", "text", "", "what happened, in words"),
        Field("tier", "text", "", "a birth: the node's tier"),
        Field("version", "text", "", "a birth: the agent's version"),
        Field("emulated", "text", "", "a birth: what is emulated, where something is"),
        Field("session", "text", "", "a birth or death: the run of the agent"),
        Field("src", "text", "", "a miss: the node that sent, or was to"),
        Field("delivered", "flag", "", "a miss: whether the tensors had been acknowledged"),
        Field("waited_ms", "number", "ms", "a miss: how long it was waited"),
        Field("allowed_ms", "number", "ms", "a miss: what the plan allows"),
        _EPOCH,
        _SKEW,
    ),
)

MEASUREMENTS: Final = (ENERGY, NODE, LINK, INFERENCE, STAGE, TRANSFER, PLAN, PLAN_STAGE, PROFILE, EVENT)
