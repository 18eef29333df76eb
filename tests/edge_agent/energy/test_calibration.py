"""The power model fitted to what a meter says."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from fake_meter import FakeMeter
from hypothesis import given

from edge_agent.energy.calibration import LoadWindow, calibration, fit_power, relative_error
from edge_agent.energy.calibration_run import WINDOWS, measured_windows, model_looped, thread_levels, window_s
from edge_agent.errors import CalibrationError, MeterUnavailableError

LOADS = st.lists(st.floats(0.0, 1.0), min_size=3, max_size=20).filter(lambda busy: max(busy) - min(busy) > 0.25)


@given(st.floats(0.1, 100.0), st.floats(0.0, 200.0), LOADS)
def test_a_linear_machine_is_found_again(idle_w: float, dynamic_w: float, busy: list[float]) -> None:
    """Exactly, and without a doubt."""
    windows = [LoadWindow(0, share, idle_w + dynamic_w * share) for share in busy]
    fit = fit_power(windows)
    assert (fit.idle_w, fit.busy_w) == pytest.approx((idle_w, idle_w + dynamic_w), rel=1e-6, abs=1e-6)
    assert fit.residual_w == pytest.approx(0.0, abs=1e-6)
    assert relative_error(windows, fit.idle_w, fit.busy_w) == pytest.approx(0.0, abs=1e-6)


def test_the_standard_errors_are_those_of_a_line() -> None:
    """Two windows at rest and two at full load, each pair 2 W apart: sqrt(2) W off, so 1 W at either end."""
    windows = [LoadWindow(threads, float(threads), power_w) for threads, power_w in ((0, 4), (0, 6), (1, 9), (1, 11))]
    fit = fit_power(windows)
    assert (fit.idle_w, fit.busy_w) == pytest.approx((5.0, 10.0))
    assert fit.residual_w == pytest.approx(2**0.5)
    assert (fit.idle_w_std, fit.busy_w_std) == pytest.approx((1.0, 1.0))


def test_a_model_is_held_against_the_meter_before_and_after_the_fit() -> None:
    """By the mean of its relative errors."""
    windows = [LoadWindow(threads, share, 5.0 + 5.0 * share) for threads, share in ((0, 0.0), (1, 0.5), (2, 1.0))]
    figures = calibration(windows, meter="rapl", scope="package", window_s=2.0, idle_w=10.0, busy_w=20.0)
    assert figures.before_error == pytest.approx(1.0)
    assert figures.after_error == pytest.approx(0.0, abs=1e-9)
    assert [(level.threads, level.measured_w, level.before_w) for level in figures.levels] == [
        (0, 5.0, 10.0),
        (1, 7.5, 15.0),
        (2, 10.0, 20.0),
    ]


@pytest.mark.parametrize(
    ("windows", "said"),
    [
        ([LoadWindow(0, 0.0, 5.0), LoadWindow(1, 1.0, 9.0)], "2 windows are too few"),
        ([LoadWindow(0, 0.50, 5.0), LoadWindow(1, 0.51, 9.0), LoadWindow(1, 0.52, 9.0)], "the load hardly changed"),
        ([LoadWindow(0, 0.88, 24.0), LoadWindow(1, 0.98, 25.0), LoadWindow(2, 1.0, 25.1)], "the load hardly changed"),
        ([LoadWindow(0, 0.0, 9.0), LoadWindow(1, 0.5, 7.0), LoadWindow(1, 1.0, 5.0)], "which no machine does"),
        ([LoadWindow(0, 0.5, 0.1), LoadWindow(1, 0.7, 5.0), LoadWindow(1, 1.0, 9.0)], "which no machine does"),
        ([LoadWindow(0, 0.0, 0.0), LoadWindow(1, 0.5, 5.0), LoadWindow(1, 1.0, 9.0)], "too coarse"),
    ],
)
def test_what_fits_no_machine_says_why(windows: list[LoadWindow], said: str) -> None:
    """One sentence, with the figures."""
    with pytest.raises(CalibrationError, match=said):
        calibration(windows, meter="rapl", scope="package", window_s=2.0, idle_w=1.0, busy_w=2.0)


@pytest.mark.parametrize(
    ("cores", "levels"), [(1, (0, 1)), (2, (0, 1, 2)), (4, (0, 1, 2, 3, 4)), (16, (0, 4, 8, 12, 16))]
)
def test_a_machine_is_loaded_thread_by_thread(cores: int, levels: tuple[int, ...]) -> None:
    """From rest to all cores, in at most five levels."""
    assert thread_levels(cores) == levels


class Machine:
    """A machine of two cores that draws 5 W and 4 W more for each busy core, with a clock that sleeping turns."""

    def __init__(self, **meter: object) -> None:
        self.now_s = self.busy_s = 0.0
        self.threads = 0
        self.slept_s: list[float] = []
        self.meter = FakeMeter(**meter)  # type: ignore[arg-type]  # any of its fields

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds
        self.busy_s += seconds * self.threads / 2
        self.meter.energy_j += seconds * (5.0 + 4.0 * self.threads)
        self.slept_s.append(seconds)

    @contextlib.contextmanager
    def working(self, threads: int) -> Iterator[None]:
        """So many cores are busy."""
        self.threads = threads
        yield
        self.threads = 0

    def measure(self) -> tuple[LoadWindow, ...]:
        """At rest, with one core, and with both."""
        return measured_windows(
            self.meter,
            (0, 1, 2),
            self.working,
            busy_s=lambda: self.busy_s,
            sleep=self.sleep,
            clock_s=lambda: self.now_s,
        )


def test_each_level_is_measured_in_several_windows() -> None:
    """With the load that there really was."""
    windows = Machine().measure()
    assert len(windows) == 3 * WINDOWS
    assert {(window.threads, round(window.busy, 6), round(window.power_w, 6)) for window in windows} == {
        (0, 0.0, 5.0),
        (1, 0.5, 9.0),
        (2, 1.0, 13.0),
    }
    fit = fit_power(windows)
    assert (fit.idle_w, fit.busy_w) == pytest.approx((5.0, 13.0))


def test_a_slow_meter_gets_longer_windows_and_a_sensor_is_read_often() -> None:
    """Several of its periods; a counter is read at the ends alone."""
    assert window_s(FakeMeter(period_s=0.001)) == 2.0
    assert window_s(FakeMeter(period_s=10.0)) == 50.0
    sensor, counter = Machine(is_sampled=True, period_s=0.1), Machine(period_s=0.1)
    sensor.measure()
    counter.measure()
    assert max(sensor.slept_s) == 0.1
    assert max(counter.slept_s) == 2.0


def test_a_meter_that_misses_a_part_is_not_believed() -> None:
    """Nor is one that goes away."""

    class Lossy(Machine):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            self.meter.uncounted_s = self.now_s

    machine = Lossy()
    with pytest.raises(CalibrationError, match="rapl missed a part"):
        machine.measure()
    gone = Machine(failure=MeterUnavailableError("gone"))
    with pytest.raises(MeterUnavailableError):
        gone.measure()


def test_a_model_is_looped_on_threads_that_end(small_model: Callable[[str], Path]) -> None:
    """None at all at rest."""
    before = threading.active_count()
    with model_looped(small_model("branchy"), 0):
        assert threading.active_count() == before
    with model_looped(small_model("branchy"), 2):
        assert threading.active_count() == before + 2
    assert threading.active_count() == before
