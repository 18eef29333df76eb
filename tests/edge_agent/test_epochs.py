import msgspec
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from broker.messages import Plan, PlanReady
from edge_agent.epochs import SUPERSEDED_KEPT, Drained, Epochs, apply
from edge_agent.routes import plan_digest


def ready(epoch: int, node: str, is_ready: bool = True) -> PlanReady:
    return PlanReady(deployment="photos", epoch=epoch, node=node, ready=is_ready)


def after(*events: Plan | PlanReady) -> Epochs:
    epochs = Epochs()
    for event in events:
        epochs = apply(event, epochs)
    return epochs


def test_a_plan_is_active_once_all_its_nodes_are_ready() -> None:
    """The origin moves only when no request could meet a node that has not loaded its part."""
    plan = plan_of(("pi", 0, 5), ("pc", 5, 10), way_back=("pc", "pi"))
    assert after(plan, ready(1, "pi")).active is None
    assert after(plan, ready(1, "pi"), ready(1, "pc")).active is plan


def test_the_old_plan_stays_active_while_the_new_one_loads() -> None:
    """A request that starts meanwhile runs under the old epoch."""
    old, new = plan_of(("pi", 0, 10)), plan_of(("pc", 0, 10), way_back=("pc", "pi"), epoch=2)
    loading = after(old, ready(1, "pi"), new, ready(2, "pi"))
    assert loading.active is old
    assert apply(ready(2, "pc"), loading).active is new


def test_a_report_may_come_before_its_plan() -> None:
    """Nodes report on topics of their own, which are in no order with the plan's."""
    plan = plan_of(("pi", 0, 10))
    assert after(ready(1, "pi"), plan).active is plan


def test_a_refused_plan_never_becomes_active() -> None:
    """A node that cannot load its part leaves the old plan in force."""
    old, new = plan_of(("pi", 0, 10)), plan_of(("pc", 0, 10), way_back=("pc", "pi"), epoch=2)
    assert after(old, ready(1, "pi"), new, ready(2, "pi"), ready(2, "pc", is_ready=False)).active is old


def test_an_older_plan_changes_nothing() -> None:
    """A retained message that comes late cannot turn the clock back."""
    new = plan_of(("pi", 0, 10), epoch=5)
    epochs = after(new)
    assert apply(plan_of(("pc", 0, 10), epoch=4), epochs) is epochs


@given(st.integers(2, 30))
def test_the_active_plan_outlives_any_number_of_plans_that_never_get_ready(newer: int) -> None:
    """Requests go on under the last plan that worked, and what is kept is bounded."""
    old = plan_of(("pi", 0, 10))
    epochs = after(old, ready(1, "pi"))
    for epoch in range(2, 2 + newer):
        epochs = apply(plan_of(("pc", 0, 10), epoch=epoch), epochs)
    assert epochs.active is old
    assert len(epochs.plans) <= 4


def test_superseded_plans_are_kept_until_they_have_drained() -> None:
    """In-flight requests end under the epoch that they carry, however many plans came after it."""
    first, second, third = (plan_of(("pi", 0, 10), epoch=epoch) for epoch in (1, 2, 3))
    epochs = after(first, ready(1, "pi"), second, ready(2, "pi"), third, ready(3, "pi"))
    assert epochs.superseded == (first, second)
    assert apply(Drained(first), epochs).plans == (second, third)
    assert apply(Drained(third), epochs) is epochs


@given(st.integers(1, 60))
def test_what_drains_is_bounded(changes: int) -> None:
    """Beyond the bound the oldest goes, and its requests begin anew."""
    epochs = Epochs()
    for epoch in range(1, 1 + changes):
        epochs = apply(ready(epoch, "pi"), apply(plan_of(("pi", 0, 10), epoch=epoch), epochs))
    assert len(epochs.superseded) == min(changes - 1, SUPERSEDED_KEPT)
    assert epochs.active is not None
    assert epochs.active.epoch == changes


def test_the_same_plan_said_again_by_a_new_leader_stays_ready() -> None:
    """A hand-over of the leadership disturbs nothing."""
    plan = plan_of(("pi", 0, 5), ("pc", 5, 10), way_back=("pc", "pi"))
    again = msgspec.structs.replace(plan, term=2, reason="said again", created_at=9.0)
    epochs = apply(again, after(plan, ready(1, "pi"), ready(1, "pc")))
    assert epochs.active is again
    assert epochs.plans == (again,)
    assert epochs.plan(1, plan_digest(plan)) is again


def test_another_plan_of_the_same_epoch_replaces_it_under_a_higher_term_alone() -> None:
    """Tensors of the one are never taken for the other's, and who was ready for the one is not for the other."""
    plan = plan_of(("pi", 0, 5), ("pc", 5, 10), way_back=("pc", "pi"))
    other = plan_of(("pi", 0, 10))
    epochs = after(plan, ready(1, "pi"), ready(1, "pc"))
    assert apply(other, epochs) is epochs
    taken = apply(msgspec.structs.replace(other, term=1), epochs)
    assert taken.active is None
    assert taken.plan(1, plan_digest(plan)) is None
    assert taken.plan(1, plan_digest(other)) is not None
