"""What a coordinator tells Prometheus: every family declared, and their figures at one moment.

Counting is `coordinator.tally`'s, serving `coordinator.http_server`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Final, get_args

from broker.drops import DroppedCounts
from broker.messages import MachineReading, Throttling
from coordinator.site import State
from coordinator.status_report import LeadershipReport
from coordinator.tally import LATENCY_BOUNDS_S, Counts, HeardReading, LatencyCounts
from coordinator.telemetry.store import StoreReport
from splitrail import __version__
from splitrail.metric_families import Distribution, Family, Figure

_READING = ("node", "meter", "source", "scope", "emulated")

INFO: Final = Family("splitrail_coordinator_info", "gauge", "Always 1.", ("site", "coordinator", "version"))
NODE_ONLINE: Final = Family(
    "splitrail_node_online", "gauge", "Whether a node is there, 1 or 0.", ("node", "tier", "emulated")
)
NODE_POWER: Final = Family(
    "splitrail_node_power_watts",
    "gauge",
    "A meter's mean power over its newest interval, measured or modelled.",
    _READING,
)
NODE_ENERGY: Final = Family(
    "splitrail_node_energy_joules_total",
    "counter",
    "A meter's cumulative counter, from 0 at each start of the agent; never add up meters or scopes.",
    _READING,
)
NODE_LOAD: Final = Family(
    "splitrail_node_load_ratio", "gauge", "What others are believed to take of a node's processor, 0 to 1.", ("node",)
)
_MACHINE = ("node", "emulated")

NODE_CLOCK: Final = Family(
    "splitrail_node_clock_ahead_seconds", "gauge", "How far a node's clock is ahead of this one's.", ("node",)
)
NODE_CPU: Final = Family(
    "splitrail_node_cpu_busy_ratio",
    "gauge",
    "Share of all cores that is busy, 0 to 1; an emulated node's host's.",
    _MACHINE,
)
NODE_MEMORY_USED: Final = Family(
    "splitrail_node_memory_used_bytes", "gauge", "Memory in use; an emulated node's host's.", _MACHINE
)
NODE_MEMORY: Final = Family("splitrail_node_memory_bytes", "gauge", "Memory in all; as above.", _MACHINE)
NODE_AGENT_MEMORY: Final = Family(
    "splitrail_node_agent_resident_memory_bytes", "gauge", "The agent's memory in RAM.", _MACHINE
)
NODE_TEMPERATURE: Final = Family(
    "splitrail_node_temperature_celsius", "gauge", "The processor's, where something shows it.", _MACHINE
)
NODE_THROTTLED: Final = Family(
    "splitrail_node_throttled", "gauge", "What holds the processor back now, 1 or 0 for each cause.", ("node", "cause")
)
INFERENCES: Final = Family(
    "splitrail_inferences_total",
    "counter",
    "Inferences that this coordinator heard of since its start: answered, rescued (by the origin alone) or failed.",
    ("deployment", "outcome"),
)
LATENCY: Final = Family(
    "splitrail_inference_latency_seconds",
    "histogram",
    "From the request to its result, of those inferences that gave one.",
    ("deployment", "emulated"),
)
PLAN_EPOCH: Final = Family("splitrail_plan_epoch", "gauge", "The number of the plan in force.", ("deployment",))
PLAN_CHANGES: Final = Family(
    "splitrail_plan_changes_total", "counter", "Plans that replaced another since this start.", ("deployment",)
)
PLAN_LATENCY: Final = Family(
    "splitrail_plan_predicted_latency_seconds", "gauge", "What the cost model expects of the plan.", ("deployment",)
)
LINK_RTT: Final = Family("splitrail_link_rtt_seconds", "gauge", "Estimate of the round trip.", ("src", "dst"))
LINK_BANDWIDTH: Final = Family(
    "splitrail_link_bandwidth_bytes_per_second", "gauge", "Estimate of the one-way bandwidth.", ("src", "dst")
)
SPOOL_WAITING: Final = Family(
    "splitrail_node_spool_waiting_messages", "gauge", "Telemetry that waits on a node to be stored.", ("node",)
)
SPOOL_DROPPED: Final = Family(
    "splitrail_node_spool_dropped_total", "counter", "Telemetry that a node dropped since its agent's start.", ("node",)
)
STORE_UP: Final = Family("splitrail_store_up", "gauge", "Whether the store keeps and answers, 1 or 0.", ("kind",))
STORE_WAITING: Final = Family(
    "splitrail_store_waiting",
    "gauge",
    "Points on their way to InfluxDB; with SQLite, messages for the disk.",
    ("kind",),
)
STORE_DEAD_LETTERS: Final = Family(
    "splitrail_store_dead_letters", "gauge", "Points that InfluxDB refused for good, kept aside.", ("kind",)
)
TELEMETRY_LOST: Final = Family(
    "splitrail_telemetry_lost_total", "counter", "Telemetry that came and could not be kept, since this start."
)
BROKER_CONNECTED: Final = Family("splitrail_broker_connected", "gauge", "Whether the MQTT broker is there, 1 or 0.")
BROKER_DROPPED: Final = Family(
    "splitrail_broker_dropped_total", "counter", "MQTT messages dropped since this start, by cause.", ("cause",)
)
LEADER: Final = Family("splitrail_leader", "gauge", "Whether this coordinator leads its site, 1 or 0.")
TERM: Final = Family("splitrail_leadership_term", "gauge", "The highest term of leadership that was heard of.")

FAMILIES: Final = (
    INFO,
    NODE_ONLINE,
    NODE_POWER,
    NODE_ENERGY,
    NODE_LOAD,
    NODE_CLOCK,
    NODE_CPU,
    NODE_MEMORY_USED,
    NODE_MEMORY,
    NODE_AGENT_MEMORY,
    NODE_TEMPERATURE,
    NODE_THROTTLED,
    INFERENCES,
    LATENCY,
    PLAN_EPOCH,
    PLAN_CHANGES,
    PLAN_LATENCY,
    LINK_RTT,
    LINK_BANDWIDTH,
    SPOOL_WAITING,
    SPOOL_DROPPED,
    STORE_UP,
    STORE_WAITING,
    STORE_DEAD_LETTERS,
    TELEMETRY_LOST,
    BROKER_CONNECTED,
    BROKER_DROPPED,
    LEADER,
    TERM,
)
"""In the order of the page and of the reference."""


@dataclass(frozen=True, slots=True)
class Moment:
    """All that the page is made of."""

    site: str
    now: float
    """s since 1970."""
    state: State
    counts: Counts
    store: StoreReport
    lost_events: int
    """What came faster than it could be taken, beside the store's own losses."""
    connected: bool
    dropped: DroppedCounts
    leadership: LeadershipReport


def figures(moment: Moment) -> Iterator[Figure]:
    """The figures of a moment, family by family."""
    leadership = moment.leadership
    yield Figure(INFO, 1.0, (moment.site, leadership.coordinator, __version__))
    yield from _of_nodes(moment)
    yield from _of_deployments(moment.state, moment.counts)
    for (src, dst), link in sorted(moment.state.links.items()):
        yield Figure(LINK_RTT, link.belief.rtt_ms / 1e3, (src, dst))
        yield Figure(LINK_BANDWIDTH, link.belief.mbps * 1e6 / 8.0, (src, dst))
    for node, spool in sorted(moment.state.spools.items()):
        yield Figure(SPOOL_WAITING, spool.waiting, (node,))
        yield Figure(SPOOL_DROPPED, spool.dropped, (node,))
    yield from _of_store(moment)
    yield Figure(BROKER_CONNECTED, float(moment.connected))
    for cause in fields(moment.dropped):
        yield Figure(BROKER_DROPPED, getattr(moment.dropped, cause.name), (cause.name,))
    yield Figure(LEADER, float(leadership.state == "leads"))
    yield Figure(TERM, leadership.term)


def _of_nodes(moment: Moment) -> Iterator[Figure]:
    for name, node in sorted(moment.state.nodes.items()):
        emulated = node.announcement.emulated is not None
        yield Figure(NODE_ONLINE, float(node.online), (name, node.announcement.tier, _word(emulated)))
        load = moment.state.loads.get(name)
        if node.online and load is not None and load.session == node.session:
            yield Figure(NODE_LOAD, load.belief.load(moment.now), (name,))
        if node.online and node.clock is not None and node.clock.skew_s is not None:
            yield Figure(NODE_CLOCK, node.clock.skew_s, (name,))
        if node.online and node.machine is not None:
            yield from _of_machine(node.machine)
    for heard in moment.counts.readings:
        reading = heard.reading
        if _is_fresh(heard, moment):
            labels = (reading.node, reading.meter, reading.source, reading.scope, _word(reading.emulated))
            yield Figure(NODE_POWER, reading.power_w, labels)
            yield Figure(NODE_ENERGY, reading.energy_j, labels)


def _of_machine(machine: MachineReading) -> Iterator[Figure]:
    labels = machine.node, _word(machine.emulated)
    yield Figure(NODE_CPU, machine.cpu, labels)
    yield Figure(NODE_MEMORY_USED, machine.memory_used_mb * 1e6, labels)
    yield Figure(NODE_MEMORY, machine.memory_total_mb * 1e6, labels)
    yield Figure(NODE_AGENT_MEMORY, machine.agent_memory_mb * 1e6, labels)
    if machine.temperature_c is not None:
        yield Figure(NODE_TEMPERATURE, machine.temperature_c, labels)
    if machine.throttled is not None:
        for cause in get_args(Throttling):
            yield Figure(NODE_THROTTLED, float(cause in machine.throttled), (machine.node, cause))


def _is_fresh(heard: HeardReading, moment: Moment) -> bool:
    """Whether a reading is of the session that is there, and another would have come if the meter had stopped."""
    node = moment.state.nodes.get(heard.reading.node)
    if node is None or not node.online or node.session != heard.reading.session:
        return False
    return heard.is_fresh(moment.now)


def _of_deployments(state: State, counts: Counts) -> Iterator[Figure]:
    for labels, count in counts.inferences:
        yield Figure(INFERENCES, count, labels)
    for (deployment, emulated), latencies in counts.latencies:
        yield Figure(LATENCY, _distribution(latencies), (deployment, _word(emulated)))
    for deployment, count in counts.plan_changes:
        yield Figure(PLAN_CHANGES, count, (deployment,))
    for name, deployment_state in sorted(state.deployments.items()):
        plan = deployment_state.plan
        if plan is not None:
            yield Figure(PLAN_EPOCH, plan.epoch, (name,))
            yield Figure(PLAN_LATENCY, plan.prediction.latency_ms / 1e3, (name,))


def _of_store(moment: Moment) -> Iterator[Figure]:
    store = moment.store
    yield Figure(STORE_UP, float(store.obstacle is None), (store.kind,))
    yield Figure(STORE_WAITING, store.waiting, (store.kind,))
    yield Figure(STORE_DEAD_LETTERS, store.dead_letters, (store.kind,))
    yield Figure(TELEMETRY_LOST, store.lost + moment.lost_events)


def _distribution(latencies: LatencyCounts) -> Distribution:
    return Distribution(tuple(zip(LATENCY_BOUNDS_S, accumulate(latencies.counts), strict=True)), latencies.sum_s)


def _word(emulated: bool) -> str:
    return "true" if emulated else "false"
