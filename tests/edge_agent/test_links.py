"""The estimate of a link as a specification: it converges, follows steps, and stays calm in noise."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.links import ArrivalTimeline, LinkEstimator

RATES = st.floats(0.05, 1_000)


def estimator_at(mbps: float, samples: int = 10) -> LinkEstimator:
    """An estimator that has settled on a link without noise."""
    estimator = LinkEstimator()
    estimator.ping(5.0)
    for at in range(samples):
        estimator.probe(mbps, float(at))
    return estimator


def test_nothing_is_known_before_a_ping_and_a_sample() -> None:
    """An estimate needs both a round trip and a bandwidth."""
    estimator = LinkEstimator()
    assert estimator.estimate() is None
    estimator.ping(3.0)
    assert estimator.estimate() is None
    estimator.probe(10.0, 1.0)
    assert estimator.estimate() is not None


def test_the_round_trip_is_the_least_of_five_pings() -> None:
    """Queues only add to a ping, and old pings are forgotten."""
    estimator = estimator_at(10.0)
    for rtt_ms in (9.0, 3.0, 8.0, 30.0, 7.0):
        estimator.ping(rtt_ms)
    assert estimator.rtt_ms == 3.0
    for _ in range(5):
        estimator.ping(20.0)
    estimate = estimator.estimate()
    assert estimate is not None
    assert (estimate.rtt_ms, estimate.rtt_ms_std) == (20.0, 0.0)


@given(RATES, st.integers(0, 10_000))
def test_a_constant_link_converges(mbps: float, seed: int) -> None:
    """With 2 % of noise, none of it beyond three spreads, twenty samples are within 6 % of the truth, and say so."""
    noise = random.Random(seed)
    estimator = LinkEstimator()
    estimator.ping(1.0)
    for at in range(20):
        estimator.probe(mbps * min(max(noise.gauss(1, 0.02), 0.94), 1.06), float(at))
    estimate = estimator.estimate()
    assert estimate is not None
    assert estimate.mbps == pytest.approx(mbps, rel=0.06)
    assert estimate.mbps_std < 0.12 * mbps
    assert (estimate.at, estimate.method) == (19.0, "probe")


@given(RATES, st.sampled_from([0.02, 0.1, 0.3, 3.0, 10.0, 50.0]))
def test_a_step_is_followed_within_two_samples(mbps: float, factor: float) -> None:
    """A drop and a recovery are believed when a second sample agrees; the first only raises a suspicion."""
    estimator = estimator_at(mbps)
    estimator.probe(mbps * factor, 10.0)
    assert estimator.mbps == pytest.approx(mbps)
    assert estimator.suspected_mbps == pytest.approx(mbps * factor, abs=0.001)
    estimator.probe(mbps * factor * 1.1, 11.0)
    assert estimator.mbps == pytest.approx(mbps * factor * 1.1, rel=0.01, abs=0.001)
    assert estimator.suspected_mbps is None


def test_a_single_outlier_changes_nothing() -> None:
    """One slow transfer among normal ones is forgotten."""
    estimator = estimator_at(20.0)
    for at in range(20, 60):
        estimator.probe(0.5 if at % 5 == 0 else 20.0, float(at))
    assert estimator.mbps == pytest.approx(20.0)


@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 2.0]), st.sampled_from([0.1, 0.25]))
@settings(max_examples=50, deadline=None)
def test_noise_is_averaged_out(seed: int, apart_s: float, spread: float) -> None:
    """On a steady link whose samples differ, the estimate is much nearer to the truth than they are."""
    noise = random.Random(seed)
    estimator = LinkEstimator()
    estimator.ping(1.0)
    errors, sample_errors = [], []
    for number in range(150):
        sample = 20 * max(noise.gauss(1, spread), 0.3)
        estimator.probe(sample, number * apart_s)
        assert estimator.mbps is not None
        errors.append(math.log(estimator.mbps / 20) ** 2)
        sample_errors.append(math.log(sample / 20) ** 2)
    assert sum(errors[50:]) < 0.8**2 * sum(sample_errors[50:])


def shares_of_a_step_off(seed: int) -> float:
    """How far estimates are off a link that walks and whose samples are sure, against its typical step."""
    walk = random.Random(seed)
    estimator = LinkEstimator()
    estimator.ping(1.0)
    level, steps, off = math.log(20), [], []
    for number in range(100):
        steps.append(walk.gauss(0.0, 0.3))
        level += steps[-1]
        estimator.probe(math.exp(level), 2.0 * number)
        assert estimator.mbps is not None
        off.append(abs(math.log(estimator.mbps) - level))
    return statistics.median(off[50:]) / statistics.median(map(abs, steps[50:]))


def test_a_link_that_moves_is_followed() -> None:
    """Where samples are sure and the link itself goes up and down, the estimate is where the last sample was.

    Now and then a walk looks like noise for a while: even then it is off by less than a step.
    """
    shares = [shares_of_a_step_off(seed) for seed in range(200)]
    assert statistics.median(shares) < 0.05
    assert max(shares) < 0.75


def test_a_link_that_goes_along_with_others_is_in_doubt() -> None:
    """It has moved, its spread has grown, and it wants a sample of its own, which settles it."""
    estimator = estimator_at(20.0)
    before = estimator.estimate()
    assert estimator.go_along(math.log(0.5))
    after = estimator.estimate()
    assert before is not None
    assert after is not None
    assert after.mbps == pytest.approx(10.0)
    assert after.mbps_std / after.mbps > 0.5 > before.mbps_std / before.mbps
    assert after.at == before.at
    assert estimator.is_in_doubt
    move = estimator.probe(10.0, 10.0)
    assert move is not None
    assert move.since_sample == pytest.approx(math.log(0.5), abs=0.01)
    assert move.unexpected == pytest.approx(0.0, abs=0.01)
    assert not estimator.is_in_doubt


def test_what_is_not_known_goes_along_with_nothing() -> None:
    """Before its first sample a link has no bandwidth to be moved."""
    assert not LinkEstimator().go_along(1.0)


def test_a_real_transfer_shows_the_bandwidth() -> None:
    """600 KB in 245 ms over a round trip of 5 ms are 20 Mbit/s."""
    estimator = LinkEstimator()
    estimator.ping(5.0)
    estimator.transfer(600_000, 245.0, None, 1.0)
    estimate = estimator.estimate()
    assert estimate is not None
    assert (estimate.mbps, estimate.method) == (pytest.approx(20.0), "transfer")


def test_a_transfer_behind_another_is_judged_by_the_gap() -> None:
    """A wait in line behind another transfer is not taken for a thin link."""
    estimator = LinkEstimator()
    estimator.ping(5.0)
    estimator.transfer(600_000, 485.0, 240.0, 1.0)
    assert estimator.mbps == pytest.approx(20.0)


def test_small_and_instant_transfers_say_nothing() -> None:
    """Below 40 KB, or hardly longer than a round trip, the time says nothing of the bandwidth."""
    estimator = LinkEstimator()
    estimator.ping(5.0)
    estimator.transfer(10_000, 50.0, None, 1.0)
    estimator.transfer(100_000, 5.5, None, 2.0)
    estimator.transfer(100_000, 4.0, None, 3.0)
    assert estimator.mbps is None


def test_an_overdue_reply_bounds_the_bandwidth_at_once() -> None:
    """A ceiling far below the estimate is believed, one near it is not, and the next true sample replaces it."""
    estimator = estimator_at(20.0)
    assert estimator.ceiling(15.0, 30.0) is None
    move = estimator.ceiling(2.0, 31.0)
    assert move is not None
    assert (move.unexpected, move.since_sample) == (pytest.approx(math.log(0.1)), None)
    assert estimator.mbps == pytest.approx(2.0)
    estimator.probe(0.9, 32.0)
    assert estimator.mbps == pytest.approx(0.9)


@given(st.lists(st.one_of(st.floats(), st.just(0.0), st.just(-1.0)), max_size=30))
def test_no_sample_breaks_the_estimate(samples: list[float]) -> None:
    """Whatever is measured, the bandwidth stays positive and finite."""
    estimator = estimator_at(10.0, samples=1)
    for at, mbps in enumerate(samples):
        estimator.probe(mbps, float(at))
        assert estimator.mbps is not None
        assert 0 < estimator.mbps < float("inf")


def test_a_timeline_counts_after_its_ramp() -> None:
    """The first 20 KB, which a shaper or the kernel lets through at once, do not count."""
    timeline = ArrivalTimeline(32_768)
    for index in range(8):
        late = max(index - 4, 0)
        timeline.arrive(4_096, at_ns=1_000_000 + late * 2_000_000)
    slope = timeline.slope()
    assert slope.counted_bytes == 3 * 4_096
    assert slope.mbps == pytest.approx(8 * 4_096 / 2_000)


def test_a_short_timeline_counts_after_its_first_chunk() -> None:
    """A probe for a thin line has no 20 KB to spare; one chunk alone has no slope."""
    timeline = ArrivalTimeline(8_192)
    timeline.arrive(1_024, 5)
    assert timeline.slope().mbps is None
    timeline.arrive(1_024, 5 + 1_000_000)
    assert timeline.slope().mbps == pytest.approx(8.192)
