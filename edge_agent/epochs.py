"""Which plan of a deployment a node works under, as a pure fold over events; loading and sending are the agent's."""

from dataclasses import dataclass, field, replace

from broker.messages import Plan, PlanReady
from edge_agent.routes import named_nodes

PLANS_KEPT = 3  # the newest, the one before it while requests drain, and one more for a slow link


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
    """The epochs after a plan was broadcast or a node reported on one; what is older than the newest changes nothing.

    The active plan is kept however many newer ones still load, since requests go on under it.
    """
    match event:
        case Plan():
            newest = epochs.newest
            if newest is not None and event.epoch <= newest.epoch:
                return epochs
            plans = (*epochs.plans, event)
            active = epochs.active
            kept = tuple(
                plan
                for position, plan in enumerate(plans)
                if position >= len(plans) - PLANS_KEPT or plan is active
            )
            return replace(epochs, plans=kept, ready=_still_wanted(epochs.ready, kept[0].epoch))
        case PlanReady():
            report = (event.epoch, event.node)
            if not event.ready:
                return replace(epochs, ready=epochs.ready - {report})
            # A report may overtake its plan, so it is kept even while that epoch is unknown here.
            oldest = epochs.plans[0].epoch if epochs.plans else 0
            return replace(epochs, ready=_still_wanted(epochs.ready | {report}, oldest))


def _still_wanted(ready: frozenset[tuple[int, str]], oldest_epoch: int) -> frozenset[tuple[int, str]]:
    return frozenset(report for report in ready if report[0] >= oldest_epoch)
