"""Which plan requests run under, from what the broker carries."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from made_site import birth_message, declared, folded, link_message, plan_message, profile_message, ready_message

from broker.messages import Message, Plan, PlanReady
from broker.session import Incoming, Session
from coordinator.state import Event, Received
from coordinator.status_report import StatusReport, status_report
from coordinator.telemetry.store import InferenceSummary
from testbed.errors import ExperimentError, ProcessFailedError
from testbed.paper import plan_watch
from testbed.paper.plan_watch import PlanWatch


class Broker:
    """Stands in for a session: hands what is told to those who listen."""

    def __init__(self) -> None:
        self._listeners: dict[type[Message], Callable[[Incoming[Any]], None]] = {}

    def on(self, topic: Any, listener: Callable[[Incoming[Any]], None]) -> None:
        self._listeners[topic.payload] = listener

    def tell(self, message: Message) -> None:
        self._listeners[type(message)](Incoming(message, (), False, None, None))


def watched() -> tuple[Broker, PlanWatch, Plan]:
    broker = Broker()
    plan = plan_message(3, ("pi", 0, 1), ("laptop", 1, 4))
    return broker, PlanWatch(cast(Session, broker), plan.deployment, lambda: site(plan, ())), plan


def site(plan: Plan, ready: tuple[str, ...]) -> StatusReport:
    """What a coordinator says while the plan is in force and these nodes have said that they are ready."""
    events: list[Event] = [declared(), Received(plan, 0.0)]
    events += [Received(birth_message(node), 0.0) for node in ready]
    events += [Received(ready_message(node, plan.epoch), 0.0) for node in ready]
    nothing = InferenceSummary(0, 0, None, None, None, None, None, None)
    return status_report(
        "site",
        folded(events),
        now=0.0,
        power=(),
        inferences={plan.deployment: nothing},
        lost_telemetry=0,
    )


def ready(plan: Plan) -> list[PlanReady]:
    nodes = {plan.origin, *(stage.node for stage in plan.stages), *plan.way_back}
    return [PlanReady(deployment=plan.deployment, epoch=plan.epoch, node=node, ready=True) for node in nodes]


def alive() -> None:
    """No process has died."""


def test_a_plan_is_in_force_once_all_its_nodes_are_ready() -> None:
    """Not when it is published, and a plan that no node was ready for never was."""
    broker, watch, plan = watched()
    later = msgspec.structs.replace(plan, epoch=plan.epoch + 1)
    start_s = time.monotonic()
    broker.tell(plan)
    assert watch.records(start_s) == ()
    for message in ready(plan):
        broker.tell(message)
    broker.tell(later)
    [record] = watch.records(start_s)
    assert (record.epoch, record.stages, record.reason) == (plan.epoch, plan.stages, plan.reason)
    assert watch.in_force == plan
    for message in ready(later):
        broker.tell(message)
    assert [record.epoch for record in watch.records(start_s)] == [plan.epoch, later.epoch]
    watch.wait_for(later.epoch, alive)


def test_other_deployments_do_not_count() -> None:
    """Only the watched one's plans are recorded."""
    broker, watch, plan = watched()
    other = msgspec.structs.replace(plan, deployment="other")
    for message in (other, *ready(other)):
        broker.tell(message)
    assert watch.records(0.0) == ()


def test_it_is_settled_when_all_is_known_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes profiled, links measured, the newest plan in force; otherwise the message says what is missing."""
    monkeypatch.setattr(plan_watch, "READY_TIMEOUT_S", 0.0)
    monkeypatch.setattr(plan_watch, "TICK_S", 0.001)
    broker, watch, plan = watched()
    with pytest.raises(ExperimentError, match="there is no plan"):
        watch.wait_until_settled(1, 1, 0.0, alive)
    broker.tell(plan)
    with pytest.raises(ExperimentError, match=f"plan {plan.epoch} is not ready: a node still loads it"):
        watch.wait_until_settled(1, 1, 0.0, alive)
    broker.tell(PlanReady(deployment=plan.deployment, epoch=plan.epoch, node="pi", ready=False, reason="disk full"))
    with pytest.raises(ExperimentError, match="pi: disk full"):
        watch.wait_until_settled(1, 1, 0.0, alive)
    for message in ready(plan):
        broker.tell(message)
    with pytest.raises(ExperimentError, match="0 nodes have profiled the model and 0 links are measured"):
        watch.wait_until_settled(1, 1, 0.0, alive)
    broker.tell(profile_message("pi"))
    broker.tell(link_message("pi", "laptop"))
    watch.wait_until_settled(1, 1, 0.0, alive)


def test_who_was_ready_before_us_counts_too() -> None:
    """A node reports once; what came before the session was there, the coordinator knows."""
    broker = Broker()
    plan = plan_message(3, ("pi", 0, 1), ("laptop", 1, 4))
    watch = PlanWatch(cast(Session, broker), plan.deployment, lambda: site(plan, ("pi", "laptop")))
    for message in (plan, profile_message("pi"), link_message("pi", "laptop")):
        broker.tell(message)
    watch.wait_until_settled(1, 1, 0.0, alive)
    assert watch.in_force == plan


def test_a_dead_process_ends_the_wait() -> None:
    """Nobody waits for a plan that cannot come."""
    _, watch, _ = watched()

    def dead() -> None:
        raise ProcessFailedError("the coordinator", "was ended by SIGKILL", Path(plan_watch.__file__))

    with pytest.raises(ProcessFailedError):
        watch.wait_for(1, dead)
