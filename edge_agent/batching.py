"""How many of the requests that wait for one segment are computed in one run: as many as measured runs say it pays for.

Pure. After dynamic batching as Clipper has it (Crankshaw et al., NSDI 2017: a batch grows while it pays, and waits a
bounded time for more) and Triton's server (preferred sizes, a delay in its queue); both batch at one machine, we at one
stage. The run itself is `edge_agent.batches`' part.
"""

import statistics
from dataclasses import dataclass, field
from typing import Final

SIZES: Final = (2, 4, 8)
MOST: Final = SIZES[-1]
RUNS_KEPT: Final = 5
RUNS_TO_TELL: Final = 3
"""Runs of a size before it is judged; until then it is tried whenever enough wait."""


@dataclass(frozen=True, slots=True)
class RunTimes:
    """What the last runs of a segment took, in ns, by how many requests were computed in each."""

    ns: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def after(self, size: int, took_ns: int) -> "RunTimes":
        """With one more run of that size."""
        return RunTimes({**self.ns, size: (*self.ns.get(size, ()), took_ns)[-RUNS_KEPT:]})

    def pays(self, size: int) -> bool | None:
        """Whether so many are answered sooner on average in one run than one after the other; None: not known yet.

        One after the other, the n-th of them waits for n runs, so on average they wait for (size + 1) / 2.
        """
        alone, together = self.ns.get(1, ()), self.ns.get(size, ())
        if len(alone) < RUNS_TO_TELL or len(together) < RUNS_TO_TELL:
            return None
        return statistics.median(together) <= statistics.median(alone) * (size + 1) / 2


def batch_size(times: RunTimes, waiting: int, most: int) -> int:
    """How many of `waiting` requests to compute in the next run, at most `most`.

    A size is tried once the next smaller one pays, and a segment's own runs are known.
    """
    chosen = 1
    if len(times.ns.get(1, ())) < RUNS_TO_TELL:
        return chosen
    for size in SIZES:
        pays = times.pays(size) if size <= min(waiting, most) else False
        if pays is False:
            break
        chosen = size
        if pays is None:
            break
    return chosen


def is_worth_waiting(times: RunTimes, waiting: int, most: int) -> bool:
    """Whether a batch that is larger than what waits is known to pay."""
    return any(waiting < size <= most and times.pays(size) for size in SIZES)
