"""What a message is in the telemetry schema: a few samples, each of a measurement at a time. Pure.

The schema is `coordinator.telemetry.measurements`, events are `coordinator.telemetry.event_points`.
"""

from broker.messages import (
    EnergyReading,
    InferenceReport,
    LinkReading,
    MachineReading,
    NodeLoad,
    NodeProfile,
    Plan,
    PlanStage,
    SpoolMark,
    StagePrediction,
    StageReport,
    TransferReport,
)
from coordinator.telemetry.event_points import event_of
from coordinator.telemetry.measurements import (
    ENERGY,
    INFERENCE,
    LINK,
    MOST_ROUTE_NODES,
    NODE,
    PLAN,
    PLAN_STAGE,
    PROFILE,
    STAGE,
    TRANSFER,
)
from coordinator.telemetry.point_time import began_at, point_time_ns
from coordinator.telemetry.samples import Sample, place, sample, tag_text, yes
from coordinator.telemetry.store import Storable

DIGITS_OF_A_MODEL = 12


def samples_of(  # noqa: PLR0911  # one for each kind
    message: Storable, recorded_at: float, *, coordinator: str
) -> tuple[Sample, ...]:
    """The samples of a message that was recorded at that time (s since 1970, by the clock of this `coordinator`).

    OverflowError where a count exceeds 64 bits.
    """
    match message:
        case EnergyReading():
            return (_of_energy(message, recorded_at),)
        case MachineReading():
            return (_of_machine(message, recorded_at),)
        case NodeLoad():
            return (_of_load(message, recorded_at),)
        case LinkReading():
            return (_of_link(message, recorded_at),)
        case InferenceReport():
            return _of_inference(message, recorded_at)
        case Plan():
            return _of_plan(message, recorded_at)
        case NodeProfile():
            return (_of_profile(message, recorded_at),)
        case _:
            event = event_of(message, recorded_at, coordinator=coordinator)
            return (event,) if event is not None else ()


def time_of(message: EnergyReading | MachineReading | NodeLoad | LinkReading, recorded_at: float) -> int:
    """The time of a reading's point, ns since 1970."""
    return point_time_ns(message.at, recorded_at, _sequence(message.mark))


def time_of_inference(report: InferenceReport, recorded_at: float) -> int:
    """The time of an inference's points, ns since 1970: when it began."""
    return point_time_ns(report.at, began_at(report, recorded_at), _sequence(report.mark))


def route_of(report: InferenceReport) -> str:
    """The nodes that computed, in order; `many` where a tag of all of them would be no use."""
    nodes = [stage.node for stage in report.stages if stage.start < stage.stop]
    return ">".join(nodes) if len(nodes) <= MOST_ROUTE_NODES else "many"


def split_in_words(stages: tuple[PlanStage, ...]) -> str:
    """The stages of a plan with their first and last ops, and the codecs of what they take in where it is packed."""
    return ", ".join(
        f"{stage.node} {stage.start}-{stage.stop - 1}{f' ({stage.codec})' if stage.codec != 'raw' else ''}"
        if stage.start < stage.stop
        else f"{stage.node} relays"
        for stage in stages
    )


def predicted(plan: Plan, position: int) -> StagePrediction | None:
    """What the cost model expects of a stage; None in the plan of an older coordinator."""
    return plan.prediction.stages[position] if position < len(plan.prediction.stages) else None


def _sequence(mark: SpoolMark | None) -> int:
    return mark.sequence if mark is not None else 0


def _of_energy(reading: EnergyReading, recorded_at: float) -> Sample:
    return sample(
        ENERGY.name,
        time_of(reading, recorded_at),
        (
            ("node", reading.node),
            ("meter", tag_text(reading.meter)),
            ("source", reading.source),
            ("scope", reading.scope),
            ("emulated", yes(reading.emulated)),
        ),
        (
            ("energy_j", reading.energy_j),
            ("used_j", reading.power_w * reading.interval_s),
            ("power_w", reading.power_w),
            ("interval_s", reading.interval_s),
            ("resolution_j", reading.resolution_j or None),
        ),
    )


def _of_machine(reading: MachineReading, recorded_at: float) -> Sample:
    throttled = reading.throttled
    return sample(
        NODE.name,
        time_of(reading, recorded_at),
        (("node", reading.node), ("emulated", yes(reading.emulated))),
        (
            ("cpu", reading.cpu),
            ("memory_used_mb", reading.memory_used_mb),
            ("memory_total_mb", reading.memory_total_mb),
            ("agent_memory_mb", reading.agent_memory_mb),
            ("temperature_c", reading.temperature_c),
            ("throttled", len(throttled) if throttled is not None else None),
            ("throttled_by", ",".join(throttled) if throttled is not None else None),
            ("skew_s", reading.at - recorded_at),
        ),
    )


def _of_load(load: NodeLoad, recorded_at: float) -> Sample:
    return sample(
        NODE.name,
        time_of(load, recorded_at),
        (("node", load.node), ("emulated", yes(load.emulated))),
        (("load", load.load), ("load_std", load.load_std)),
    )


def _of_link(link: LinkReading, recorded_at: float) -> Sample:
    return sample(
        LINK.name,
        time_of(link, recorded_at),
        (("src", link.src), ("dst", link.dst), ("method", link.method), ("way", link.way)),
        (
            ("rtt_ms", link.rtt_ms),
            ("rtt_ms_std", link.rtt_ms_std),
            ("mbps", link.mbps),
            ("mbps_std", link.mbps_std),
        ),
    )


def _of_inference(report: InferenceReport, recorded_at: float) -> tuple[Sample, ...]:
    time_ns = time_of_inference(report, recorded_at)
    compute = report.compute_energy
    return (
        sample(
            INFERENCE.name,
            time_ns,
            (
                ("deployment", report.deployment),
                ("origin", report.origin),
                ("model", report.model),
                ("route", route_of(report)),
                ("outcome", report.outcome),
                ("energy_source", report.energy_source),
                ("energy_scope", report.energy_scope),
                ("compute_energy_source", compute.source if compute is not None else None),
                ("compute_energy_scope", compute.scope if compute is not None else None),
                ("emulated", yes(report.emulated)),
            ),
            (
                ("latency_ms", report.latency_ms),
                ("epoch", report.epoch),
                ("origin_energy_j", report.origin_energy_j),
                ("total_energy_j", report.total_energy_j),
                ("compute_energy_j", compute.energy_j if compute is not None else None),
                ("compute_energy_j_std", compute.energy_j_std if compute is not None else None),
                ("stages", sum(stage.start < stage.stop for stage in report.stages)),
                ("sent_bytes", sum(hop.size_bytes for hop in report.transfers)),
                ("request_id", report.request_id),
                ("error", report.error),
                ("fallback", report.fallback),
            ),
        ),
        *(_of_stage(report, stage, position, time_ns) for position, stage in enumerate(report.stages)),
        *(_of_transfer(report, hop, position, time_ns) for position, hop in enumerate(report.transfers)),
    )


def _of_stage(report: InferenceReport, stage: StageReport, position: int, time_ns: int) -> Sample:
    energy = stage.energy
    return sample(
        STAGE.name,
        time_ns,
        (
            ("deployment", report.deployment),
            ("node", stage.node),
            ("position", place(position)),
            ("energy_method", energy.method if energy is not None else None),
            ("energy_source", energy.source if energy is not None else None),
            ("energy_scope", energy.scope if energy is not None else None),
            ("energy_meter", tag_text(energy.meter) if energy is not None else None),
            ("emulated", yes(report.emulated)),
        ),
        (
            ("compute_ms", stage.compute_ms),
            ("codec_ms", stage.codec_ms),
            ("wait_ms", stage.wait_ms),
            ("batch", stage.batch),
            ("start", stage.start),
            ("stop", stage.stop),
            ("epoch", report.epoch),
            ("energy_j", energy.energy_j if energy is not None else None),
            ("energy_j_std", energy.energy_j_std if energy is not None else None),
        ),
    )


def _of_transfer(report: InferenceReport, hop: TransferReport, position: int, time_ns: int) -> Sample:
    return sample(
        TRANSFER.name,
        time_ns,
        (
            ("deployment", report.deployment),
            ("src", hop.src),
            ("dst", hop.dst),
            ("position", place(position)),
            ("emulated", yes(report.emulated)),
        ),
        (("transfer_ms", hop.transfer_ms), ("size_bytes", hop.size_bytes), ("epoch", report.epoch)),
    )


def _of_plan(plan: Plan, recorded_at: float) -> tuple[Sample, ...]:
    time_ns = point_time_ns(plan.created_at, recorded_at)
    prediction = plan.prediction
    made = sample(
        PLAN.name,
        time_ns,
        (("deployment", plan.deployment), ("strategy", plan.strategy), ("model", plan.model.name)),
        (
            ("epoch", plan.epoch),
            ("term", plan.term),
            ("split", split_in_words(plan.stages)),
            ("reason", plan.reason),
            ("modelled_latency_ms", prediction.latency_ms),
            ("modelled_latency_ms_std", prediction.latency_std_ms),
            ("modelled_origin_energy_j", prediction.origin_energy_j),
            ("modelled_total_energy_j", prediction.total_energy_j),
        ),
    )
    return (made, *(_of_plan_stage(plan, position, time_ns) for position in range(len(plan.stages))))


def _of_plan_stage(plan: Plan, position: int, time_ns: int) -> Sample:
    stage, expected = plan.stages[position], predicted(plan, position)
    return sample(
        PLAN_STAGE.name,
        time_ns,
        (("deployment", plan.deployment), ("node", stage.node), ("position", place(position))),
        (
            ("epoch", plan.epoch),
            ("start", stage.start),
            ("stop", stage.stop),
            ("codec", stage.codec),
            ("modelled_compute_ms", expected.compute_ms if expected is not None else None),
            ("modelled_transfer_ms", expected.transfer_ms if expected is not None else None),
        ),
    )


def _of_profile(profile: NodeProfile, recorded_at: float) -> Sample:
    return sample(
        PROFILE.name,
        point_time_ns(profile.at, recorded_at),
        (
            ("node", profile.node),
            ("model", profile.model[:DIGITS_OF_A_MODEL]),
            ("emulated", yes(profile.emulated is not None)),
        ),
        (
            ("unsplit_ms", profile.unsplit_ms),
            ("unsplit_ms_std", profile.unsplit_ms_std),
            ("memory_mb", profile.memory_mb),
            ("ops", len(profile.op_ms)),
            ("threads", profile.threads),
            ("runtime", profile.runtime),
        ),
    )
