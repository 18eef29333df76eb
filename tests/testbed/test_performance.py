"""What the demo waits for before it begins."""

from typing import Any, cast

from made_site import birth_message, declared, folded, plan_message, ready_message

from broker.messages import Message
from broker.session import Incoming, Session
from coordinator.state import Received
from coordinator.status_report import StatusReport, status_report
from coordinator.telemetry.store import InferenceSummary
from testbed.continuum import Continuum
from testbed.performance import Performance
from testbed.screen import Cast, Screen
from testbed.traces import constant

PLAN = plan_message(3, ("pi", 0, 1), ("laptop", 1, 4))


class Site:
    """Stands in for a continuum whose nodes were ready before anybody listened, and for its broker."""

    def __init__(self) -> None:
        self.listeners: dict[type[Message], Any] = {}

    def on(self, topic: Any, listener: Any) -> None:
        self.listeners[topic.payload] = listener

    def check(self) -> None:
        """All is well."""

    def status(self) -> StatusReport:
        events = [declared(), Received(PLAN, 0.0)]
        events += [Received(birth_message(node), 0.0) for node in ("pi", "laptop")]
        events += [Received(ready_message(node, PLAN.epoch), 0.0) for node in ("pi", "laptop")]
        nothing = InferenceSummary(0, 0, None, None, None, None, None, None)
        return status_report(
            "site", folded(events), now=0.0, power=(), inferences={PLAN.deployment: nothing}, lost_telemetry=0
        )


def test_a_node_that_was_ready_before_the_demo_listened_is_asked_for() -> None:
    """The broker keeps plans and no readiness: the coordinator remembers it."""
    site = Site()
    cast_of_demo = Cast(
        strategies=(PLAN.deployment,),
        adaptive=PLAN.deployment,
        nodes=("pi", "laptop"),
        ops=4,
        link=("pi", "laptop"),
        trace=constant(10.0),
        duration_s=1.0,
    )
    performance = Performance(cast(Continuum, site), Screen(colour=False), cast_of_demo, ("CONV_2D",) * 4)
    performance.watch(cast(Session, site))
    site.listeners[type(PLAN)](Incoming(PLAN, (), True, None, None))
    performance.wait_until_ready()
    assert performance.scene.is_ready(PLAN.deployment)
