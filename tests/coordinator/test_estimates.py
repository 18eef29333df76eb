"""What is believed of links and loads after readings of any kind."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_site import link_message

from broker.messages import LinkReading, NodeLoad
from coordinator.estimates import (
    HIGHEST_LOAD,
    LINK_DRIFT,
    UNLOADED,
    Belief,
    LinkBelief,
    first_link_belief,
    with_link_reading,
    with_load_reading,
    with_stage,
)


def load_message(load: float, load_std: float = 0.0) -> NodeLoad:
    return NodeLoad(node="pc", session="s1", at=0.0, load=load, load_std=load_std)


def reading_of(mbps: float, at: float, mbps_std: float = 1.0) -> LinkReading:
    return LinkReading(
        src="pi", dst="pc", at=at, rtt_ms=2.0, rtt_ms_std=0.1, mbps=mbps, mbps_std=mbps_std, method="probe"
    )


def believed(*readings: tuple[float, float], mbps_std: float = 1.0) -> LinkBelief:
    """The belief after (mbps, at) readings."""
    (mbps, at), *others = readings
    before = reading_of(mbps, at, mbps_std)
    belief = first_link_belief(before, at)
    for mbps, at in others:
        reading = reading_of(mbps, at, mbps_std)
        belief = with_link_reading(belief, before, reading, at)
        before = reading
    return belief


def test_another_way_is_another_link() -> None:
    """What was believed of direct tensors says nothing of those that go through the broker, and is no doubt of them."""
    direct, by_mqtt = reading_of(900.0, 0.0), msgspec.structs.replace(reading_of(90.0, 1.0), way="mqtt")
    belief = with_link_reading(first_link_belief(direct, 0.0), direct, by_mqtt, 1.0)
    assert belief == first_link_belief(by_mqtt, 1.0)


def test_the_spread_grows_with_age_up_to_a_bound() -> None:
    """What has not been heard of for long is hardly known."""
    belief = believed((50.0, 0.0), (50.0, 1.0), (50.0, 2.0))
    spreads = [belief.mbps_std(now) for now in (2.0, 3.0, 10.0, 1e9)]
    assert spreads == sorted(spreads)
    assert spreads[0] < 0.1 * 50.0
    assert spreads[-1] <= 50.0 * math.hypot(LINK_DRIFT.most_std, 1.0)


def test_the_older_a_belief_the_more_a_new_reading_counts() -> None:
    """The same reading moves an old belief further than a young one."""
    belief = Belief(mean=0.0, variance=0.01, at=0.0)
    young = belief.updated(0.2, 0.1, 1.0, LINK_DRIFT)
    old = belief.updated(0.2, 0.1, 30.0, LINK_DRIFT)
    assert 0.0 < young.mean < old.mean < 0.2


def test_a_first_reading_is_doubted() -> None:
    """It comes from one short probe; the second one makes it much surer."""
    first, second = believed((50.0, 0.0)), believed((50.0, 0.0), (50.0, 1.0))
    assert second.mbps_std(1.0) < 0.7 * first.mbps_std(0.0)


def test_a_jump_is_followed_at_once() -> None:
    """Agents report a jump only when two samples agree on it, so it is a new level and no noise."""
    assert believed((50.0, 0.0), (50.0, 1.0), (50.0, 2.0), (5.0, 3.0)).mbps == pytest.approx(5.0)


def test_noise_is_smoothed() -> None:
    """The less sure readings are of themselves, the less the last one counts."""
    readings = [(50.0 * factor, float(at)) for at, factor in enumerate((1.0, 1.3, 0.8, 1.2, 0.85, 1.3, 0.75))]
    unsure, sure = believed(*readings, mbps_std=25.0), believed(*readings, mbps_std=2.0)
    assert unsure.mbps == pytest.approx(50.0, rel=0.15)
    assert sure.mbps == pytest.approx(0.75 * 50.0, rel=0.05)


def test_a_reading_that_repeats_its_sample_makes_no_bandwidth_younger() -> None:
    """An agent repeats its estimate as long as its pings are answered; that is no new measurement."""
    reading = reading_of(50.0, 0.0)
    belief = first_link_belief(reading, 0.0)
    repeated = with_link_reading(belief, reading, reading, 10.0)
    assert repeated.bandwidth == belief.bandwidth
    assert repeated.round_trip.at == 10.0


extreme = st.floats(0.0, 1.7e308)


@given(
    readings=st.lists(st.tuples(extreme, extreme, extreme, extreme, st.floats(-1e9, 1e10)), min_size=1, max_size=8),
    now=st.floats(-1e9, 1e11),
)
def test_no_reading_makes_a_belief_that_is_no_number(
    readings: list[tuple[float, float, float, float, float]], now: float
) -> None:
    """Whatever comes in, at whatever time, in whatever order: all figures stay finite and in their bounds."""
    belief, before = None, link_message("pi", "pc")
    for rtt_ms, rtt_ms_std, mbps, mbps_std, at in readings:
        reading = LinkReading(
            src="pi",
            dst="pc",
            at=at,
            rtt_ms=rtt_ms,
            rtt_ms_std=rtt_ms_std,
            mbps=max(mbps, 5e-324),
            mbps_std=mbps_std,
            method="probe",
        )
        belief = first_link_belief(reading, at) if belief is None else with_link_reading(belief, before, reading, at)
        before = reading
        figures = (belief.mbps, belief.mbps_std(now), belief.rtt_ms, belief.rtt_ms_std(now))
        assert all(math.isfinite(figure) and figure >= -1e-9 for figure in figures)
        assert belief.mbps > 0.0


@given(
    heard=st.lists(
        st.one_of(
            st.tuples(st.just("word"), st.floats(0.0, 1.0, exclude_max=True), extreme),
            st.tuples(st.just("stage"), extreme, extreme),
        ),
        max_size=8,
    ),
    now=st.floats(0.0, 1e10),
)
def test_a_believed_load_is_always_one(heard: list[tuple[str, float, float]], now: float) -> None:
    """It lies in [0, 0.99], with a finite spread, whatever nodes and stages say."""
    belief = UNLOADED
    for at, (kind, one, other) in enumerate(heard):
        if kind == "word":
            belief = with_load_reading(belief, load_message(one, other), float(at))
        else:
            belief = with_stage(belief, one, other, float(at))
        assert 0.0 <= belief.load(now) <= HIGHEST_LOAD
        assert math.isfinite(belief.load_std(now))


def test_a_nodes_own_word_is_believed() -> None:
    """Unlike a stage's time, one report is enough: agents report a median."""
    assert with_load_reading(UNLOADED, load_message(0.6), 1.0).load(1.0) == pytest.approx(0.6, abs=0.02)


def test_stages_that_take_longer_than_profiled_tell_of_a_load() -> None:
    """From the second one in a row on, and its end from the first one."""
    once = with_stage(UNLOADED, 50.0, 20.0, 1.0)
    assert once.load(1.0) == 0.0
    twice = with_stage(once, 48.0, 20.0, 1.2)
    assert twice.load(1.2) == pytest.approx(1.0 - 20.0 / 48.0, abs=0.05)
    ended = with_stage(twice, 20.0, 20.0, 1.4)
    assert ended.load(1.4) < 0.1


def test_one_slow_stage_tells_of_no_load() -> None:
    """The first inference under a plan is slow on any node."""
    belief = UNLOADED
    for at, compute_ms in enumerate((20.0, 60.0, 20.0, 21.0, 55.0, 20.0)):
        belief = with_stage(belief, compute_ms, 20.0, float(at))
        assert belief.load(float(at)) < 0.05


def test_the_shortest_stages_tell_nothing() -> None:
    """Their time is overhead."""
    assert with_stage(with_stage(UNLOADED, 9.0, 2.0, 1.0), 9.0, 2.0, 2.0) == UNLOADED


def test_a_load_that_is_not_heard_of_any_more_fades() -> None:
    """A node that is avoided for its load gets another chance, though nothing tells that the load is gone."""
    belief = with_load_reading(UNLOADED, load_message(0.8), 0.0)
    loads = [belief.load(now) for now in (0.0, 10.0, 300.0, 3_000.0)]
    assert loads == sorted(loads, reverse=True)
    assert loads[1] > 0.75
    assert loads[-1] < 0.01
