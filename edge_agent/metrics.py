"""What an agent tells Prometheus: every family declared, and their figures at one moment.

Names begin with `splitrail_agent_`, so that nothing is added up with what the coordinator tells of the same things.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

from broker.drops import DroppedCounts
from broker.messages import SpoolReport
from edge_agent.metrics_counts import Counts
from edge_agent.transport import TransportCounters
from splitrail import __version__
from splitrail.metric_families import Family, Figure

_METER = ("meter", "source", "scope", "emulated")

INFO: Final = Family("splitrail_agent_info", "gauge", "Always 1.", ("site", "node", "tier", "version", "emulated"))
POWER: Final = Family(
    "splitrail_agent_power_watts",
    "gauge",
    "A meter's mean power over its newest interval, measured or modelled.",
    _METER,
)
ENERGY: Final = Family(
    "splitrail_agent_energy_joules_total",
    "counter",
    "A meter's cumulative counter since this start; never add up meters or scopes.",
    _METER,
)
INFERENCES: Final = Family(
    "splitrail_agent_inferences_total",
    "counter",
    "Inferences of this origin since its start: answered, rescued (by itself alone) or failed.",
    ("deployment", "outcome"),
)
LATENCY: Final = Family(
    "splitrail_agent_inference_latency_seconds_total",
    "counter",
    "Sum of the latencies of those that gave a result.",
    ("deployment",),
)
FRAMES_DROPPED: Final = Family(
    "splitrail_agent_frames_dropped_total",
    "counter",
    "Frames of `latest` streams that gave way to newer ones at this origin; they are no inferences.",
    ("deployment",),
)
BACKLOG: Final = Family(
    "splitrail_agent_executor_backlog_seconds", "gauge", "What waits for this node's compute, in seconds of it."
)
BUSY: Final = Family(
    "splitrail_agent_executor_busy_seconds_total", "counter", "Time spent computing stages, emulated slowness included."
)
SENT: Final = Family("splitrail_agent_tensor_sent_bytes_total", "counter", "Sent on the tensor plane.")
RECEIVED: Final = Family("splitrail_agent_tensor_received_bytes_total", "counter", "Received on the tensor plane.")
TENSOR_DROPPED: Final = Family(
    "splitrail_agent_tensor_dropped_total", "counter", "Messages of the tensor plane that came to nothing.", ("cause",)
)
PEERS: Final = Family("splitrail_agent_peers", "gauge", "Other nodes that this one knows to be there.")
SPOOL_WAITING: Final = Family(
    "splitrail_agent_spool_waiting_messages", "gauge", "Telemetry that waits here to be stored."
)
SPOOL_WAITING_BYTES: Final = Family("splitrail_agent_spool_waiting_bytes", "gauge", "Its size on disk.")
SPOOL_DROPPED: Final = Family(
    "splitrail_agent_spool_dropped_total", "counter", "Telemetry that was dropped here since this start."
)
BROKER_CONNECTED: Final = Family(
    "splitrail_agent_broker_connected", "gauge", "Whether the MQTT broker is there, 1 or 0."
)
BROKER_DROPPED: Final = Family(
    "splitrail_agent_broker_dropped_total", "counter", "MQTT messages dropped since this start, by cause.", ("cause",)
)

FAMILIES: Final = (
    INFO,
    POWER,
    ENERGY,
    INFERENCES,
    LATENCY,
    FRAMES_DROPPED,
    BACKLOG,
    BUSY,
    SENT,
    RECEIVED,
    TENSOR_DROPPED,
    PEERS,
    SPOOL_WAITING,
    SPOOL_WAITING_BYTES,
    SPOOL_DROPPED,
    BROKER_CONNECTED,
    BROKER_DROPPED,
)
"""In the order of the page and of the reference."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All that the page is made of."""

    site: str
    node: str
    tier: str
    emulated: bool
    counts: Counts
    backlog_s: float
    busy_s: float
    tensors: TransportCounters
    peers: int
    spool: SpoolReport | None
    """None until it is open."""
    connected: bool
    dropped: DroppedCounts


def figures(moment: Moment) -> Iterator[Figure]:
    """The figures of a moment, family by family."""
    yield Figure(INFO, 1.0, (moment.site, moment.node, moment.tier, __version__, _word(moment.emulated)))
    for reading in moment.counts.readings:
        labels = (reading.meter, reading.source, reading.scope, _word(reading.emulated))
        yield Figure(POWER, reading.power_w, labels)
        yield Figure(ENERGY, reading.energy_j, labels)
    for deployment_and_outcome, count in moment.counts.inferences:
        yield Figure(INFERENCES, count, deployment_and_outcome)
    for deployment, latency_s in moment.counts.latency_s:
        yield Figure(LATENCY, latency_s, (deployment,))
    for deployment, dropped_frames in moment.counts.frames_dropped:
        yield Figure(FRAMES_DROPPED, dropped_frames, (deployment,))
    yield Figure(BACKLOG, moment.backlog_s)
    yield Figure(BUSY, moment.busy_s)
    tensors = moment.tensors
    yield Figure(SENT, tensors.sent_bytes)
    yield Figure(RECEIVED, tensors.received_bytes)
    for cause in ("malformed", "undelivered", "refused", "cut"):
        yield Figure(TENSOR_DROPPED, getattr(tensors, cause), (cause,))
    yield Figure(PEERS, moment.peers)
    if moment.spool is not None:
        yield Figure(SPOOL_WAITING, moment.spool.waiting)
        yield Figure(SPOOL_WAITING_BYTES, moment.spool.waiting_bytes)
        yield Figure(SPOOL_DROPPED, moment.spool.dropped)
    yield Figure(BROKER_CONNECTED, float(moment.connected))
    for dropped in fields(moment.dropped):
        yield Figure(BROKER_DROPPED, getattr(moment.dropped, dropped.name), (dropped.name,))


def _word(emulated: bool) -> str:
    return "true" if emulated else "false"
