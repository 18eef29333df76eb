"""What a leader says under its term, told by the values that it publishes: no broker, no clock."""

from typing import Any, cast

import made_site
import msgspec
from decisions import SETTINGS, after, photos, settled
from made_site import declared, folded, link_message

from broker.messages import DeploymentNotice, Plan
from broker.session import Session
from broker.topics import DEPLOYMENT, PLAN, Topic
from coordinator.publishing import Publisher, with_books_kept
from coordinator.site import State


class Said:
    """A session that keeps what is published, and a memory that keeps states, in one order."""

    def __init__(self) -> None:
        self.all: list[object] = []
        self.publisher = Publisher(cast(Session, self), SETTINGS, self.all.append)

    def publish(self, topic: Topic[Any], message: object, *levels: str) -> bool:
        assert topic is (PLAN if isinstance(message, Plan) else DEPLOYMENT)
        assert levels == ("photos",)
        self.all.append(message)
        return True

    def taken(self) -> list[object]:
        taken, self.all[:] = list(self.all), []
        return taken


def test_a_plan_is_kept_before_it_is_published() -> None:
    """Under the leader's term; the state that is kept holds it, and is the one that is gone on with."""
    said = Said()
    state = said.publisher.act(3, folded([declared(), *made_site.whole_site()]), 0.0)
    notice, kept, plan = said.taken()
    assert isinstance(notice, DeploymentNotice)
    assert isinstance(kept, State)
    assert isinstance(plan, Plan)
    assert (notice.term, plan.term, plan.epoch) == (3, 3, 1)
    assert photos(kept).plan == photos(state).plan == plan


def test_taking_office_says_what_is_in_force_once() -> None:
    """Notice and plan under the new term; again after another term, or where the broker may have forgotten."""
    said, state = Said(), settled()
    state = said.publisher.act(4, state, 1.0)
    first = said.taken()
    assert [type(each) for each in first] == [DeploymentNotice, Plan]
    assert photos(state).plan == first[1]
    assert said.publisher.act(4, state, 1.1) is not None
    assert said.taken() == []
    said.publisher.forget_office()
    state = said.publisher.act(4, state, 1.2)
    assert said.taken() == first
    said.publisher.act(5, state, 1.3)
    assert [cast(Any, each).term for each in said.taken()] == [5, 5]


def test_what_a_former_leader_says_is_corrected() -> None:
    """Where it is of a lower term and ours is in office; what is of our own term or of no deployment of ours is not."""
    said = Said()
    plan = photos(settled()).plan
    assert plan is not None
    notice = DeploymentNotice(deployment="photos", model=plan.model, origin="pi", term=3)
    said.publisher.correct_notice(notice, settled())
    said.publisher.correct_plan(plan, settled())
    assert said.taken() == []
    state = said.publisher.act(4, settled(), 1.0)
    in_force = said.taken()
    said.publisher.correct_notice(notice, state)
    said.publisher.correct_plan(msgspec.structs.replace(plan, term=3), state)
    assert said.taken() == in_force
    said.publisher.correct_notice(msgspec.structs.replace(notice, term=4), state)
    said.publisher.correct_notice(msgspec.structs.replace(notice, deployment="others"), state)
    said.publisher.correct_plan(msgspec.structs.replace(plan, term=4), state)
    said.publisher.correct_plan(msgspec.structs.replace(plan, term=3, deployment="others"), state)
    assert said.taken() == []


def test_one_that_stands_by_weighs_and_publishes_nothing() -> None:
    """Its plan stays the leader's, where the leader would move it; that it was weighed is known."""
    state = after(settled(mbps=1.0), link_message("pi", "pc"), link_message("pc", "pi"), at=1.0)
    kept = with_books_kept(state, 1.0, SETTINGS)
    assert photos(kept).plan == photos(state).plan
    assert photos(kept).evaluation != photos(state).evaluation
    led = Said().publisher.act(1, state, 1.0)
    assert cast(Plan, photos(led).plan).epoch == cast(Plan, photos(state).plan).epoch + 1
