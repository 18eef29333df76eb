"""A meter that several threads read, and that may fail."""

import logging
import threading

import pytest
from fake_meter import ABSENT, FakeMeter

from edge_agent.energy.shared_meter import SharedMeter
from edge_agent.errors import MeterUnavailableError


class Clock:
    """Time that a test turns."""

    s = 1_000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.s

    def monotonic_ns(self) -> int:
        """The same in nanoseconds."""
        return round(self.s * 1e9)


def test_a_sample_is_the_counter_at_a_moment() -> None:
    """With what it has missed."""
    shared = SharedMeter(FakeMeter(energy_j=5.0, uncounted_s=2.0), without="no readings")
    first, second = shared.sample(), shared.sample()
    assert (first.energy_j, first.uncounted_s) == (5.0, 2.0)
    assert first.at_ns <= second.at_ns
    assert shared.is_available


def test_a_meter_that_fails_rests_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not asked again until its rest is over, which is longer each time; then it goes on where it was."""
    clock = Clock()
    monkeypatch.setattr("edge_agent.energy.shared_meter.time", clock)
    meter = FakeMeter(energy_j=5.0)
    shared = SharedMeter(meter, without="no readings")
    shared.sample()
    meter.failure = ABSENT
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            with pytest.raises(MeterUnavailableError, match="the sensor has gone"):
                shared.sample()
        assert (meter.reads, shared.is_available) == (2, False)
        clock.s += 2.0
        with pytest.raises(MeterUnavailableError):
            shared.sample()
        assert meter.reads == 3
        clock.s += 1.0
        with pytest.raises(MeterUnavailableError):
            shared.sample()
        assert meter.reads == 3
        clock.s += 40.0
        meter.failure = None
        assert shared.sample().energy_j == 5.0
    assert shared.is_available
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "no readings until rapl can be read, which is tried again: the sensor has gone: plug it in"),
        ("INFO", "rapl can be read"),
    ]


def test_a_meter_that_never_spoke_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A smart plug may take minutes to its first message."""
    with caplog.at_level(logging.INFO), pytest.raises(MeterUnavailableError):
        SharedMeter(FakeMeter(failure=ABSENT), without="no readings").sample()
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_a_drivers_own_error_is_an_unavailable_meter() -> None:
    """Nothing that a vendor's library raises may cost an inference."""
    with pytest.raises(MeterUnavailableError, match="rapl: RuntimeError: not initialised"):
        SharedMeter(FakeMeter(failure=RuntimeError("not initialised")), without="no readings").sample()


def test_only_a_quick_counter_is_read_at_once() -> None:
    """A sensor of watts, one that cannot be read, and a slow one are sampled beside the stages."""

    class Slow(FakeMeter):
        def read_energy_j(self) -> float:
            threading.Event().wait(0.002)
            return super().read_energy_j()

    assert SharedMeter(FakeMeter(), without="no readings").is_read_at_once()
    assert not SharedMeter(FakeMeter(is_sampled=True), without="no readings").is_read_at_once()
    assert not SharedMeter(FakeMeter(failure=ABSENT), without="no readings").is_read_at_once()
    assert not SharedMeter(Slow(), without="no readings").is_read_at_once()


def test_threads_read_in_turns() -> None:
    """A meter is used by one thread at a time."""
    inside, most = [0], [0]

    class Watched(FakeMeter):
        def read_energy_j(self) -> float:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            threading.Event().wait(0.001)
            inside[0] -= 1
            return 0.0

    shared = SharedMeter(Watched(), without="no readings")
    threads = [threading.Thread(target=lambda: [shared.sample() for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
