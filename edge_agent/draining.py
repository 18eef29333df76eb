"""When a superseded plan has drained, so that its segments may go: only the origin knows, other nodes wait for quiet.

Times come as arguments, in seconds of a monotonic clock; a plan that is let go too early costs its request an attempt.
"""

from collections.abc import Callable, Collection
from typing import Final

from broker.messages import Plan
from edge_agent.routes import plan_digest

QUIET_S: Final = 5.0
QUIET_LATENCIES: Final = 3.0  # of the plan's own prediction, where that is longer

_Key = tuple[str, int, int]


class Draining:
    """Follows the superseded plans of a node; called from one thread, but for `passed`."""

    def __init__(self, node: str, in_flight: Callable[[Plan], int]) -> None:
        """`in_flight` counts the requests of this origin that are under way under a plan."""
        self._node = node
        self._in_flight = in_flight
        self._quiet_since_s: dict[_Key, float] = {}

    def passed(self, deployment: str, epoch: int, digest: int, at_s: float) -> None:
        """Tensors of a plan have come through; counts for those that are followed already."""
        key = (deployment, epoch, digest)
        if key in self._quiet_since_s:
            self._quiet_since_s[key] = at_s

    def drained(self, superseded: Collection[Plan], at_s: float) -> list[Plan]:
        """Which of these plans, all that are superseded now, have drained."""
        since_s = {_key(plan): self._quiet_since_s.get(_key(plan), at_s) for plan in superseded}
        self._quiet_since_s = since_s
        return [plan for plan in superseded if self._has_drained(plan, at_s - since_s[_key(plan)])]

    def _has_drained(self, plan: Plan, quiet_s: float) -> bool:
        if plan.origin == self._node:
            return self._in_flight(plan) == 0
        return quiet_s > max(QUIET_S, QUIET_LATENCIES * plan.prediction.latency_ms / 1e3)


def _key(plan: Plan) -> _Key:
    return (plan.deployment, plan.epoch, plan_digest(plan))
