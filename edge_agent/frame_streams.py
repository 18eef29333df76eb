"""The requests that wait at their origin: which begins next, which frame gives way to a newer one, and in which order.

Pure and not locked. Making tensors of them, and answering them, is `edge_agent.intake`'s part.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from broker.messages import InferenceReport

UNKNOWN_DEPTH = 2  # until a first answer tells: one frame is decoded while another is on its way

T = TypeVar("T")

Submit = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Frame:
    """Which stream of a deployment a request is a frame of, and whether it may be left out for a newer one."""

    deployment: str
    stream: str
    policy: Literal["every", "latest"]

    @property
    def key(self) -> tuple[str, str]:
        """The stream's name among those of all deployments."""
        return (self.deployment, self.stream)


@dataclass(frozen=True, slots=True)
class Depth:
    """How many frames of one stream fill the stages and links of a plan, those that are decoded among them."""

    latest: int = UNKNOWN_DEPTH
    """One waits at the busiest stage or link, so that it never idles; more would only make answers older."""
    every: int = UNKNOWN_DEPTH
    """One more for each stage, as not every frame takes the same time; where a stage computes several together, twice
    as many more: those that it computes, and those that it will."""

    def of(self, frame: Frame) -> int:
        """The one that holds for a frame."""
        return self.latest if frame.policy == "latest" else self.every


def depth_of(report: InferenceReport, decode_ms: float, decoders: int) -> Depth | None:
    """By what an answered request took in all, and at its busiest node or link; None where it tells of no compute.

    `decode_ms` is what its image took one of so many `decoders`.
    """
    if not any(stage.compute_ms for stage in report.stages):
        return None
    busy_ms: dict[tuple[str, ...], float] = {}
    for stage in report.stages:
        busy_ms[stage.node,] = busy_ms.get((stage.node,), 0.0) + stage.compute_ms
    for hop in report.transfers:
        busy_ms[hop.src, hop.dst] = busy_ms.get((hop.src, hop.dst), 0.0) + hop.transfer_ms
    busiest_ms = max(*busy_ms.values(), decode_ms / decoders)
    latest = math.floor((sum(busy_ms.values()) + decode_ms) / busiest_ms) + 1
    together = max(stage.batch for stage in report.stages)
    return Depth(latest, latest + len(report.stages) + (2 * together if together > 1 else 0))


@dataclass(slots=True)
class _Stream(Generic[T]):
    under_way: int = 0
    begun: deque[T] = field(default_factory=deque)
    """In the order in which they came, until they are submitted."""
    prepared: dict[int, Submit | None] = field(default_factory=dict)
    """What submits each, by its identity; None where it has been answered already."""
    is_submitting: bool = False


class Line(Generic[T]):
    """Requests in the order in which they came; those of a stream are begun and submitted in that order too."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[T, Frame | None]] = {}
        self._next = 0
        self._streams: dict[tuple[str, str], _Stream[T]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def displaced_by(self, frame: Frame | None) -> T | None:
        """The frame that waits and would give way to this one."""
        place = self._place_of_stale(frame)
        return None if place is None else self._waiting[place][0]

    def add(self, item: T, frame: Frame | None) -> None:
        """A request waits from now on, in the place of the one that it displaces, if any."""
        place = self._place_of_stale(frame)
        if place is None:
            place, self._next = self._next, self._next + 1
        self._waiting[place] = (item, frame)

    def begin(self, depth: Callable[[Frame], int]) -> T | None:
        """The first that may begin: a frame does while fewer of its stream than `depth` are under way."""
        for place, (item, frame) in self._waiting.items():
            if frame is None:
                del self._waiting[place]
                return item
            stream = self._streams.get(frame.key)
            if stream is None or stream.under_way < depth(frame):
                del self._waiting[place]
                stream = self._streams.setdefault(frame.key, _Stream())
                stream.under_way += 1
                stream.begun.append(item)
                return item
        return None

    def prepared(self, item: T, frame: Frame, submit: Submit | None) -> None:
        """A frame that has begun can be submitted, or (None) has been answered without."""
        self._streams[frame.key].prepared[id(item)] = submit

    def to_submit(self, frame: Frame, *, go_on: bool) -> Submit | None:
        """What is to be called next for the frame's stream, by one thread at a time: `go_on` tells that it is that."""
        stream = self._streams.get(frame.key)
        if stream is None or (stream.is_submitting and not go_on):
            return None
        stream.is_submitting = False
        while stream.begun and id(stream.begun[0]) in stream.prepared:
            submit = stream.prepared.pop(id(stream.begun.popleft()))
            if submit is not None:
                stream.is_submitting = True
                return submit
        self._forget_idle(frame)
        return None

    def ended(self, frame: Frame) -> None:
        """A frame that had begun has been answered."""
        self._streams[frame.key].under_way -= 1
        self._forget_idle(frame)

    def _forget_idle(self, frame: Frame) -> None:
        stream = self._streams[frame.key]
        if not (stream.under_way or stream.begun or stream.is_submitting):
            del self._streams[frame.key]

    def _place_of_stale(self, frame: Frame | None) -> int | None:
        if frame is None or frame.policy != "latest":
            return None
        return next((place for place, (_, other) in self._waiting.items() if other == frame), None)
