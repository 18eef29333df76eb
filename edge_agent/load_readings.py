"""From looks at a node's processor to the loads that its site hears of: at once when one is news, else now and then.

Where a look comes from is the owner's business; publishing is the agent's.
"""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable

from broker.messages import NodeLoad

SAMPLE_INTERVAL_S = 1.0
PUBLISH_INTERVAL_S = 10.0
CLEAR_CHANGE = 0.05
MOST_LOAD = 0.99
SAMPLES = 3
"""A measured load is the median of as many: one busy second is no news, the second one is."""


class LoadReadings:
    """The loads of one node in one session.

    `sample` gives the load since its last call, 0 to below 1, or None where it cannot tell. What is `emulated` is
    exact, and so taken as it is. `clock` tells the node's wall clock, `clock_s` monotonic time.
    """

    def __init__(
        self,
        sample: Callable[[], float | None],
        *,
        node: str,
        session: str,
        emulated: bool,
        clock: Callable[[], float],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sample, self._clock, self._clock_s = sample, clock, clock_s
        self._node, self._session, self._emulated = node, session, emulated
        self._samples: deque[float] = deque(maxlen=1 if emulated else SAMPLES)
        # A measured load is one over time, which begins now; an emulated one is told at once.
        self._sampled_s = -math.inf if emulated else clock_s()
        self._published_s = -math.inf
        self._published_load = 0.0

    def due(self) -> NodeLoad | None:
        """The load, if the site should hear of it now; what is returned counts as published."""
        now_s = self._clock_s()
        if now_s - self._sampled_s < SAMPLE_INTERVAL_S:
            return None
        sample = self._sample()
        if sample is None:
            return None
        self._sampled_s = now_s
        self._samples.append(min(sample, MOST_LOAD))
        load = statistics.median(self._samples)
        is_news = abs(load - self._published_load) > CLEAR_CHANGE
        if not is_news and now_s - self._published_s < PUBLISH_INTERVAL_S:
            return None
        self._published_s, self._published_load = now_s, load
        return NodeLoad(
            node=self._node,
            session=self._session,
            at=self._clock(),
            load=load,
            load_std=statistics.pstdev(self._samples),
            emulated=self._emulated,
        )
