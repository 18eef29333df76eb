"""The thread that looks at meters."""

import contextlib
import threading
import time

import pytest
from eventually import eventually
from fake_meter import ABSENT, FakeMeter

from edge_agent.energy import sampler as sampler_module
from edge_agent.energy.sampler import Sampler
from edge_agent.energy.shared_meter import SharedMeter


def shared_of(meter: FakeMeter) -> SharedMeter:
    """The meter, shared."""
    return SharedMeter(meter, without="no readings")


def nothing() -> None:
    """A look that sees nothing."""


def test_a_stage_is_sampled_at_the_meters_own_period() -> None:
    """Beside it, the node idles and is looked at now and then."""
    meter = FakeMeter(is_sampled=True, period_s=0.001)
    shared = shared_of(meter)
    sampler = Sampler((shared,), primary=shared, look=nothing, look_interval_s=60.0)
    sampler.start()
    with contextlib.closing(sampler):
        assert eventually(lambda: meter.reads >= 1)
        sampler.hurry()
        start_ns = time.monotonic_ns()
        assert eventually(lambda: len(sampler.since(start_ns)) >= 5)
        sampler.relax()
        samples = sampler.since(start_ns)
    assert samples[0].at_ns <= start_ns < samples[1].at_ns
    assert list(samples) == sorted(samples, key=lambda sample: sample.at_ns)


def test_an_idle_node_is_hardly_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only once each idle period, however quick the sensor is."""
    monkeypatch.setattr(sampler_module, "IDLE_PERIOD_S", 30.0)
    meter, looks = FakeMeter(is_sampled=True, period_s=0.001), [0]

    def look() -> None:
        looks[0] += 1

    shared = shared_of(meter)
    sampler = Sampler((shared,), primary=shared, look=look, look_interval_s=0.01)
    sampler.start()
    with contextlib.closing(sampler):
        assert eventually(lambda: looks[0] >= 5)
    assert meter.reads == 1


def test_a_slow_sensor_is_not_hurried_beyond_its_period() -> None:
    """A reading of it may be a process of its own, and stages come by the dozen."""
    meter, looks = FakeMeter(is_sampled=True, period_s=30.0), [0]

    def look() -> None:
        looks[0] += 1

    shared = shared_of(meter)
    sampler = Sampler((shared,), primary=shared, look=look, look_interval_s=0.01)
    sampler.start()
    with contextlib.closing(sampler):
        for number in range(10):
            sampler.hurry()
            assert eventually(lambda number=number: looks[0] > number)  # type: ignore[misc]  # mypy cannot type a default in a lambda
            sampler.relax()
    assert meter.reads == 1


def test_a_look_that_fails_does_not_end_the_thread() -> None:
    """Others are still to be looked at."""
    looks = [0]

    def look() -> None:
        looks[0] += 1
        raise RuntimeError("a fault")

    sampler = Sampler((), primary=None, look=look, look_interval_s=0.01)
    sampler.start()
    with contextlib.closing(sampler):
        assert eventually(lambda: looks[0] >= 3)


def test_a_meter_that_cannot_be_read_leaves_no_samples() -> None:
    """And the others go on."""
    gone, there = shared_of(FakeMeter(is_sampled=True, failure=ABSENT)), shared_of(FakeMeter(is_sampled=True))
    sampler = Sampler((gone, there), primary=gone, look=nothing, look_interval_s=60.0)
    assert sampler.take(gone) is None
    assert sampler.take(there) is not None
    assert sampler.since(0) == ()


def test_samples_are_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent runs for months."""
    monkeypatch.setattr(sampler_module, "SAMPLES_KEPT", 8)
    shared = shared_of(FakeMeter(is_sampled=True))
    sampler = Sampler((shared,), primary=shared, look=nothing, look_interval_s=60.0)
    for _ in range(20):
        sampler.take(shared)
    assert len(sampler.since(0)) == 8


def test_closing_ends_the_thread() -> None:
    """Also one that was never started."""
    Sampler((), primary=None, look=nothing, look_interval_s=60.0).close()
    sampler = Sampler((), primary=None, look=nothing, look_interval_s=60.0)
    sampler.start()
    sampler.close()
    assert "energy" not in {thread.name for thread in threading.enumerate()}
