"""Every message that Splitrail sends over MQTT, as frozen typed values with units in their names.

What comes from the network is checked here, field by field and with bounds, before anything else sees it. They stand
in one file because they are one protocol, whose version speaks for all of them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PROTOCOL_VERSION = 3  # raised with what two agents, or an agent and its coordinator, cannot do without

MAX_IMAGE_BYTES = 16_000_000
MAX_OPS = 20_000
MAX_STAGES = 256

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z", max_length=64)]
Text = Annotated[str, Meta(max_length=2_000)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
NonNegative = Annotated[float, Meta(ge=0.0)]
Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=0)]
OpIndex = Annotated[int, Meta(ge=0, le=MAX_OPS)]
TensorKey = Annotated[str, Meta(pattern=r"^[0-9A-Za-z+/]{200,2000}={0,2}\Z")]
"""The certificate of a node's tensor transport, DER in base64."""
Term = Annotated[int, Meta(ge=0, lt=2**32)]
"""Counts the leaderships of a site; what a leader of a lower term says counts no more."""
CodecName = Literal[
    "raw", "raw+lz4", "raw+zstd", "fp16", "fp16+lz4", "fp16+zstd", "int8", "int8+lz4", "int8+zstd", "uint8", "jpeg"
]
"""How tensors are packed for a transfer; `uint8` and `jpeg` are of an image, the model's input."""
PerOp = Annotated[tuple[NonNegative, ...], Meta(max_length=MAX_OPS)]

Tier = Literal["edge", "fog", "cloud"]
TensorWay = Literal["direct", "mqtt"]
"""Straight from agent to agent, or through the broker where they cannot connect."""
EnergySource = Literal["measured", "modelled"]
EnergyScope = Literal["board", "soc", "package", "gpu", "wall"]
EnergyMethod = Literal["integrated", "scaled", "model"]
"""A meter's counter over the window itself; the model, scaled to what a meter said of a longer one; the model alone."""
Throttling = Literal["under-voltage", "frequency capped", "throttled", "soft temperature limit"]
StrategyName = Literal["exact", "static", "origin-only", "fog-only", "cloud-only", "reap", "neurosurgeon", "dads"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A value that travels as one JSON object; unknown fields are ignored, so that newer peers may say more."""


class SpoolMark(Message, frozen=True):
    """Where a piece of telemetry stands in its node's spool; one without a mark was not spooled and may be lost."""

    session: Name
    """The run of the agent that recorded it; numbers begin anew with each."""
    sequence: Annotated[int, Meta(ge=1, lt=2**53)]
    oldest: Annotated[int, Meta(ge=1, lt=2**53)]
    """The lowest number of this session that the spool still holds: what is below was stored, or dropped."""
    age_s: NonNegative
    """How long ago it was recorded, by the node's monotonic clock where that is the same run's."""


class Hardware(Message, frozen=True):
    """What a node is made of, as it announces itself."""

    architecture: Text
    cpu_model: Text
    cores: Annotated[int, Meta(ge=1)]
    memory_mb: Positive
    runtime: Text
    runtime_version: Text
    accelerators: tuple[Text, ...] = ()


class PowerModel(Message, frozen=True):
    """The watts and joules that the cost model reckons with for a node; always a model, never a measurement."""

    idle_w: NonNegative
    busy_w: NonNegative
    tx_j_per_mb: NonNegative = 0.0
    rx_j_per_mb: NonNegative = 0.0


class NodeAnnouncement(Message, frozen=True):
    """What a node says of itself when it is born."""

    tier: Tier
    version: Text
    protocol: Count
    hardware: Hardware
    power: PowerModel
    memory_mb: NonNegative
    """The bound on the weights that this node is willing to hold, in MB of 10^6 bytes."""
    endpoint: Text
    """Where its tensor transport listens, `tcp://host:port`."""
    emulated: Text | None = None
    """None for a real node; otherwise what is emulated, in words that are shown wherever its figures are."""
    fallback: Literal["mqtt"] | None = None
    """The way by which it takes tensors of nodes that cannot reach its endpoint; None where it takes no other."""
    tensor_key: TensorKey | None = None
    """The key that its tensor transport proves to have; None where that is open, which only loopback may be."""


class NodeStatus(Message, frozen=True):
    """A birth (`online`) or a death (`offline`, also the last will); a death counts only for its own session."""

    node: Name
    session: Name
    state: Literal["online", "offline"]
    announcement: NodeAnnouncement | None = None
    """Set at a birth, absent at a death."""
    connected_s: NonNegative = 0.0
    """At a birth: for how long this session has been connected; of two agents of one name the longer one stays."""
    term: Term = 0
    """At a birth: the highest term that the node has heard of, below which it follows no plan."""
    at: NonNegative = 0.0
    """At a birth: when its connection began, by the node's clock, s since the Unix epoch; 0 where it does not say."""


class NameQuestion(Message, frozen=True):
    """A session that has connected asks who lives under its node's name: who does repeats its birth."""

    node: Name
    question: Name
    """A word of its own, by which the asker knows when it has heard all that came before."""


class TensorCall(Message, frozen=True):
    """A node that cannot reach another directly asks it to listen at the broker for its tensors."""

    dst: Name
    src: Name


class ModelReference(Message, frozen=True):
    """A model by content; the file behind `url` is used only if its sha256 matches."""

    sha256: Sha256
    name: Name
    size_bytes: Annotated[int, Meta(ge=1)]
    ops: OpIndex
    url: Text


class DeploymentNotice(Message, frozen=True):
    """One model, one origin, one objective: what every agent fetches and profiles before it can be planned."""

    deployment: Name
    model: ModelReference
    origin: Name
    strategy: StrategyName = "exact"
    term: Term = 0


class CodecSpeed(Message, frozen=True):
    """How fast a node packs and unpacks tensors by a codec, in ms per MB before encoding."""

    codec: CodecName
    encode_ms_per_mb: NonNegative
    decode_ms_per_mb: NonNegative


class NodeProfile(Message, frozen=True):
    """The measured cost of each op of a model on a node; the ops' times are scaled so that they sum to `unsplit_ms`."""

    node: Name
    model: Sha256
    runtime: Text
    threads: Annotated[int, Meta(ge=1)]
    op_ms: PerOp
    op_ms_std: PerOp
    unsplit_ms: Positive
    unsplit_ms_std: NonNegative
    memory_mb: NonNegative
    """How far the process grew by loading and running the unsplit model."""
    emulated: Text | None = None
    at: NonNegative = 0.0
    """When it was measured, by the node's clock, s since the Unix epoch; 0 of a node that does not say."""
    codecs: Annotated[tuple[CodecSpeed, ...], Meta(max_length=16)] = ()
    """What it can pack and unpack; () of a node that does not say, which takes everything raw."""


class ProfileFailure(Message, frozen=True):
    """Why a node has no profile of a model; said anew at each attempt."""

    node: Name
    model: Sha256
    reason: Text


class EnergyReading(Message, frozen=True):
    """One reading of a node's meter: a cumulative counter and the mean power since the reading before."""

    node: Name
    session: Name
    sequence: Count
    at: float
    """The node's clock, seconds since the Unix epoch."""
    energy_j: NonNegative
    power_w: NonNegative
    interval_s: NonNegative
    """The time that `power_w` is the mean of: since the reading before, less what the counter missed of it."""
    meter: Text
    source: EnergySource
    scope: EnergyScope
    resolution_j: NonNegative = 0.0
    """The smallest step of the counter; 0 where it has none."""
    emulated: bool = False
    mark: SpoolMark | None = None

    @property
    def holds_s(self) -> float:
        """For how long it says what its meter reads, without another; after that the meter has fallen silent."""
        return max(60.0, 3.0 * self.interval_s)


class MachineReading(Message, frozen=True):
    """The state of a node's machine as its operating system tells it; of an emulated node it is the host's."""

    node: Name
    session: Name
    at: float
    """The node's clock, seconds since the Unix epoch."""
    cpu: Annotated[float, Meta(ge=0.0, le=1.0)]
    """Share of all cores that was busy since the reading before."""
    memory_used_mb: NonNegative
    memory_total_mb: NonNegative
    agent_memory_mb: NonNegative
    """The agent's resident set."""
    temperature_c: float | None = None
    """The processor's; None where nothing shows it."""
    throttled: Annotated[tuple[Throttling, ...], Meta(max_length=4)] | None = None
    """What holds the processor back now; () if nothing does, None where nothing shows it."""
    emulated: bool = False
    mark: SpoolMark | None = None


class NodeLoad(Message, frozen=True):
    """How much of what an inference needs of a node's processor others take: its compute is stretched by 1/(1-load)."""

    node: Name
    session: Name
    at: float
    """The node's clock, seconds since the Unix epoch."""
    load: Annotated[float, Meta(ge=0.0, lt=1.0)]
    load_std: NonNegative
    emulated: bool = False
    """Whether a testbed set the load; otherwise it is measured."""
    mark: SpoolMark | None = None


class LinkReading(Message, frozen=True):
    """A node's estimate of its link to another: round trip and one-way bandwidth, each with its spread."""

    src: Name
    dst: Name
    at: float
    rtt_ms: NonNegative
    rtt_ms_std: NonNegative
    mbps: Positive
    mbps_std: NonNegative
    method: Literal["probe", "transfer"]
    way: TensorWay = "direct"
    """How tensors go there now: each way has a round trip and a bandwidth of its own."""
    mark: SpoolMark | None = None


class TensorScale(Message, frozen=True):
    """The affine code of one tensor as int8: its value is `scale` * (code - `zero_point`)."""

    scale: Positive
    zero_point: Annotated[int, Meta(ge=-128, le=127)]


class PlanStage(Message, frozen=True):
    """Ops `start`..`stop`-1 on `node`; an empty range relays."""

    node: Name
    start: OpIndex
    stop: OpIndex
    codec: CodecName = "raw"
    """How the tensors are packed that this stage takes in; relays before it hand on what is packed so."""
    scales: Annotated[tuple[TensorScale, ...], Meta(max_length=64)] = ()
    """Of an int8 codec: one for each float tensor at the cut, in the cut's order."""


class StagePrediction(Message, frozen=True):
    """What the cost model expects of one stage: the transfer into it (0 where nothing moves), and its compute."""

    transfer_ms: NonNegative
    transfer_std_ms: NonNegative
    compute_ms: NonNegative
    compute_std_ms: NonNegative


class Prediction(Message, frozen=True):
    """What the cost model says of a plan; every figure is modelled."""

    latency_ms: NonNegative
    origin_energy_j: NonNegative
    total_energy_j: NonNegative
    objective: NonNegative
    latency_std_ms: NonNegative = 0.0
    stages: Annotated[tuple[StagePrediction, ...], Meta(max_length=MAX_STAGES)] = ()
    """One for each stage of the plan; () in a plan of an older coordinator."""
    return_ms: NonNegative = 0.0
    return_std_ms: NonNegative = 0.0


class Plan(Message, frozen=True, cache_hash=True):
    """A partition plan: its stages cover all ops once, in order; `way_back` leads from the last stage to the origin."""

    deployment: Name
    epoch: Annotated[int, Meta(ge=1, lt=2**32)]
    model: ModelReference
    origin: Name
    stages: Annotated[tuple[PlanStage, ...], Meta(min_length=1, max_length=MAX_STAGES)]
    way_back: Annotated[tuple[Name, ...], Meta(max_length=MAX_STAGES)]
    """Nodes from the last stage's to the origin, both included; empty where the last stage is the origin's."""
    strategy: StrategyName
    prediction: Prediction
    reason: Text
    created_at: float
    term: Term = 0
    """The leadership under which it was made."""


class PlanReady(Message, frozen=True):
    """A node holds all segments of a plan that name it, or says why it cannot."""

    deployment: Name
    epoch: Annotated[int, Meta(ge=1, lt=2**32)]
    node: Name
    ready: bool
    reason: Text = ""
    load_ms: NonNegative = 0.0


class StageEnergy(Message, frozen=True):
    """The energy of a node, all that its scope covers, while it computed one stage."""

    energy_j: NonNegative
    energy_j_std: NonNegative
    method: EnergyMethod
    source: EnergySource
    """`measured` where a meter was integrated over the stage, else `modelled`, also where a meter scaled the model."""
    scope: EnergyScope
    meter: Text
    """The meter that was read, or that scaled the model; `modelled` without one."""


class StageReport(Message, frozen=True):
    """What one stage of one inference took on its node."""

    node: Name
    start: OpIndex
    stop: OpIndex
    compute_ms: NonNegative
    wait_ms: NonNegative
    """From the arrival of its tensors to the start of its compute."""
    codec_ms: NonNegative = 0.0
    """What of `compute_ms` went into unpacking its inputs and packing its outputs."""
    energy: StageEnergy | None = None
    """None of a node that does not say."""
    batch: Annotated[int, Meta(ge=1, le=255)] = 1
    """How many requests were computed in one run, this one among them; its time and energy are its share."""


class TransferReport(Message, frozen=True):
    """One hop of one inference, from the send to the receiver's acknowledgement less half a round trip."""

    src: Name
    dst: Name
    size_bytes: Count
    transfer_ms: NonNegative


class NodeEnergy(Message, frozen=True):
    """What one inference cost one node, by the cost model: its compute, the origin's waiting, and the radio."""

    node: Name
    compute_j: float
    """At the origin at busy power, elsewhere what compute adds to idle power."""
    waiting_j: NonNegative
    radio_j: NonNegative


class ComputeEnergy(Message, frozen=True):
    """What all stages of one inference took together, as their nodes reckon it; waiting and the radio are not in it."""

    energy_j: NonNegative
    energy_j_std: NonNegative
    source: Literal[EnergySource, "mixed"]
    """`mixed` where it is a sum of both."""
    scope: Literal[EnergyScope, "mixed"]


Outcome = Literal["answered", "rescued", "failed"]
"""How an inference ended; `rescued`: its origin finished it by itself."""


class InferenceReport(Message, frozen=True):
    """One inference, as its origin saw it: where the time went, and the energy that the model reckons for it."""

    deployment: Name
    epoch: Count
    request_id: Name
    origin: Name
    at: float
    latency_ms: NonNegative
    stages: Annotated[tuple[StageReport, ...], Meta(max_length=MAX_STAGES)] = ()
    transfers: Annotated[tuple[TransferReport, ...], Meta(max_length=MAX_STAGES)] = ()
    origin_energy_j: NonNegative = 0.0
    total_energy_j: NonNegative = 0.0
    node_energy: Annotated[tuple[NodeEnergy, ...], Meta(max_length=MAX_STAGES)] = ()
    energy_source: EnergySource = "modelled"
    energy_scope: EnergyScope = "board"
    error: Text | None = None
    fallback: Text | None = None
    """Why the origin finished it by itself, where it did."""
    model: Name | None = None
    compute_energy: ComputeEnergy | None = None
    """None where a stage's node does not say, and for what failed."""
    emulated: bool = False
    """Whether a node that took part is emulated."""
    mark: SpoolMark | None = None

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return "failed" if self.error is not None else "rescued" if self.fallback is not None else "answered"


class StageMiss(Message, frozen=True):
    """A hop of an inference that did not come about in the time that its plan allows, as the origin tells."""

    node: Name
    """The origin, which reports it."""
    deployment: Name
    epoch: Count
    at: float
    src: Name
    suspect: Name
    """The node that was to take the tensors, or that has them and does not go on."""
    delivered: bool
    """Whether the suspect has acknowledged the tensors: then it is the node that is silent, else perhaps the link."""
    waited_ms: NonNegative
    allowed_ms: NonNegative
    outcome: Literal["finished at the origin", "moved to another plan", "waits for a plan", "failed"]
    mark: SpoolMark | None = None


Telemetry = EnergyReading | MachineReading | NodeLoad | LinkReading | InferenceReport | StageMiss
"""What agents spool before they publish it."""


class TelemetryStored(Message, frozen=True):
    """The coordinator has stored all telemetry of a node's session up to a number; the node may forget it."""

    node: Name
    session: Name
    sequence: Count
    term: Term


class SpoolReport(Message, frozen=True):
    """How a node's spool stands: what waits to be stored, and what was dropped since this session began, and why."""

    node: Name
    session: Name
    waiting: Count
    waiting_bytes: Count
    dropped: Count
    reason: Text = ""


class Leader(Message, frozen=True):
    """A coordinator leads its site under a term, or releases it; repeated while it leads."""

    coordinator: Name
    session: Name
    term: Annotated[int, Meta(ge=1, lt=2**32)]
    state: Literal["leading", "released"]
    url: Text


class InferRequest(Message, frozen=True):
    """An image (JPEG, PNG or another format that Pillow reads) to be classified; base64 in JSON."""

    request_id: Name
    image: Annotated[bytes, Meta(max_length=MAX_IMAGE_BYTES)]
    top: Annotated[int, Meta(ge=1, le=100)] = 5
    stream: Name | None = None
    """The stream of frames that it belongs to, if any."""
    policy: Literal["every", "latest"] = "every"
    """Of a stream: whether each frame is answered, or one that has not begun gives way to a newer one."""


class ClassScore(Message, frozen=True):
    """One class of a classifier's answer."""

    index: Count
    label: Text
    score: float


class InferReply(Message, frozen=True):
    """The answer to an InferRequest: the best classes, or an error that says what is wrong."""

    request_id: Name
    classes: tuple[ClassScore, ...] = ()
    report: InferenceReport | None = None
    error: Text | None = None
    busy_ms: NonNegative | None = None
    """Set where the request was refused because of overload: how long it would have waited."""
    dropped: bool = False
    """Whether it was a frame of a `latest` stream that gave way to a newer one before it began: no error, no answer."""
