"""The kinds of telemetry: where each is published, and how it is kept until then.

In what order and how often it is sent is `edge_agent.spooling`'s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from broker.errors import MalformedMessageError
from broker.finite import first_non_finite
from broker.messages import (
    EnergyReading,
    InferenceReport,
    LinkReading,
    MachineReading,
    NodeLoad,
    SpoolMark,
    StageMiss,
    Telemetry,
)
from broker.texts import with_bounded_texts
from broker.topics import ENERGY, INFERENCE, LINK, LOAD, MACHINE, MISS, Topic


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of telemetry: its topic, and the levels of that which a message belongs under."""

    topic: Topic[Any]
    levels: Callable[[Any], tuple[str, ...]]


KINDS: dict[str, Kind] = {
    "energy": Kind(ENERGY, lambda reading: (reading.node,)),
    "machine": Kind(MACHINE, lambda reading: (reading.node,)),
    "load": Kind(LOAD, lambda load: (load.node,)),
    "link": Kind(LINK, lambda reading: (reading.src, reading.dst)),
    "inference": Kind(INFERENCE, lambda report: (report.deployment, report.origin)),
    "miss": Kind(MISS, lambda miss: (miss.node,)),
}
"""By the name that a spool keeps: a name once given keeps its meaning, since a newer version finds what it left."""


def kind_of(telemetry: Telemetry) -> str:
    """The name of a message's kind."""
    match telemetry:
        case EnergyReading():
            return "energy"
        case MachineReading():
            return "machine"
        case NodeLoad():
            return "load"
        case LinkReading():
            return "link"
        case InferenceReport():
            return "inference"
        case StageMiss():
            return "miss"


def encode(telemetry: Telemetry) -> bytes:
    """A message as it is kept, without a mark; MalformedMessageError where a figure is not finite."""
    where = first_non_finite(telemetry)
    if where is not None:
        raise MalformedMessageError(KINDS[kind_of(telemetry)].topic.pattern, f"{where} is not a finite number")
    return msgspec.json.encode(with_bounded_texts(telemetry))


def decode(kind: str, payload: bytes, mark: SpoolMark) -> Telemetry:
    """A kept message with its mark; MalformedMessageError where it is of no kind that this version knows."""
    if kind not in KINDS:
        raise MalformedMessageError(kind, "an unknown kind of telemetry, of another version of splitrail")
    topic = KINDS[kind].topic
    telemetry: Telemetry = msgspec.structs.replace(topic.decode(topic.pattern, payload), mark=mark)
    return telemetry
