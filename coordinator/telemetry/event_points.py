"""What happened at a site as samples of the measurement `event`: who came and went, was missed, refused or is off."""

from broker.messages import NodeStatus, PlanReady, ProfileFailure, StageMiss
from coordinator.significant_digits import significant
from coordinator.telemetry.measurements import EVENT
from coordinator.telemetry.point_time import point_time_ns
from coordinator.telemetry.samples import Sample, Value, sample
from coordinator.telemetry.store import ClockSkew

_NO_REASON = "it gave no reason"


def event_of(  # noqa: PLR0911  # one for each kind
    message: NodeStatus | StageMiss | PlanReady | ProfileFailure | ClockSkew, recorded_at: float, *, coordinator: str
) -> Sample | None:
    """The event that a message tells of; None of a node that is ready for a plan, which is as it should be."""
    match message:
        case NodeStatus(state="online"):
            return _of_birth(message, recorded_at)
        case NodeStatus():
            return _event("death", message.node, recorded_at, coordinator, text="went", session=message.session)
        case StageMiss():
            return _of_miss(message, recorded_at)
        case PlanReady(ready=True):
            return None
        case PlanReady():
            return _event(
                "refusal",
                message.node,
                recorded_at,
                message.node,
                deployment=message.deployment,
                text=message.reason or _NO_REASON,
                epoch=message.epoch,
            )
        case ProfileFailure():
            text = f"model {message.model[:12]}: {message.reason or _NO_REASON}"
            return _event("unprofiled", message.node, recorded_at, message.node, text=text)
        case ClockSkew():
            way = "ahead" if message.skew_s > 0.0 else "behind"
            text = f"its clock is {significant(abs(message.skew_s), 3)} s {way}"
            return _event("clock", message.node, recorded_at, coordinator, text=text, skew_s=message.skew_s)


def time_of_miss(miss: StageMiss, recorded_at: float) -> int:
    """The time of a miss's point, ns since 1970."""
    return point_time_ns(miss.at, recorded_at, miss.mark.sequence if miss.mark is not None else 0)


def _of_birth(status: NodeStatus, recorded_at: float) -> Sample:
    announced = status.announcement
    if announced is None:
        return _event("birth", status.node, recorded_at, status.node, text="came", session=status.session)
    return _event(
        "birth",
        status.node,
        recorded_at,
        status.node,
        at=status.at,
        text=f"came: {announced.tier}, splitrail {announced.version}",
        tier=announced.tier,
        version=announced.version,
        emulated=announced.emulated,
        session=status.session,
    )


def _of_miss(miss: StageMiss, recorded_at: float) -> Sample:
    silent = f"silent with the tensors of {miss.src}" if miss.delivered else f"took no tensors of {miss.src}"
    return sample(
        EVENT.name,
        time_of_miss(miss, recorded_at),
        (("kind", "miss"), ("node", miss.suspect), ("deployment", miss.deployment), ("reporter", miss.node)),
        (
            ("text", f"{silent}: {miss.outcome}"),
            ("src", miss.src),
            ("delivered", miss.delivered),
            ("waited_ms", miss.waited_ms),
            ("allowed_ms", miss.allowed_ms),
            ("epoch", miss.epoch),
        ),
    )


def _event(
    kind: str,
    node: str,
    recorded_at: float,
    reporter: str,
    *,
    deployment: str | None = None,
    at: float | None = None,
    **fields: Value | None,
) -> Sample:
    return sample(
        EVENT.name,
        point_time_ns(at if at is not None else recorded_at, recorded_at),
        (("kind", kind), ("node", node), ("deployment", deployment), ("reporter", reporter)),
        fields.items(),
    )
