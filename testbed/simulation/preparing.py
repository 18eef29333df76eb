"""The nodes' part in a change of plan, in virtual time: segments are cut and loaded, then requests move over."""

from collections.abc import Callable
from typing import Final

from broker.messages import Plan, PlanReady
from edge_agent import epochs
from edge_agent.epochs import Epochs
from edge_agent.routes import computing_segments, named_nodes
from testbed.simulation.coordination import CONTROL_S
from testbed.simulation.timeline import Timeline

# Cutting and loading one segment on a 2-core x86-64 host, from the page cache; emulated agents do it at full speed too.
CUT_MS: Final = 15.0
CUT_MS_PER_MB: Final = 0.8
LOAD_MS: Final = 5.0
LOAD_MS_PER_MB: Final = 0.7


class Preparing:
    """Takes plans as they are published and tells which one new requests run under.

    `weight_mb` are those of the model's ops.
    """

    def __init__(self, timeline: Timeline, weight_mb: tuple[float, ...], *, at_once: bool) -> None:
        self._timeline, self._weight_mb, self._at_once = timeline, weight_mb, at_once
        self._report: Callable[[PlanReady], None]
        self._in_force: Callable[[Plan], None]
        self._epochs = Epochs()
        self._active_epoch = 0
        self._busy_until_s: dict[str, float] = {}
        self._loaded: set[tuple[str, int, int]] = set()
        self._cut: set[tuple[str, int, int]] = set()

    def start(self, report: Callable[[PlanReady], None], in_force: Callable[[Plan], None]) -> None:
        """Tell `report` each node's PlanReady and `in_force` each plan that takes over; call once, before any plan."""
        self._report, self._in_force = report, in_force

    def take(self, plan: Plan) -> None:
        """A plan has reached the nodes."""
        self._fold(plan)
        for node in named_nodes(plan):
            load_ms = 0.0 if self._at_once else self._load_ms(plan, node)
            start_s = max(self._timeline.now_s, self._busy_until_s.get(node, 0.0))
            self._busy_until_s[node] = start_s + load_ms / 1e3
            ready = PlanReady(deployment=plan.deployment, epoch=plan.epoch, node=node, ready=True, load_ms=load_ms)
            if self._at_once:
                self._tell(ready)
            else:
                self._timeline.at(self._busy_until_s[node], self._tell, ready)

    def _tell(self, ready: PlanReady) -> None:
        self._report(ready)
        if self._at_once:
            self._fold(ready)
        else:
            self._timeline.at(self._timeline.now_s + CONTROL_S, self._fold, ready)

    def _fold(self, event: Plan | PlanReady) -> None:
        self._epochs = epochs.apply(event, self._epochs)
        kept = {
            (node, *segment)
            for plan in self._epochs.plans
            for node in named_nodes(plan)
            for segment in computing_segments(plan, node)
        }
        self._loaded &= kept
        active = self._epochs.active
        if active is not None and active.epoch != self._active_epoch:
            self._active_epoch = active.epoch
            self._in_force(active)

    def _load_ms(self, plan: Plan, node: str) -> float:
        """How long a node takes for what it does not hold yet; what it once cut, it only loads."""
        load_ms = 0.0
        for start, stop in computing_segments(plan, node):
            key = (node, start, stop)
            weight_mb = sum(self._weight_mb[start:stop])
            if key not in self._loaded:
                load_ms += LOAD_MS + LOAD_MS_PER_MB * weight_mb
                if key not in self._cut:
                    load_ms += CUT_MS + CUT_MS_PER_MB * weight_mb
            self._loaded.add(key)
            self._cut.add(key)
        return load_ms
