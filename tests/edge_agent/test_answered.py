"""What an origin does with a request that comes again."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from broker.messages import InferReply, InferRequest
from edge_agent.answered import Answer, Answered


class Origin:
    """Runs requests when it is told to, and counts."""

    def __init__(self, most_kept: int = 8) -> None:
        self.answered = Answered(most_kept)
        self.under_way: dict[str, list[Answer]] = {}
        self.sent: list[InferReply] = []

    def take(self, request_id: str, response_topic: str = "replies/anonymous/a") -> None:
        def begin(answer: Callable[[InferReply], object]) -> None:
            self.under_way.setdefault(request_id, []).append(answer)

        request = InferRequest(request_id=request_id, image=b"image")
        self.answered.take("deployment", request, response_topic, self.sent.append, begin)

    def finish(self, request_id: str) -> None:
        self.under_way[request_id].pop()(InferReply(request_id=request_id, error="the one answer"))


def test_a_request_that_was_answered_gets_the_same_reply() -> None:
    """Its reply may have been lost with the broker: it is sent again, and nothing is run again."""
    origin = Origin()
    origin.take("r1")
    origin.finish("r1")
    origin.take("r1")
    assert origin.sent == [InferReply(request_id="r1", error="the one answer")] * 2
    assert origin.under_way == {"r1": []}


def test_a_request_that_is_under_way_is_not_begun_twice() -> None:
    """However often it comes, it is run once and answered once."""
    origin = Origin()
    for _ in range(3):
        origin.take("r1")
    origin.finish("r1")
    assert len(origin.sent) == 1
    assert origin.under_way == {"r1": []}


def test_two_clients_may_use_the_same_id() -> None:
    """A request is its client's own: the response topic tells whose."""
    origin = Origin()
    origin.take("r1", "replies/anonymous/a")
    origin.take("r1", "replies/anonymous/b")
    assert len(origin.under_way["r1"]) == 2


def test_a_flood_is_answered_busy_and_not_kept() -> None:
    """As many as are kept may be under way; more are refused at once, and may come again."""
    origin = Origin(most_kept=8)
    for number in range(100):
        origin.take(f"r{number}")
    assert len(origin.under_way) == 8
    assert [reply.error for reply in origin.sent] == ["busy: 8 requests are under way"] * 92
    origin.finish("r0")
    origin.take("r99")
    assert "r99" in origin.under_way


@given(st.lists(st.tuples(st.sampled_from("tf"), st.integers(0, 11)), max_size=60))
def test_no_request_is_under_way_twice_and_no_more_are_kept_than_are_bounded(steps: list[tuple[str, int]]) -> None:
    """Over any order of arrivals and ends."""
    origin = Origin(most_kept=4)
    for step, number in steps:
        request_id = f"r{number}"
        if step == "t":
            origin.take(request_id)
        elif origin.under_way.get(request_id):
            origin.finish(request_id)
        assert all(len(answers) <= 1 for answers in origin.under_way.values())
        assert len(origin.answered._replies) <= 4
