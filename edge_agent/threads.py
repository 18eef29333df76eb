"""How many threads an interpreter gets: what the profile found best, and one for segments that gain nothing by more.

Pure; who measures is edge_agent.profiler.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

ThreadSetting = int | Literal["auto"]
"""A number of threads for every segment, or the best for each."""

WORTH_MORE: Final = 0.05
"""More threads must take off so much of the time: they take cores from what else the node does, and watts."""
HOPELESS: Final = 0.25
"""Where a count took so much longer than the best before it, larger ones are not tried."""
POOL_SWITCH_MS: Final = 0.02
"""What a run takes more at most where another interpreter's threads ran last: LiteRT 2.3 on 2 cores, tried."""


class ThreadTime(msgspec.Struct, frozen=True, kw_only=True):
    """What the unsplit model took with so many threads, in ms by the clock."""

    threads: int
    unsplit_ms: float


def counts_to_try(cores: int) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... and all the cores."""
    steps = (1, 2, 3, *(count * 2**power for power in range(2, 9) for count in (1.0, 1.5)))
    return (*(int(count) for count in steps if count < cores), cores)


def is_hopeless(times: Sequence[ThreadTime]) -> bool:
    """Whether larger counts than the last need not be tried."""
    return times[-1].unsplit_ms > (1.0 + HOPELESS) * min(time.unsplit_ms for time in times)


def best_count(times: Sequence[ThreadTime]) -> int:
    """The least count that is nearly as quick as the quickest; `times` holds at least one, in rising order."""
    quickest_ms = min(time.unsplit_ms for time in times)
    return next(time.threads for time in times if time.unsplit_ms * (1.0 - WORTH_MORE) <= quickest_ms)


def segment_threads(threads: int, op_ms: Sequence[float], single_op_ms: Sequence[float], start: int, stop: int) -> int:
    """The threads for ops `start`..`stop`-1: `threads`, or one where these ops are no slower with it.

    `op_ms` are the ops' times with `threads`, `single_op_ms` with one thread; without the latter all get `threads`.
    """
    if not single_op_ms:
        return threads
    many_ms, single_ms = sum(op_ms[start:stop]) + POOL_SWITCH_MS, sum(single_op_ms[start:stop])
    return threads if many_ms < (1.0 - WORTH_MORE) * single_ms else 1
