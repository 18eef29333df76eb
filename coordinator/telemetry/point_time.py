"""When a piece of telemetry was recorded, and the one time of its points: pure functions.

A message that comes again, or that two coordinators hear, makes the same points: so the node's own word counts first.
"""

from typing import Final

from broker.messages import InferenceReport, NodeProfile, NodeStatus, Plan, Telemetry
from coordinator.telemetry.store import Storable

NEAR_S: Final = 60.0
"""How far a node's clock may be off and still be taken at its word."""
KEPT_S: Final = 86_400.0
"""What the broker keeps, or is published again, may have come about as long ago; beyond that no clock is trusted."""
LATEST_S: Final = 2.0**33
"""Bound on what a wrong clock, or an age, can make of a time: it fits into 64 bits of nanoseconds. In the year 2242."""


def recorded_at(message: Storable, arrived_at: float) -> float:
    """When a message was recorded by the coordinator's clock, all in s since 1970: its arrival less its age.

    Plans and profiles are published again long after they were made: their own time counts if it is of the last day.
    """
    match message:
        case Plan(created_at=at) | NodeProfile(at=at):
            reckoned = _own_word(at, arrived_at)
        case NodeStatus():
            reckoned = arrived_at - message.connected_s
        case _:
            mark = message.mark if isinstance(message, Telemetry) else None
            reckoned = arrived_at - mark.age_s if mark is not None else arrived_at
    return min(max(0.0, reckoned), LATEST_S)


def arrival_of_kept(message: Storable, now: float) -> float:
    """What counts as the arrival of a message that the broker had kept, for a time that nobody knows: its own word."""
    match message:
        case NodeStatus():
            return _own_word(message.at, now, age_s=message.connected_s)
        case NodeProfile() | Plan():
            return now
        case _ if isinstance(message, Telemetry):
            return _own_word(message.at, now, age_s=message.mark.age_s if message.mark is not None else 0.0)
        case _:
            return now


def point_time_ns(at: float, recorded_at: float, sequence: int = 0) -> int:
    """A point's time, ns since 1970: `at`, by its node's clock, if that is near the time that we reckon, else this.

    Its microseconds are those of the time; below them `sequence` keeps two samples of one microsecond apart.
    """
    seconds = at if abs(at - recorded_at) <= NEAR_S else recorded_at
    return round(min(max(0.0, seconds), LATEST_S) * 1e6) * 1_000 + sequence % 1_000


def began_at(report: InferenceReport, recorded_at: float) -> float:
    """When we reckon that an inference began, s since 1970: it is recorded when it ends."""
    return max(0.0, recorded_at - report.latency_ms / 1e3)


def _own_word(at: float, now: float, age_s: float = 0.0) -> float:
    """When a message came that says it was recorded at `at` and was `age_s` old when it was sent; else now."""
    sent_at = at + age_s
    return sent_at if now - KEPT_S <= sent_at <= now else now
