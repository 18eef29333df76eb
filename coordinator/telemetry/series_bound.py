"""A bound on the series that a coordinator makes in a database whose index holds them all: names come from nodes."""

import logging
from collections.abc import Iterable
from typing import Final

from coordinator.telemetry.samples import Sample

MOST_SERIES: Final = 100_000
"""Four times those of a site of 100 nodes (docs/telemetry.md), a tenth of what InfluxDB 1 takes in a database."""

log = logging.getLogger("splitrail.store")


class SeriesBound:
    """Admits the samples of the first series that it sees, so many of them, and of no other."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._most = most
        self._seen: set[int] = set()
        self._has_warned = False

    def admits(self, samples: Iterable[Sample]) -> bool:
        """Whether all these samples may be written; they count as seen then."""
        series = {hash((sample.measurement, sample.tags)) for sample in samples}
        new = series - self._seen
        if len(self._seen) + len(new) <= self._most:
            self._seen |= new
            return True
        if new and not self._has_warned:
            self._has_warned = True
            log.warning(
                "telemetry has more than %d series: those of new nodes, links and routes are left out until the next "
                "start; look for a node that reports under ever new names",
                self._most,
            )
        return not new
