"""What is overdue of an origin's requests, and who is to blame; all times are told."""

import numpy as np
import pytest
from plans import plan_of, predicted

from edge_agent.patience import legs
from edge_agent.request import Request, new_request
from edge_agent.watch import LONGEST_LOADING_NS, LONGEST_START_NS, STOOD_STILL_NS, Watch

MS = 1_000_000
LONGEST_NS = 15_000 * MS
THREE = predicted(plan_of(("pi", 0, 3), ("laptop", 3, 7), ("pc", 7, 10), way_back=("pc", "pi")))


def on_its_way(at_ns: int) -> Request:
    """A request whose tensors left the Pi then."""
    request = new_request(THREE, (np.zeros(3, np.float32),), lambda _: None, 0.0)
    request.handed_on(1, at_ns)
    return request


def watch() -> Watch:
    """One at the Pi, where nobody loads."""
    return Watch("pi", lambda _: False, 0, longest_ns=LONGEST_NS)


def test_a_leg_is_overdue_when_its_time_is_over() -> None:
    """Counted from when it began."""
    request = on_its_way(1_000 * MS)
    allowed_ms = watch().allowed_ms(legs(THREE)[0])
    assert watch().left_ms(request, 1_000 * MS) == allowed_ms
    assert watch().left_ms(request, round((1_000 + allowed_ms) * MS)) == pytest.approx(0.0, abs=1e-3)


def test_nothing_is_awaited_until_it_is_too_late_to_do_without() -> None:
    """However patient a long queue or a loading node has made us."""
    seen, request = watch(), on_its_way(1_000 * MS)
    request.started_ns, request.patient_from_ns = 1_000 * MS, 15_990 * MS
    assert seen.left_ms(request, 15_990 * MS) == pytest.approx(10.0)
    assert seen.allowed_ms(legs(THREE)[0]) <= LONGEST_NS / MS


def test_without_failover_nothing_is_overdue() -> None:
    """As published systems do it: a stage has until the request itself times out."""
    patient = Watch("pi", lambda _: False, 0, longest_ns=LONGEST_NS, is_patient=True)
    assert patient.left_ms(on_its_way(1_000 * MS), 3_600_000 * MS) is None


def test_a_queue_that_moves_is_no_miss() -> None:
    """Each answer gives those behind it their time anew, so overload makes no storm of misses."""
    seen = watch()
    requests = [on_its_way(number * MS) for number in range(60)]
    at_ns = 0
    for request in requests:
        at_ns += 400 * MS
        assert all((seen.left_ms(each, at_ns) or 0) > 0 for each in requests if each.awaited == 0)
        seen.passed(request, 1, requests, at_ns)
        request.phase = "answered"


def test_one_that_was_overtaken_gets_no_time_anew() -> None:
    """Lines are in order, so its tensors are lost."""
    seen = watch()
    lost, behind = on_its_way(0), on_its_way(10 * MS)
    before_ms = seen.left_ms(lost, 100 * MS)
    seen.passed(behind, 1, [lost, behind], 100 * MS)
    assert seen.left_ms(lost, 100 * MS) == pytest.approx(before_ms, abs=100.0)
    assert lost.patient_from_ns == 0


def test_a_process_that_stood_still_blames_nobody_for_it() -> None:
    """What came in meanwhile has not been looked at yet."""
    seen, request = watch(), on_its_way(0)
    seen.look([request], 100 * MS)
    seen.look([request], 100 * MS + 60_000 * MS)
    assert (seen.left_ms(request, 100 * MS + 60_000 * MS) or 0) > 0
    seen.look([request], 100 * MS + 60_000 * MS + STOOD_STILL_NS - 1)
    assert request.patient_from_ns == 60_000 * MS


def test_time_stands_still_while_an_end_loads() -> None:
    """And goes on where it stopped: plans that follow each other closely let nobody wait for ever."""
    loading: set[str] = set()
    seen, request = Watch("pi", lambda node: node in loading, 0, longest_ns=LONGEST_NS), on_its_way(0)
    allowed_ms = seen.allowed_ms(legs(THREE)[0])
    waited_ms, now_ms = 0.0, 0
    while waited_ms < allowed_ms:
        assert (seen.left_ms(request, now_ms * MS) or 0.0) == pytest.approx(allowed_ms - waited_ms)
        now_ms += 100
        loading.clear()
        loading.update({"laptop"} if now_ms % 500 > 200 else ())
        seen.look([request], now_ms * MS)
        waited_ms += 0.0 if loading else 100.0
    assert (seen.left_ms(request, now_ms * MS) or 0.0) <= 0.0


def test_one_that_is_said_to_load_for_ever_may_have_stopped() -> None:
    """After some seconds the time runs all the same, and so it does where only others load."""
    for node, bound_ns in (("laptop", LONGEST_LOADING_NS), ("pc", 0)):
        seen, request = Watch("pi", {node}.__contains__, 0, longest_ns=LONGEST_NS), on_its_way(0)
        for at_ns in range(100 * MS, LONGEST_LOADING_NS + 2_000 * MS, 100 * MS):
            seen.look([request], at_ns)
        assert request.patient_from_ns == pytest.approx(bound_ns, abs=100 * MS)


def test_what_began_after_a_standstill_gets_no_more_than_its_time() -> None:
    """And its sign, which comes soon after, teaches nothing of hours."""
    seen, hour_ns = watch(), 3_600_000 * MS
    request = on_its_way(hour_ns - MS)
    seen.look([request], hour_ns)
    assert seen.left_ms(request, hour_ns) == seen.allowed_ms(legs(THREE)[0])
    before_ms = seen.allowed_ms(legs(THREE)[0])
    seen.passed(request, 1, [request], hour_ns + 20 * MS)
    assert seen.allowed_ms(legs(THREE)[0]) == pytest.approx(before_ms, rel=0.1)


def test_a_node_that_was_born_again_is_avoided_until_it_has_loaded() -> None:
    """Or has had the time for it, for its report may be lost."""
    seen = watch()
    for regained in (True, False):
        seen.lose("pc")
        seen.reborn("pc", 1_000 * MS)
        seen.look([], 1_100 * MS)
        assert seen.avoided == {"pc"}
        if regained:
            seen.regain("pc")
        else:
            seen.look([], 1_200 * MS + LONGEST_START_NS)
        assert not seen.avoided
        seen.look([], 0)


def test_a_sign_that_comes_too_late_teaches_patience() -> None:
    """So a node that is slower than its plan says is not missed for ever."""
    seen, request = watch(), on_its_way(0)
    leg = legs(THREE)[0]
    before_ms = seen.allowed_ms(leg)
    attempt = request.attempt
    seen.missed(request, leg, "laptop", 2_000 * MS)
    request.abandon()
    seen.passed_late(attempt, 1, 9_000 * MS)
    assert seen.allowed_ms(leg) > before_ms
    assert not seen.avoided
    learned_ms = seen.allowed_ms(leg)
    seen.passed_late(attempt, 1, 90_000 * MS)
    assert seen.allowed_ms(leg) == learned_ms


def test_a_leg_teaches_what_it_took_also_where_the_origin_computes_next() -> None:
    """Of a leg that ends in the origin's own compute nothing is awaited then; its time is over all the same."""
    plan = predicted(plan_of(("pi", 0, 3), ("laptop", 3, 7), ("pi", 7, 10)))
    request = new_request(plan, (np.zeros(3, np.float32),), lambda _: None, 0.0)
    hour_ns = 3_600_000 * MS
    seen = Watch("pi", lambda _: False, hour_ns, longest_ns=LONGEST_NS)
    request.handed_on(1, hour_ns)
    before_ms = [seen.allowed_ms(leg) for leg in legs(plan)]
    seen.passed(request, 1, [request], hour_ns + 5 * MS)
    seen.passed(request, 2, [request], hour_ns + 30 * MS)
    assert [seen.allowed_ms(leg) for leg in legs(plan)] == before_ms


def test_one_sign_that_comes_very_late_does_not_teach_to_wait_as_long_again() -> None:
    """After a link was cut for a minute, the next cut is not waited out."""
    seen, request = watch(), on_its_way(0)
    leg = legs(THREE)[0]
    before_ms, attempt = seen.allowed_ms(leg), request.attempt
    seen.missed(request, leg, "laptop", 2_000 * MS)
    request.abandon()
    seen.passed_late(attempt, 1, 60_000 * MS)
    assert before_ms < seen.allowed_ms(leg) < 4.0 * before_ms


def test_a_fault_teaches_patience_once() -> None:
    """However many requests it delays; where its suspect is silent not at all, for a cut link is no slow node."""
    leg = legs(THREE)[0]
    learned_ms = []
    for heard_ms, requests in ((1_500, 1), (1_500, 5), (0, 5)):
        seen, late = watch(), [on_its_way(0) for _ in range(requests)]
        attempts = [request.attempt for request in late]
        for request in late:
            request.asked_ns = 1_000 * MS
            seen.heard("laptop", heard_ms * MS)
            seen.missed(request, leg, "laptop", 2_000 * MS)
            request.abandon()
        for attempt in attempts:
            seen.passed_late(attempt, 1, 6_000 * MS)
        assert not seen.avoided
        learned_ms.append(seen.allowed_ms(leg))
    assert learned_ms[0] == learned_ms[1] > learned_ms[2] == watch().allowed_ms(leg)


def test_the_sender_is_blamed_unless_it_alone_is_alive() -> None:
    """A node that the origin never hears from at all proves nothing by its silence."""
    request = on_its_way(0)
    seen = watch()
    seen.passed(request, 1, [request], 10 * MS)
    leg = legs(THREE)[1]
    assert (seen.blame(request, leg).suspect, seen.blame(request, leg).delivered) == ("laptop", True)
    seen.heard("laptop", 20 * MS)
    assert seen.blame(request, leg).suspect == "laptop"
    seen.heard("pc", 5 * MS)
    assert (seen.blame(request, leg).suspect, seen.blame(request, leg).delivered) == ("pc", False)
    seen.heard("pc", 30 * MS)
    assert seen.blame(request, leg).suspect == "laptop"
