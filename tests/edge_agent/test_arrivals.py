"""What is made of what other agents send: who takes it, and who is told how long a hop took."""

from typing import Any, cast

import msgspec
import pytest
from plans import plan_of

from broker.messages import Plan
from edge_agent.arrivals import Arrivals
from edge_agent.errors import SendError
from edge_agent.transport import Delivery
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord

ROUTE = Route("photos", 1, bytes(16), 1)
DELIVERY = Delivery("pc", ROUTE, 600_000, 12.0, None)


class Parts:
    """All the parts of an agent that take something, and what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.plan: Plan | None = None
        self.is_reachable = True
        part = cast(Any, self)
        self.arrivals = Arrivals("pi", part, origin=part, pipeline=part, plans=part, prober=part)

    def heard(self, src: str) -> None:
        """A sign of life."""
        self.told.append(("heard", src))

    def passed(self, route: Route, _at_s: float) -> None:
        """A plan is in use."""
        self.told.append(("passed", route))

    def arrive(self, message: TensorsMessage, src: str) -> None:
        """Tensors are here."""
        self.told.append(("arrived", message, src))

    def pass_failure(self, message: FailureMessage, src: str) -> None:
        """A request was given up."""
        self.told.append(("failed", message, src))

    def transferred(self, route: Route, src: str, size_bytes: int, transfer_ms: float) -> None:
        """A hop was timed."""
        self.told.append(("transferred", route, src, size_bytes, transfer_ms))

    def plan_of(self, _: Route) -> Plan | None:
        """The one that is known, if any."""
        return self.plan

    def transfer_ms(self, delivery: Delivery) -> float:
        """Without half a round trip."""
        return delivery.elapsed_ms - 2.0

    def send(self, peer: str, message: object) -> None:
        """To another node, if that is there."""
        if not self.is_reachable:
            raise SendError(peer, "no such peer is connected")
        self.told.append(("sent", peer, message))


@pytest.fixture
def parts() -> Parts:
    """Those of the Pi."""
    return Parts()


def test_whatever_comes_is_a_sign_of_life(parts: Parts) -> None:
    """Before anybody does something with it; tensors show that their plan is in use, too."""
    tensors, failure = TensorsMessage(ROUTE, ()), FailureMessage(ROUTE, "no memory")
    parts.arrivals.on_tensors(tensors, "pc")
    parts.arrivals.on_failure(failure, "pc")
    parts.arrivals.on_transfer_record(TransferRecord(ROUTE, 600_000, 10_000_000), "pc")
    assert parts.told == [
        ("heard", "pc"),
        ("passed", ROUTE),
        ("arrived", tensors, "pc"),
        ("heard", "pc"),
        ("failed", failure, "pc"),
        ("heard", "pc"),
        ("transferred", ROUTE, "pc", 600_000, 10.0),
    ]


def test_the_origin_of_a_request_is_told_how_long_a_hop_took(parts: Parts) -> None:
    """This node itself, or another one by a message."""
    parts.plan = plan_of(("pi", 0, 5), ("pc", 5, 10), way_back=("pc", "pi"))
    parts.arrivals.on_delivered(DELIVERY)
    assert parts.told == [("transferred", ROUTE, "pi", 600_000, 10.0)]
    parts.plan = msgspec.structs.replace(parts.plan, origin="laptop")
    parts.arrivals.on_delivered(DELIVERY)
    assert parts.told[1:] == [("sent", "laptop", TransferRecord(ROUTE, 600_000, 10_000_000))]


def test_an_origin_that_has_gone_is_not_told(parts: Parts) -> None:
    """It has lost the request too; that is no fault of the transport's thread."""
    parts.plan = plan_of(("laptop", 0, 10), origin="laptop")
    parts.is_reachable = False
    parts.arrivals.on_delivered(DELIVERY)
    assert parts.told == []
