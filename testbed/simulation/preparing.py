"""The nodes' part in a change of plan, in virtual time: segments are cut and loaded, then requests move over."""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from broker.messages import Plan, PlanReady
from edge_agent import epochs
from edge_agent.epochs import Epochs
from edge_agent.loading import GRACE_S
from edge_agent.routes import computing_segments, named_nodes
from testbed.paper.model_profile import ModelProfile
from testbed.simulation.coordination import CONTROL_S
from testbed.simulation.timeline import Timeline

# A segment from the page cache on a 2-core x86-64 host with LiteRT 2.3, measured: VGG16's 553 MB are cut in 430 ms and
# loaded in 375 ms, MobileNetV2's 14 MB in 17 ms and 10 ms. Emulated agents do both at the host's speed.
CUT_MS: Final = 7.0
CUT_MS_PER_MB: Final = 0.76
LOAD_MS: Final = 5.0
LOAD_MS_PER_MB: Final = 0.67


class Preparing:
    """Takes plans as they are published and tells which one new requests run under.

    A node that loads stands still, since its runtime holds the interpreter's lock; cutting and a first run leave it.
    """

    def __init__(self, timeline: Timeline, profile: ModelProfile, *, at_once: bool) -> None:
        self._timeline, self._at_once = timeline, at_once
        self._weight_mb = profile.weight_mb
        # The host is at least as fast as the fastest machine that it plays.
        self._host_ms = min((times.op_ms for times in profile.nodes), key=sum)
        self._report: Callable[[PlanReady], None]
        self._in_force: Callable[[Plan], None]
        self._epochs = Epochs()
        self._active_epoch = 0
        self._ready_s: dict[str, float] = {}
        self._still_s: dict[str, tuple[float, float]] = {}
        self._loaded: set[tuple[str, int, int]] = set()
        self._cut: set[tuple[str, int, int]] = set()

    def start(self, report: Callable[[PlanReady], None], in_force: Callable[[Plan], None]) -> None:
        """Tell `report` each node's PlanReady and `in_force` each plan that takes over; call once, before any plan."""
        self._report, self._in_force = report, in_force

    def take(self, plan: Plan) -> None:
        """A plan has reached the nodes."""
        self._fold(plan)
        for node in sorted(named_nodes(plan)):
            ready = PlanReady(deployment=plan.deployment, epoch=plan.epoch, node=node, ready=True)
            if self._at_once:
                self._tell(ready)
            else:
                load_ms = 1e3 * self._prepare_s(plan, node)
                self._timeline.at(self._ready_s[node], self._tell, msgspec.structs.replace(ready, load_ms=load_ms))

    def is_loading(self, node: str) -> bool:
        """Whether other agents take it for loading, so that nothing that they time against it counts."""
        return self._timeline.now_s < self._ready_s.get(node, -math.inf) + GRACE_S

    def notices_s(self, node: str) -> float:
        """When a node notices what comes to it now: at once, or at the end of its loading."""
        now_s = self._timeline.now_s
        start_s, end_s = self._still_s.get(node, (0.0, 0.0))
        return end_s if start_s <= now_s < end_s else now_s

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

    def _prepare_s(self, plan: Plan, node: str) -> float:
        """How long a node takes for what it does not hold yet; what it once cut, it only loads and tries out."""
        cut_ms = load_ms = first_run_ms = 0.0
        for start, stop in computing_segments(plan, node):
            key = (node, start, stop)
            weight_mb = sum(self._weight_mb[start:stop])
            if key not in self._loaded:
                load_ms += LOAD_MS + LOAD_MS_PER_MB * weight_mb
                first_run_ms += sum(self._host_ms[start:stop])
                if key not in self._cut:
                    cut_ms += CUT_MS + CUT_MS_PER_MB * weight_mb
            self._loaded.add(key)
            self._cut.add(key)
        start_s = max(self._timeline.now_s, self._ready_s.get(node, 0.0))
        loading_s, loaded_s = start_s + cut_ms / 1e3, start_s + (cut_ms + load_ms) / 1e3
        if load_ms:
            self._still_s[node] = (loading_s, loaded_s)
            self._ready_s[node] = loaded_s + first_run_ms / 1e3
        else:
            self._ready_s[node] = start_s
        return self._ready_s[node] - start_s
