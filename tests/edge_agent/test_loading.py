import msgspec
import pytest
from plans import plan_of

from broker.messages import Plan, PlanReady
from edge_agent.loading import GRACE_S, LONGEST_S, LoadingNodes

PLAN = plan_of(("pi", 0, 2), ("laptop", 2, 2), ("pc", 2, 4), way_back=("pc", "pi"))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that is set by hand."""
    return Clock()


def report(plan: Plan, node: str, *, ready: bool = True) -> PlanReady:
    return PlanReady(deployment=plan.deployment, epoch=plan.epoch, node=node, ready=ready)


def loading(nodes: LoadingNodes) -> set[str]:
    return {node for node in ("pi", "laptop", "pc") if nodes.is_loading(node)}


def test_a_plans_nodes_load_until_they_report(clock: Clock) -> None:
    """A node that relays loads nothing; a report of failure ends it as well, a little later for what was waiting."""
    nodes = LoadingNodes(clock)
    assert loading(nodes) == set()
    nodes.planned(PLAN, ())
    assert loading(nodes) == {"pi", "pc"}
    nodes.reported(report(PLAN, "pc"))
    nodes.reported(report(PLAN, "pi", ready=False))
    assert loading(nodes) == {"pi", "pc"}
    clock.now_s += GRACE_S
    assert loading(nodes) == set()


def test_a_report_ends_the_loading_of_plans_that_were_replaced(clock: Clock) -> None:
    """A plan that another one follows at once is never prepared, so nobody reports on it."""
    nodes = LoadingNodes(clock)
    nodes.planned(PLAN, ())
    newer = msgspec.structs.replace(PLAN, epoch=PLAN.epoch + 1)
    nodes.planned(newer, ())
    nodes.reported(report(newer, "pc"))
    clock.now_s += GRACE_S
    assert loading(nodes) == {"pi"}


def test_a_report_that_overtook_its_plan_counts(clock: Clock) -> None:
    """Messages of different nodes come in any order."""
    nodes = LoadingNodes(clock)
    nodes.planned(PLAN, {(PLAN.epoch, "pc")})
    assert loading(nodes) == {"pi"}


def test_a_node_that_never_reports_is_not_waited_for(clock: Clock) -> None:
    """Its links are looked at again, for they may be the reason."""
    nodes = LoadingNodes(clock)
    nodes.planned(PLAN, ())
    clock.now_s += LONGEST_S
    nodes.reported(report(PLAN, "pi"))
    assert loading(nodes) == set()
