"""Runs several requests of one segment at once, where that was found to pay and to give what single runs give.

How many, and whether it pays, `edge_agent.batching` decides; who waits, `edge_agent.executor` knows.
"""

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from edge_agent.batching import MOST, RunTimes, batch_size, is_worth_waiting
from models.batched import BatchedSegment
from models.errors import ModelError
from models.runtime import Segment

log = logging.getLogger("splitrail.agent")

TOLERANCE: Final = 1e-5  # of the largest value; with LiteRT 2.3 and XNNPACK all zoo models' batches were exact

Arrays = Sequence[np.ndarray[Any, Any]]


@dataclass(slots=True)
class _Known:
    """What is known of a segment."""

    most: int
    times: RunTimes = field(default_factory=RunTimes)
    batched: BatchedSegment | None = None
    tried: set[int] = field(default_factory=set)


class Batches:
    """Used by one thread at a time; a segment that is freed is forgotten."""

    def __init__(self, most: int = MOST) -> None:
        """At most `most` requests in one run; 1 computes each alone."""
        self._most = most
        self._segments: weakref.WeakKeyDictionary[Segment, _Known] = weakref.WeakKeyDictionary()

    def size(self, segment: Segment, waiting: int) -> int:
        """How many of those that wait for a segment to compute in its next run."""
        known = self._segments.get(segment)
        return batch_size(known.times, waiting, known.most) if known is not None else 1

    def is_worth_waiting(self, segment: Segment, waiting: int) -> bool:
        """Whether more than `waiting` requests would be answered sooner on average if they came soon."""
        known = self._segments.get(segment)
        return known is not None and is_worth_waiting(known.times, waiting, known.most)

    def took(self, segment: Segment, size: int, run_ns: int) -> None:
        """A run of so many requests has taken so long; the first of a batch's size allocates, and does not count."""
        if self._most == 1:
            return
        known = self._segments.setdefault(segment, _Known(self._most))
        if size == 1 or size in known.tried:
            known.times = known.times.after(size, run_ns)
        known.tried.add(size)

    def run(self, segment: Segment, requests: Sequence[Arrays]) -> list[Arrays] | None:
        """The outputs of each request; None where they have to be computed one by one, from now on.

        The first run of a size is compared with a single run of its last request.
        """
        known = self._segments[segment]
        size = len(requests)
        try:
            if known.batched is None:
                known.batched = segment.batched(self._most)
            if known.batched is None or size > known.batched.most:
                known.most = 1 if known.batched is None else known.batched.most
                return None
            outputs = known.batched.run(requests)
            if size not in known.tried and not _agree(outputs[-1], segment.run(requests[-1])):
                log.warning("a segment gives other results for %d requests at once: it computes each alone", size)
                known.most, known.batched = 1, None
                return None
        except ModelError as error:
            log.warning("a segment cannot compute %d requests at once: %s", size, error)
            known.most, known.batched = 1, None
            return None
        return list(outputs)


def _agree(one: Arrays, other: Arrays) -> bool:
    return len(one) == len(other) and all(
        np.allclose(here, there, rtol=0.0, atol=TOLERANCE * float(np.max(np.abs(there), initial=0.0)), equal_nan=True)
        for here, there in zip(one, other, strict=True)
    )
