"""Which plans a node takes, and which it lets go."""

import threading

import msgspec
import pytest
from plans import plan_of

from broker.messages import Plan, PlanReady
from edge_agent.loading import LoadingNodes
from edge_agent.plan_book import MOST_DEPLOYMENTS, PlanBook
from edge_agent.routes import plan_digest
from edge_agent.shelf import Holdings
from edge_agent.wire import Route

ALONE = plan_of(("pi", 0, 10))


class Book:
    """A book of the Pi's, what it asked to be held, and the requests under way by epoch."""

    def __init__(self) -> None:
        self.held: list[Holdings] = []
        self.in_flight: dict[int, int] = {}
        self.loading = LoadingNodes()
        self.book = PlanBook(
            "pi", self.loading, in_flight=lambda plan: self.in_flight.get(plan.epoch, 0), hold=self.held.append
        )

    def activate(self, plan: Plan) -> None:
        """The Pi alone is named, and is ready."""
        assert self.book.hear(plan)
        self.ready(plan)

    def ready(self, plan: Plan) -> None:
        """The Pi is."""
        self.book.report(PlanReady(deployment=plan.deployment, epoch=plan.epoch, node="pi", ready=True))


@pytest.fixture
def book() -> Book:
    """An empty one."""
    return Book()


def again(plan: Plan, **changes: object) -> Plan:
    """The plan with other values."""
    return msgspec.structs.replace(plan, **changes)


def test_a_plan_of_a_leader_that_was_succeeded_is_ignored(book: Book) -> None:
    """Whatever its epoch, once a higher term has been heard of in any plan or from a leader."""
    book.activate(again(ALONE, term=2))
    assert not book.book.hear(again(ALONE, epoch=9, term=1))
    assert not book.book.hear(again(ALONE, epoch=9, term=1, deployment="other"))
    book.book.lead(3)
    assert not book.book.hear(again(ALONE, epoch=9, term=2))
    assert book.book.hear(again(ALONE, epoch=9, term=3))


def test_a_successor_may_say_the_plan_in_force_again(book: Book) -> None:
    """Requests go on under it as before."""
    book.activate(ALONE)
    repeated = again(ALONE, term=1)
    assert book.book.hear(repeated)
    assert book.book.active("photos") is repeated


def test_plans_are_let_go_when_they_have_drained(book: Book) -> None:
    """However many changes came: each is held as long as requests run under it."""
    for epoch in range(1, 11):
        book.in_flight[epoch] = 1
        book.activate(again(ALONE, epoch=epoch))
    book.book.let_drained_go(0.0)
    assert len(book.held[-1].plans) == 10
    book.in_flight = {4: 1}
    book.book.let_drained_go(0.0)
    assert [plan.epoch for plan in book.held[-1].plans] == [4, 10]
    assert [plan.epoch for plan in book.held[-1].superseded] == [4]
    assert [plan.epoch for plan in book.held[-1].served] == [10]
    book.in_flight = {}
    book.book.let_drained_go(0.0)
    assert [plan.epoch for plan in book.held[-1].plans] == [10]


def test_a_plan_is_found_by_its_epoch_and_content(book: Book) -> None:
    """Two of one epoch are never mixed."""
    book.activate(ALONE)
    here = Route("photos", 1, bytes(16), 0, plan_digest(ALONE))
    assert book.book.plan_of(here) is ALONE
    assert book.book.plan_of(Route("photos", 1, bytes(16), 0, plan_digest(ALONE) ^ 1)) is None
    assert book.book.plan_of(Route("photos", 2, bytes(16), 0, plan_digest(ALONE))) is None


def test_its_own_reports_are_repeated_as_long_as_their_plans_count(book: Book) -> None:
    """For those who start anew."""
    for epoch in (1, 2):
        book.activate(again(ALONE, epoch=epoch))
    assert [report.epoch for report in book.book.own_reports("photos")] == [1, 2]
    assert book.book.own_reports("other") == []
    book.book.let_drained_go(0.0)
    assert [report.epoch for report in book.book.own_reports()] == [2]


def test_deployments_are_bounded(book: Book) -> None:
    """Whoever declares them."""
    for number in range(MOST_DEPLOYMENTS):
        assert book.book.hear(again(ALONE, deployment=f"d{number}"))
    assert not book.book.hear(again(ALONE, deployment="more"))
    book.ready(again(ALONE, deployment="more"))
    assert book.book.active("more") is None


def test_plans_and_reports_may_come_from_any_thread(book: Book) -> None:
    """None is lost."""
    plans = [again(ALONE, deployment=f"d{number}") for number in range(40)]
    threads = [threading.Thread(target=book.activate, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(book.book.active(plan.deployment) is plan for plan in plans)
