"""What comes in is answered in order, tensors when their receiver has handed them on or is known to take its time."""

import numpy as np
from received import Received

from edge_agent.inbox import SOON_NS, Inbox
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Hello,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    TensorsMessage,
    WireMessage,
)

AT_NS = 0  # long ago, by the clock that the inbox reads


def route(number: int) -> Route:
    """Of the request with this number."""
    return Route("faces", 1, number.to_bytes(16, "little"), 0)


def tensors(number: int) -> TensorsMessage:
    """For that request."""
    return TensorsMessage(route(number), (np.zeros(1, np.float32),))


class Caller:
    """Keeps what it is told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.told: list[object] = []

    def reply(self, message: WireMessage) -> None:
        """An acknowledgement counts by its route."""
        self.told.append(message.route if isinstance(message, Acknowledgement) else message)


def test_tensors_are_acknowledged_behind_their_receiver() -> None:
    """Who waits for the result does not wait for the acknowledgement too; a receiver that fails changes nothing."""
    caller = Caller()

    class Failing(Received):
        def on_tensors(self, message: TensorsMessage, src: str) -> None:
            caller.told.append("handed on")
            raise RuntimeError

    inbox = Inbox(Failing())
    for number in (1, 2):
        try:
            inbox.take(caller, "edge", tensors(number), AT_NS)
        except RuntimeError:
            continue
    assert caller.told == ["handed on", route(1), "handed on", route(2)]


def test_a_receiver_that_takes_its_time_is_not_waited_for() -> None:
    """Once one did, the next ones are acknowledged when they say that they stay."""
    caller = Caller()

    class Staying(Received):
        def on_tensors(self, message: TensorsMessage, src: str) -> None:
            inbox.stays(caller)
            caller.told.append("computed")

    inbox = Inbox(Staying())
    for number in (1, 2):
        inbox.take(caller, "edge", tensors(number), AT_NS)
    assert inbox._longest_ns > SOON_NS
    assert caller.told == ["computed", route(1), route(2), "computed"]


def test_replies_go_in_the_order_of_what_they_are_for() -> None:
    """What comes while a receiver still computes is answered behind the acknowledgement that it owes."""
    caller = Caller()

    class Interrupted(Received):
        def on_tensors(self, message: TensorsMessage, src: str) -> None:
            if message.route == route(1):
                inbox.take(caller, "edge", tensors(2), AT_NS)
                inbox.take(caller, "edge", Ping(7), AT_NS)

    inbox = Inbox(Interrupted())
    inbox.take(caller, "edge", tensors(1), AT_NS)
    assert caller.told == [route(1), route(2), Pong(7)]


def test_a_probe_is_answered_with_what_was_seen_of_it() -> None:
    """By its last part, each caller's own."""
    one, other = Caller(), Caller()
    inbox = Inbox(Received())
    for index in range(8):
        for caller in (one, other):
            inbox.take(caller, "edge", ProbeChunk(5, index, 8, bytes(10_000)), 1_000 * index)
    (reply,) = one.told
    assert isinstance(reply, ProbeReply)
    assert (reply.probe, reply.counted_bytes, reply.counted_ns) == (5, 60_000, 6_000)
    assert other.told == [reply]


def test_what_no_caller_says_is_refused() -> None:
    """And what one says is not."""
    inbox = Inbox(Received())
    assert not inbox.take(Caller(), "edge", Pong(1), AT_NS)
    assert not inbox.take(Caller(), "edge", Hello("edge"), AT_NS)
    assert inbox.take(Caller(), "edge", FailureMessage(route(1), "busy"), AT_NS)
