"""Which nodes load segments at the moment, as plans and reports tell: times taken against them say nothing of a link.

The runtime's interpreter holds Python's lock while it loads (VGG16: 1.3 s of 1.3 s, LiteRT 2.3 on x86-64), so the whole
agent stands; on packed weights it takes 0.04 s and stands for 0.02, but not every model and runtime can share those.
"""

import threading
import time
from collections.abc import Callable, Collection

from broker.messages import Plan, PlanReady
from edge_agent.routes import computing_segments, named_nodes

LONGEST_S = 10.0
"""A node that has not reported by then is taken to have other troubles, of which its links should tell."""
GRACE_S = 0.2
"""The replies that waited for the end of the loading may come in a little after the report of it."""


class LoadingNodes:
    """May be used by several threads."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._until_s: dict[tuple[str, int, str], float] = {}

    def planned(self, plan: Plan, ready: Collection[tuple[int, str]]) -> None:
        """A plan was broadcast; its nodes load what they compute but for those that are ready for its epoch already."""
        with self._lock:
            for node in named_nodes(plan):
                if computing_segments(plan, node) and (plan.epoch, node) not in ready:
                    self._until_s[plan.deployment, plan.epoch, node] = self._clock_s() + LONGEST_S

    def reported(self, report: PlanReady) -> None:
        """A node has loaded its part of a plan, or cannot; one that the plan took the place of is loaded no more."""
        with self._lock:
            for deployment, epoch, node in self._until_s:
                if (deployment, node) == (report.deployment, report.node) and epoch <= report.epoch:
                    key = (deployment, epoch, node)
                    self._until_s[key] = min(self._until_s[key], self._clock_s() + GRACE_S)

    def is_loading(self, node: str) -> bool:
        """Whether a node may stand still now because it loads."""
        if not self._until_s:
            return False  # asked at every delivery, and mostly so
        with self._lock:
            now_s = self._clock_s()
            self._until_s = {key: until_s for key, until_s in self._until_s.items() if until_s > now_s}
            return any(name == node for _, _, name in self._until_s)
