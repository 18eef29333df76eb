"""Which plan of a deployment a node works under, as a pure fold over events; loading and sending are the agent's."""

from dataclasses import dataclass, field

from broker.messages import Plan, PlanReady
from edge_agent.routes import named_nodes

PENDING_KEPT = 2  # an older pending plan may still get ready while the newest one loads
REPORTS_KEPT = 1_024


@dataclass(frozen=True, slots=True)
class Epochs:
    """The plans of one deployment that this node knows, oldest first, and who is ready for which epoch."""

    plans: tuple[Plan, ...] = ()
    ready: frozenset[tuple[int, str]] = field(default_factory=frozenset)

    @property
    def newest(self) -> Plan | None:
        """The plan that came last, ready or not."""
        return self.plans[-1] if self.plans else None

    @property
    def active(self) -> Plan | None:
        """The newest plan that all its nodes are ready for: new requests start under it."""
        for plan in reversed(self.plans):
            if all((plan.epoch, node) in self.ready for node in named_nodes(plan)):
                return plan
        return None

    def plan(self, epoch: int) -> Plan | None:
        """The plan of an epoch, if this node still knows it."""
        return next((plan for plan in self.plans if plan.epoch == epoch), None)


def apply(event: Plan | PlanReady, epochs: Epochs) -> Epochs:
    """The epochs after a plan was broadcast or a node reported on one; a plan older than the newest changes nothing."""
    match event:
        case Plan():
            if epochs.newest is not None and event.epoch <= epochs.newest.epoch:
                return epochs
            return _trimmed(Epochs((*epochs.plans, event), epochs.ready))
        case PlanReady():
            report = (event.epoch, event.node)
            return _trimmed(Epochs(epochs.plans, epochs.ready | {report} if event.ready else epochs.ready - {report}))


def _trimmed(epochs: Epochs) -> Epochs:
    """Without what no request can need: plans before the one that drains, and all but the newest that still load."""
    active = epochs.active
    serving = epochs.plans.index(active) + 1 if active else 0
    draining_and_active = epochs.plans[max(0, serving - 2) : serving]
    plans = draining_and_active + epochs.plans[serving:][-PENDING_KEPT:]
    # A report may overtake its plan, so reports of epochs that are unknown here are kept, up to a bound.
    oldest = plans[0].epoch if plans else 0
    ready = frozenset(report for report in epochs.ready if report[0] >= oldest)
    return Epochs(plans, frozenset(sorted(ready)[-REPORTS_KEPT:]))
