"""The yardstick of the emulation: CPU time, taken within a bounded time."""

from collections.abc import Callable
from pathlib import Path

import pytest

import testbed.host_timing
from testbed.host_timing import MOST_RUNS, unsplit_cpu_ms


class Counting:
    """A segment that counts its runs, each of which lets the given time pass."""

    inputs = ()

    def __init__(self, clock: list[float], run_s: float) -> None:
        self.runs = 0
        self._clock, self._run_s = clock, run_s

    def run(self, _: object) -> list[object]:
        self.runs += 1
        self._clock[0] += self._run_s
        return []

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("run_s", "runs"), [(0.005, 5 + MOST_RUNS), (0.36, 3 + 9), (10.0, 1 + 5)], ids=["quick", "slow", "very slow"]
)
def test_a_slow_model_is_run_less_often(monkeypatch: pytest.MonkeyPatch, run_s: float, runs: int) -> None:
    """A second of warming up and three of measuring, but never fewer than five measured runs."""
    clock = [0.0]
    segment = Counting(clock, run_s)
    monkeypatch.setattr(testbed.host_timing, "Segment", lambda *_, **__: segment)
    monkeypatch.setattr("testbed.host_timing.time.monotonic", lambda: clock[0])
    unsplit_cpu_ms(Path("none.tflite"))
    assert segment.runs == runs


def test_a_model_takes_its_time(small_model: Callable[[str], Path]) -> None:
    """Real runs of a real model give a time above 0."""
    assert unsplit_cpu_ms(small_model("branchy")) > 0.0
