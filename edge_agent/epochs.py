"""Which plan of a deployment a node works under, as a pure fold over events; loading and sending are the agent's."""

from dataclasses import dataclass, field, replace

from broker.messages import Plan, PlanReady
from edge_agent.routes import named_nodes, plan_digest

PENDING_KEPT = 2  # an older pending plan may still get ready while the newest one loads
SUPERSEDED_KEPT = 16  # beyond that a request still under way is begun anew under the newest plan
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
        return next(iter(self.ready_plans), None)

    @property
    def ready_plans(self) -> tuple[Plan, ...]:
        """Every plan that all its nodes are ready for, the newest first: an older one may do where the active fails."""
        return tuple(
            plan for plan in reversed(self.plans) if all((plan.epoch, node) in self.ready for node in named_nodes(plan))
        )

    @property
    def superseded(self) -> tuple[Plan, ...]:
        """The plans before the active one, under which requests may still be under way."""
        active = self.active
        return self.plans[: self.plans.index(active)] if active is not None else ()

    def plan(self, epoch: int, digest: int) -> Plan | None:
        """The plan of this epoch and content, if this node still knows it."""
        for plan in self.plans:
            if plan.epoch == epoch and plan_digest(plan) == digest:
                return plan
        return None


@dataclass(frozen=True, slots=True)
class Drained:
    """No request is under way under this plan any more, as far as this node can know."""

    plan: Plan


def apply(event: Plan | PlanReady | Drained, epochs: Epochs) -> Epochs:
    """The epochs after a plan was broadcast, a node reported on one, or a superseded one has drained.

    Whether a plan takes the place of the newest is `broker.terms`' rule, which the caller asks; only a plan of a lower
    epoch changes nothing in any case.
    """
    match event:
        case Plan():
            return _with_plan(event, epochs)
        case PlanReady():
            report = (event.epoch, event.node)
            return _trimmed(replace(epochs, ready=epochs.ready | {report} if event.ready else epochs.ready - {report}))
        case Drained(plan):
            if plan not in epochs.superseded:
                return epochs
            return _trimmed(replace(epochs, plans=tuple(known for known in epochs.plans if known is not plan)))


def _with_plan(plan: Plan, epochs: Epochs) -> Epochs:
    newest = epochs.newest
    if newest is None or plan.epoch > newest.epoch:
        return _trimmed(replace(epochs, plans=(*epochs.plans, plan)))
    if plan.epoch < newest.epoch or plan.term <= newest.term:
        return epochs
    if plan_digest(plan) == plan_digest(newest):
        # A new leader says the same plan again: who is ready stays so.
        return replace(epochs, plans=(*epochs.plans[:-1], plan))
    reports = frozenset(report for report in epochs.ready if report[0] != plan.epoch)
    return _trimmed(Epochs((*epochs.plans[:-1], plan), reports))


def _trimmed(epochs: Epochs) -> Epochs:
    """Within bounds: the oldest plans that drain go first, and of those that still load all but the newest."""
    active = epochs.active
    serving = epochs.plans.index(active) + 1 if active else 0
    plans = epochs.plans[:serving][-1 - SUPERSEDED_KEPT :] + epochs.plans[serving:][-PENDING_KEPT:]
    # A report may overtake its plan, so reports of epochs that are unknown here are kept, up to a bound.
    oldest = plans[0].epoch if plans else 0
    ready = frozenset(report for report in epochs.ready if report[0] >= oldest)
    return Epochs(plans, frozenset(sorted(ready)[-REPORTS_KEPT:]))
