"""What becomes of requests whose stages are missed: nodes that are silent, fail, go, or come back late."""

from collections.abc import Iterator
from queue import Queue

import msgspec
import pytest
from eventually import eventually
from joined_nodes import INPUT, Site
from plans import plan_of, predicted

from edge_agent.request import Finished

THREE_STAGES = (("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10))


THREE = predicted(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
WITHOUT_LAPTOP = predicted(plan_of(("pi", 0, 5), ("pc", 5, 10), way_back=("pc", "pi"), epoch=2))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A Pi, a laptop and a PC, joined so closely that little patience is enough."""
    monkeypatch.setattr("edge_agent.patience.FLOOR_MS", 20.0)
    site = Site("pi", "laptop", "pc")
    yield site
    site.close()


def to_its_end(site: Site, ended: "Queue[Finished]") -> Finished:
    """Sweep until a request has ended."""

    def has_ended() -> bool:
        site.nodes["pi"].origin.sweep()
        return not ended.empty()

    assert eventually(has_ended)
    return ended.get()


def ran(finished: Finished) -> list[tuple[str, int, int]]:
    """Where which ops ran."""
    return [(stage.node, stage.start, stage.stop) for stage in finished.report.stages]


def test_the_origin_finishes_from_where_its_own_stage_ended(site: Site) -> None:
    """The result is whole, the report says what ran and why, and the coordinator hears who was missed."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(3, 10), (0, 10)}
    site.adopt(THREE)
    site.lost = {"laptop"}
    ended = to_its_end(site, site.begin())
    assert ended.outputs is not None
    assert ended.outputs[0].tolist() == [10.0] * 3
    assert ran(ended) == [("pi", 0, 3), ("pi", 3, 10)]
    assert ended.report.error is None
    assert "laptop does not get the tensors from pi within" in str(ended.report.fallback)
    [miss] = pi.misses
    assert (miss.node, miss.src, miss.suspect, miss.delivered) == ("pi", "pi", "laptop", False)
    assert miss.outcome == "finished at the origin"
    assert miss.waited_ms >= miss.allowed_ms > 0


def test_the_whole_model_does_where_the_rest_alone_is_not_loaded(site: Site) -> None:
    """Its leading stage is computed again."""
    site.nodes["pi"].fallbacks = {(0, 10)}
    site.adopt(THREE)
    site.lost = {"laptop"}
    ended = to_its_end(site, site.begin())
    assert ended.outputs is not None
    assert ended.outputs[0].tolist() == [10.0] * 3
    assert ran(ended) == [("pi", 0, 10)]


def test_a_node_that_took_the_tensors_and_goes_no_further_is_told_apart(site: Site) -> None:
    """Its link is not to blame."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(0, 10)}
    site.adopt(THREE)
    site.nodes["pc"].pipeline.arrive = lambda *_: None  # type: ignore[method-assign]  # it hangs
    ended = to_its_end(site, site.begin())
    assert "pc has the tensors and does not go on" in str(ended.report.fallback)
    [miss] = pi.misses
    assert (miss.src, miss.suspect, miss.delivered) == ("laptop", "pc", True)
    assert [hop.dst for hop in ended.report.transfers] == ["laptop", "pc"]


def test_a_sender_that_is_alive_is_not_blamed_for_a_receiver_that_is_silent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked for a sign of life while there is time."""
    monkeypatch.setattr("edge_agent.patience.FLOOR_MS", 600.0)
    pi = site.nodes["pi"]
    pi.fallbacks = {(0, 10)}
    site.adopt(THREE)
    pi.origin.heard("pc")
    site.lost = {"pc"}
    ended = site.begin()

    def laptop_was_asked() -> bool:
        pi.origin.sweep()
        return "laptop" in pi.asked

    assert eventually(laptop_was_asked)
    assert "pc" in pi.asked
    pi.origin.heard("laptop")
    to_its_end(site, ended)
    [miss] = pi.misses
    assert (miss.src, miss.suspect, miss.delivered) == ("laptop", "pc", False)


def test_without_a_fallback_another_plan_that_is_ready_takes_over(site: Site) -> None:
    """One that avoids the suspect."""
    pi = site.nodes["pi"]
    site.adopt(WITHOUT_LAPTOP)
    site.adopt(THREE)
    site.lost = {"laptop"}
    ended = to_its_end(site, site.begin())
    assert (ended.report.error, ended.report.epoch, ended.report.fallback) == (None, 2, None)
    assert [miss.outcome for miss in pi.misses] == ["moved to another plan"]


def test_else_the_request_waits_for_the_next_plan(site: Site) -> None:
    """It is not the client who should try again."""
    pi = site.nodes["pi"]
    site.adopt(THREE)
    site.lost = {"laptop"}
    ended = site.begin()

    def was_missed() -> bool:
        pi.origin.sweep()
        return bool(pi.misses)

    assert eventually(was_missed)
    assert pi.misses[0].outcome == "waits for a plan"
    assert ended.empty()
    site.adopt(msgspec.structs.replace(WITHOUT_LAPTOP, epoch=3))
    assert to_its_end(site, ended).report.epoch == 3


def test_a_result_of_an_attempt_that_was_given_up_is_ignored(site: Site) -> None:
    """Nothing is answered twice."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(0, 10)}
    site.adopt(THREE)
    site.held = []
    ended = site.begin()
    assert ran(to_its_end(site, ended)) == [("pi", 0, 10)]
    site.release()
    assert not eventually(lambda: not ended.empty(), 0.3)
    assert pi.origin.in_flight == 0


def test_new_requests_avoid_a_suspect_until_it_is_heard_from(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not each wait for it anew, and the coordinator hears of it once."""
    monkeypatch.setattr("edge_agent.suspicion.FIRST_HOLD_S", 0.0)
    pi = site.nodes["pi"]
    pi.fallbacks = {(0, 10)}
    site.adopt(THREE)
    site.lost = {"laptop"}
    to_its_end(site, site.begin())
    site.lost = set()
    assert ran(site.ask()) == [("pi", 0, 10)]
    assert len(pi.misses) == 1
    pi.origin.heard("laptop")
    assert ran(site.ask()) == list(THREE_STAGES)


def test_a_suspect_is_tried_where_nobody_else_can_do_it(site: Site) -> None:
    """Better than to wait for sure."""
    pi = site.nodes["pi"]
    site.adopt(THREE)
    pi.origin._watch._suspects.missed("laptop", 0.0)
    assert ran(site.ask()) == list(THREE_STAGES)


def test_a_node_that_loads_is_not_missed(site: Site) -> None:
    """A runtime holds Python's lock meanwhile; time stands still until it has loaded."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(0, 10)}
    site.adopt(THREE)
    site.loading = {"laptop"}
    site.lost = {"laptop"}
    ended = site.begin()

    def is_over() -> bool:
        pi.origin.sweep()
        return not ended.empty()

    assert not eventually(is_over, 0.3)
    site.loading = set()
    assert "within" in str(to_its_end(site, ended).report.fallback)


def test_a_stage_that_fails_is_made_up_for_at_the_origin(site: Site) -> None:
    """As one that is silent, and at once."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(3, 10)}
    site.adopt(THREE)
    site.nodes["laptop"].pipeline._segment_of = lambda *_: None
    ended = to_its_end(site, site.begin())
    assert ended.report.fallback == "laptop has not loaded ops 3..6"
    assert ran(ended) == [("pi", 0, 3), ("pi", 3, 10)]
    assert [(miss.suspect, miss.delivered) for miss in pi.misses] == [("laptop", True)]


def test_a_node_that_goes_is_made_up_for_at_once(site: Site) -> None:
    """Its death is told to all, so it is no miss to be reported; and what comes next avoids it too."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(3, 10), (0, 10)}
    site.adopt(plan_of(*THREE_STAGES, way_back=("pc", "pi")))
    site.held = []
    ended = site.begin()
    assert eventually(lambda: len(site.held or []) == 1)
    pi.origin.lose("laptop")
    assert ended.get(timeout=10).report.fallback == "laptop has gone"
    assert ran(site.ask()) == [("pi", 0, 10)]
    assert not pi.misses
    pi.origin.regain("laptop")
    site.held = None
    assert ran(site.ask()) == list(THREE_STAGES)


def test_a_node_that_goes_after_its_part_is_not_needed_any_more(site: Site) -> None:
    """The request goes on elsewhere."""
    pi = site.nodes["pi"]
    pi.fallbacks = {(0, 10)}
    site.adopt(THREE)
    held = site.nodes["pc"].pipeline.arrive
    site.nodes["pc"].pipeline.arrive = lambda *_: None  # type: ignore[method-assign]  # it takes its time
    ended = site.begin()
    [request] = list(pi.origin._requests)
    assert eventually(lambda: request.awaited == 2)
    pi.origin.lose("laptop")
    assert request.phase == "under way"
    site.nodes["pc"].pipeline.arrive = held  # type: ignore[method-assign]  # it goes on
    pi.origin.lose("pc")
    assert ended.get(timeout=10).report.fallback == "pc has gone"


def test_overload_is_answered_at_once_with_the_wait_that_there_would_be(site: Site) -> None:
    """By what the requests before it took; the first is always taken."""
    pi = site.nodes["pi"]
    site.adopt(THREE)
    pi.origin._requests._paces.answered("photos", 0.0, 30.0)
    site.held = []
    first, second = site.begin(), site.begin()
    assert first.empty()
    refused = second.get(timeout=10)
    assert refused.busy_ms is not None
    assert refused.busy_ms > 10_000
    assert str(refused.report.error).startswith(f"busy: it would have waited {refused.busy_ms / 1e3:.1f} s, more than")
    assert "longest_wait_s 10 s" in str(refused.report.error)


def test_requests_in_flight_are_bounded_in_number_and_bytes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their pace."""
    pi = site.nodes["pi"]
    site.adopt(THREE)
    site.held = []
    with monkeypatch.context() as patched:
        patched.setattr("edge_agent.request_book.MOST_IN_FLIGHT", 2)
        ends = [site.begin() for _ in range(3)]
        assert "2 requests are under way already" in str(ends[2].get(timeout=10).report.error)
    with monkeypatch.context() as patched:
        patched.setattr("edge_agent.request_book.MOST_BYTES", INPUT[0].nbytes)
        assert "MB already" in str(site.begin().get(timeout=10).report.error)
    assert pi.origin.in_flight == 2


def test_what_cannot_be_kept_of_the_leading_stage_is_computed_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin's memory is bounded; its inputs it has anyway."""
    monkeypatch.setattr("edge_agent.request_book.MOST_BYTES", INPUT[0].nbytes)
    site.nodes["pi"].fallbacks = {(3, 10), (0, 10)}
    site.adopt(THREE)
    site.lost = {"laptop"}
    assert ran(to_its_end(site, site.begin())) == [("pi", 0, 10)]
