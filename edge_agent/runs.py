"""Runs a segment for one request, or for several at once where that was found to pay and to give what single runs give.

How many, and whether it pays, `edge_agent.batching` decides; who waits, and for how long, `edge_agent.executor` knows.
"""

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, Final

import msgspec
import numpy as np

from edge_agent.batching import MOST, RUNS_KEPT, RunTimes, batch_size, is_worth_waiting
from edge_agent.packing import Packing
from models.batched import BatchedSegment
from models.errors import ModelError
from models.runtime import Segment
from models.runtime_memory import own

log = logging.getLogger("splitrail.agent")

TOLERANCE: Final = 1e-5  # of the largest value; with LiteRT 2.3 and XNNPACK all zoo models' batches were exact

SINGLES_SKIPPED: Final = 16  # of so many single runs, after the first few, one counts

Arrays = Sequence[np.ndarray[Any, Any]]


class Task(msgspec.Struct, frozen=True, eq=False):
    """What a run computes for one request; `packing` says how its inputs came and how its outputs go."""

    segment: Segment
    inputs: Arrays
    packing: Packing | None

    def is_like(self, other: "Task") -> bool:
        """Whether both could be computed in one run."""
        return self.segment is other.segment and self.packing == other.packing


class Result(msgspec.Struct, frozen=True, eq=False):
    """What a run gave for one request."""

    outputs: Arrays = ()
    codec_ns: int = 0
    """Its share of the time that unpacking and packing took."""
    error: str | None = None
    batch: int = 1
    """How many requests were computed together."""


@dataclass(slots=True)
class _Known:
    """What is known of a segment."""

    most: int
    times: RunTimes = field(default_factory=RunTimes)
    batched: BatchedSegment | None = None
    tried: set[int] = field(default_factory=set)
    singles: int = 0
    """How many requests were computed alone."""


class Runs:
    """Used by one thread at a time; a segment that is freed is forgotten."""

    def __init__(self, most: int = MOST) -> None:
        """At most `most` requests in one run; 1 computes each alone."""
        self._most = most
        self._segments: weakref.WeakKeyDictionary[Segment, _Known] = weakref.WeakKeyDictionary()

    def size(self, segment: Segment, waiting: int) -> int:
        """How many of those that wait for a segment to compute in its next run."""
        known = self._segments.get(segment) if waiting > 1 else None
        return batch_size(known.times, waiting, known.most) if known is not None else 1

    def is_worth_waiting(self, segment: Segment, waiting: int) -> bool:
        """Whether more than `waiting` requests would be answered sooner on average if they came soon."""
        known = self._segments.get(segment) if self._most > 1 else None
        return known is not None and is_worth_waiting(known.times, waiting, known.most)

    def compute(self, tasks: Sequence[Task]) -> list[Result]:
        """What each of these tasks, which are alike, gives; the last one's outputs may be the runtime's own memory."""
        together = self._together(tasks) if len(tasks) > 1 else None
        return together or [self._alone(task, is_last=task is tasks[-1]) for task in tasks]

    def _alone(self, task: Task, *, is_last: bool) -> Result:
        segment, packing = task.segment, task.packing
        started_ns = monotonic_ns()
        try:
            inputs = task.inputs
            if packing is not None:
                inputs = packing.unpack(inputs, segment.inputs, segment.lend_inputs)
            unpacked_ns = monotonic_ns()
            outputs: Arrays = segment.run_in_place(inputs)
            ran_ns = monotonic_ns()
            self._took(segment, 1, ran_ns - unpacked_ns)
            if packing is not None:
                outputs = packing.pack(outputs)
            # The next run would write over what lies in the runtime's memory.
            outputs = outputs if is_last else own(outputs)
        except Exception as fault:  # a runtime's own errors have no common type; the request gets it
            return Result(error=f"{type(fault).__name__}: {fault}")
        if packing is None:
            return Result(outputs)
        return Result(outputs, monotonic_ns() - ran_ns + unpacked_ns - started_ns)

    def _together(self, tasks: Sequence[Task]) -> list[Result] | None:
        """All in one run; None where each has to be computed alone, which also tells whose fault that is."""
        segment, packing, count = tasks[0].segment, tasks[0].packing, len(tasks)
        started_ns = monotonic_ns()
        try:
            requests = [
                task.inputs if packing is None else packing.unpack(task.inputs, segment.inputs) for task in tasks
            ]
            unpacked_ns = monotonic_ns()
            outputs = self._batch(segment, requests)
            ran_ns = monotonic_ns()
            if outputs is None:
                return None
            if packing is not None:
                outputs = [packing.pack(each) for each in outputs]
        except Exception as fault:  # as in _alone; it must not end the thread that serves all
            log.debug("%d requests are computed one by one after all: %s", count, fault)
            return None
        codec_ns = (monotonic_ns() - ran_ns + unpacked_ns - started_ns) // count if packing is not None else 0
        return [Result(each, codec_ns, batch=count) for each in outputs]

    def _batch(self, segment: Segment, requests: Sequence[Arrays]) -> list[Arrays] | None:
        """The outputs of each request; None where that cannot be done, or not so, from now on.

        The first run of a size is compared with a single run of its last request.
        """
        known, size = self._segments[segment], len(requests)
        if known.batched is None:
            known.batched = self._batched(segment)
        if known.batched is None or size > known.batched.most:
            known.most = 1 if known.batched is None else known.batched.most
            return None
        started_ns = monotonic_ns()
        outputs: list[Arrays] = list(known.batched.run(requests))
        took_ns = monotonic_ns() - started_ns
        if size not in known.tried and not _agree(outputs[-1], segment.run(requests[-1])):
            log.warning("a segment gives other results for %d requests at once: it computes each alone", size)
            known.most, known.batched = 1, None
            return None
        self._took(segment, size, took_ns)
        return outputs

    def _batched(self, segment: Segment) -> BatchedSegment | None:
        try:
            return segment.batched(self._most)
        except ModelError as error:
            log.warning("a segment cannot compute several requests at once: %s", error)
            return None

    def _took(self, segment: Segment, size: int, run_ns: int) -> None:
        """A run of so many requests has taken so long; the first of a batch's size allocates, and does not count."""
        if self._most == 1:
            return
        known = self._segments.get(segment)
        if known is None:
            known = self._segments[segment] = _Known(self._most)
        if size == 1:
            known.singles += 1
            if known.singles > RUNS_KEPT and known.singles % SINGLES_SKIPPED:
                return  # an idle node's request should not pay for statistics
        if size == 1 or size in known.tried:
            known.times = known.times.after(size, run_ns)
        known.tried.add(size)


def _agree(one: Arrays, other: Arrays) -> bool:
    return len(one) == len(other) and all(
        np.allclose(here, there, rtol=0.0, atol=TOLERANCE * float(np.max(np.abs(there), initial=0.0)), equal_nan=True)
        for here, there in zip(one, other, strict=True)
    )
