"""What a node reports, and what of it is said again."""

from typing import cast

import msgspec
import pytest
from plans import plan_of

from broker.messages import NodeProfile, PlanReady, ProfileFailure
from broker.session import Session
from edge_agent.loading import LoadingNodes
from edge_agent.plan_book import PlanBook
from edge_agent.reports import Reports

PLAN = plan_of(("pi", 0, 10))
PROFILE = NodeProfile(
    node="pi",
    model="0" * 64,
    runtime="litert",
    threads=2,
    op_ms=(1.0,),
    op_ms_std=(0.0,),
    unsplit_ms=1.0,
    unsplit_ms_std=0.0,
    memory_mb=1.0,
)


class Site:
    """What is published at a site, with the levels of its topic."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []
        self.plans = PlanBook("pi", LoadingNodes(), in_flight=lambda _: 0, hold=lambda _: None)
        self.reports = Reports("pi", cast(Session, self), self.plans)

    def publish(self, _topic: object, message: object, *levels: str) -> bool:
        """As a session does."""
        self.said.append((message, *levels))
        return True

    def taken(self) -> list[tuple[object, ...]]:
        """What was said since the last time."""
        said, self.said = self.said, []
        return said


@pytest.fixture
def site() -> Site:
    """One at which nothing was said."""
    return Site()


def ready(deployment: str) -> PlanReady:
    """The Pi is ready for a plan."""
    return PlanReady(deployment=deployment, epoch=1, node="pi", ready=True)


def test_what_is_new_is_said_at_once(site: Site) -> None:
    """Under the node's name, and what it is of."""
    failure = ProfileFailure(node="pi", model="1" * 64, reason="it has no such op")
    site.plans.hear(PLAN)
    site.reports.ready(ready("photos"))
    site.reports.profiled(PROFILE)
    site.reports.unprofiled(failure)
    assert site.taken() == [(ready("photos"), "photos", "pi"), (PROFILE, "pi", "0" * 64), (failure, "pi", "1" * 64)]
    assert site.plans.active("photos") == PLAN


def test_it_is_said_again_where_it_may_have_been_lost(site: Site) -> None:
    """The newest profile of each model, and each plan's report; a failure is said anew at each attempt anyway."""
    newer = msgspec.structs.replace(PROFILE, unsplit_ms=2.0)
    site.plans.hear(PLAN)
    site.reports.ready(ready("photos"))
    for profile in (PROFILE, newer):
        site.reports.profiled(profile)
    site.reports.unprofiled(ProfileFailure(node="pi", model="1" * 64, reason="it has no such op"))
    site.taken()
    site.reports.repeat()
    assert site.taken() == [(newer, "pi", "0" * 64), (ready("photos"), "photos", "pi")]
    assert site.reports.profiles == (newer,)


def test_of_one_deployment_alone_where_only_that_asks(site: Site) -> None:
    """A coordinator that starts anew asks for each of its deployments."""
    for deployment in ("photos", "faces"):
        site.plans.hear(msgspec.structs.replace(PLAN, deployment=deployment))
        site.reports.ready(ready(deployment))
    site.taken()
    site.reports.repeat_readiness("faces")
    assert site.taken() == [(ready("faces"), "faces", "pi")]
    site.reports.repeat_readiness()
    assert len(site.taken()) == 2
