"""One time for each point, whoever stores it and however often it comes."""

from hypothesis import given
from hypothesis import strategies as st
from made_site import birth_message, link_message, offline, plan_message, profile_message
from msgspec.structs import replace

from broker.messages import InferenceReport, LinkReading, SpoolMark
from coordinator.telemetry.point_time import (
    KEPT_S,
    LATEST_S,
    NEAR_S,
    arrival_of_kept,
    began_at,
    point_time_ns,
    recorded_at,
)

NOW = 1.7e9
moments = st.floats(0.0, 4e9)
sequences = st.integers(0, 2**53)


def link(at: float, age_s: float) -> LinkReading:
    mark = SpoolMark(session="s", sequence=1, oldest=1, age_s=age_s)
    return replace(link_message("pi", "pc"), at=at, mark=mark)


@given(moments, moments, moments, sequences)
def test_times_keep_their_order(first: float, second: float, recorded: float, sequence: int) -> None:
    """Of two times of a node that both are near our reckoning the later is never before the earlier."""
    at, later = sorted((first, second))
    near = [min(max(each, recorded - NEAR_S), recorded + NEAR_S) for each in (at, later)]
    assert point_time_ns(near[0], recorded, sequence) <= point_time_ns(near[1], recorded, sequence)


@given(moments, st.floats(-59.0, 59.0), st.floats(-59.0, 59.0), sequences)
def test_what_comes_again_makes_the_same_point(at: float, once: float, again: float, sequence: int) -> None:
    """Also at another coordinator, whose clock and whose network differ."""
    assert point_time_ns(at, at + once, sequence) == point_time_ns(at, at + again, sequence)


@given(moments, sequences)
def test_two_samples_of_one_microsecond_stay_two(at: float, sequence: int) -> None:
    """Neighbours in their node's numbering, a thousand of them."""
    times = {point_time_ns(at, at, sequence + step) for step in (0, 1, 500, 999)}
    assert len(times) == 4
    assert {each // 1_000 for each in times} == {round(at * 1e6)}


def test_a_wrong_clock_is_not_believed() -> None:
    """Beyond a minute the coordinator's reckoning counts."""
    assert point_time_ns(NOW + 60.0, NOW) == (1_700_000_060) * 10**9
    assert point_time_ns(NOW + 61.0, NOW) == 1_700_000_000 * 10**9
    assert point_time_ns(0.0, NOW) == 1_700_000_000 * 10**9


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0.0, LATEST_S), sequences)
def test_no_clock_makes_a_time_that_cannot_be_stored(at: float, recorded: float, sequence: int) -> None:
    """64 bits hold it, whatever a node says."""
    assert 0 <= point_time_ns(at, recorded, sequence) < 2**63


def test_telemetry_is_as_old_as_its_mark_says() -> None:
    """What waited in a spool was recorded before it arrived; no age reaches back before 1970."""
    assert recorded_at(link(0.0, 3_600.0), NOW) == NOW - 3_600.0
    assert recorded_at(link_message("pi", "pc"), NOW) == NOW
    assert recorded_at(link(0.0, 1e300), NOW) == 0.0


def test_a_birth_is_as_old_as_its_connection() -> None:
    """It is repeated while that lasts."""
    assert recorded_at(replace(birth_message("pi"), connected_s=50.0), NOW) == NOW - 50.0


def test_plans_and_profiles_are_published_again() -> None:
    """Their own time counts, if it is of the last day."""
    plan = replace(plan_message(1, ("pi", 0, 4)), created_at=NOW - 3_600.0)
    assert recorded_at(plan, NOW) == NOW - 3_600.0
    assert recorded_at(replace(plan, created_at=NOW - KEPT_S - 1.0), NOW) == NOW
    assert recorded_at(replace(plan, created_at=NOW + 1.0), NOW) == NOW
    assert recorded_at(replace(profile_message("pi"), at=NOW - 60.0), NOW) == NOW - 60.0
    assert recorded_at(profile_message("pi"), NOW) == NOW, "it does not say when"


def test_of_what_the_broker_kept_the_nodes_word_counts() -> None:
    """Nothing else tells how long ago it came; a death says nothing, so that it counts as of now."""
    kept = link(NOW - 7_200.0, age_s=10.0)
    assert recorded_at(kept, arrival_of_kept(kept, NOW)) == NOW - 7_200.0
    birth = replace(birth_message("pi"), at=NOW - 7_200.0, connected_s=30.0)
    assert recorded_at(birth, arrival_of_kept(birth, NOW)) == NOW - 7_200.0
    assert arrival_of_kept(offline("pi"), NOW) == NOW
    assert arrival_of_kept(link(NOW + 5.0, age_s=0.0), NOW) == NOW, "a clock that is ahead tells nothing"


def test_an_inference_is_reckoned_from_its_begin() -> None:
    """One that waited minutes for a plan is still put where it began."""
    report = InferenceReport(
        deployment="photos", epoch=1, request_id="r", origin="pi", at=NOW - 300.0, latency_ms=300e3
    )
    assert point_time_ns(report.at, began_at(report, NOW)) == (1_700_000_000 - 300) * 10**9
