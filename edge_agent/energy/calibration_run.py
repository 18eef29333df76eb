"""Loads this machine with a model, thread by thread, and reads a meter meanwhile.

What comes of it is `edge_agent.energy.calibration`'s.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.energy.calibration import LoadWindow
from edge_agent.energy.meter import EnergyMeter
from edge_agent.errors import CalibrationError
from edge_agent.profiler import plausible_input
from models.runtime import Segment

WINDOWS: Final = 4
LEAST_WINDOW_S: Final = 2.0
LEAST_PERIODS: Final = 5
SETTLE_S: Final = 1.0
MOST_LEVELS: Final = 5
LEAST_LOOK_S: Final = 0.01

Working = Callable[[int], contextlib.AbstractContextManager[None]]
"""Keeps so many threads busy as long as it is open."""


def thread_levels(cores: int) -> tuple[int, ...]:
    """How many threads to load with, one level after the other: none, all cores, and up to three between."""
    steps = min(MOST_LEVELS - 1, cores)
    return tuple(sorted({round(cores * step / steps) for step in range(steps + 1)}))


def window_s(meter: EnergyMeter) -> float:
    """How long a window must be for a meter: several of its periods."""
    return max(LEAST_WINDOW_S, LEAST_PERIODS * meter.period_s)


def measured_windows(
    meter: EnergyMeter,
    levels: tuple[int, ...],
    working: Working,
    *,
    busy_s: Callable[[], float],
    sleep: Callable[[float], None] = time.sleep,
    clock_s: Callable[[], float] = time.monotonic,
    progress: Callable[[], None] = lambda: None,
) -> tuple[LoadWindow, ...]:
    """WINDOWS windows at each level. MeterUnavailableError if the meter fails, CalibrationError if it missed something.

    `busy_s` are the cumulative seconds in which all cores were busy. `progress` is called after each window.
    """
    windows: list[LoadWindow] = []
    length_s = window_s(meter)
    for threads in levels:
        with working(threads):
            _read_for(meter, max(SETTLE_S, 2 * meter.period_s), sleep, clock_s)
            for _ in range(WINDOWS):
                uncounted_s, energy_j = meter.uncounted_s, meter.read_energy_j()
                began_s, began_busy_s = clock_s(), busy_s()
                ended_j = _read_for(meter, length_s, sleep, clock_s)
                passed_s = clock_s() - began_s
                if meter.uncounted_s != uncounted_s:
                    raise CalibrationError(f"{meter.name} missed a part of a window: try again on a quieter machine")
                busy = min(1.0, max(0.0, (busy_s() - began_busy_s) / passed_s))
                windows.append(LoadWindow(threads, busy, (ended_j - energy_j) / passed_s))
                progress()
    return tuple(windows)


@contextlib.contextmanager
def model_looped(path: Path, threads: int) -> Iterator[None]:
    """Run a model over and over on so many threads, each with an interpreter of its own. ModelError as `Segment`."""
    generator = np.random.default_rng(0)
    ends = threading.Event()

    def loop(segment: Segment, inputs: list[np.ndarray]) -> None:
        while not ends.is_set():
            segment.run(inputs)

    segments = [Segment(path) for _ in range(threads)]
    workers = [
        threading.Thread(
            target=loop,
            args=(segment, [plausible_input(spec, generator, path) for spec in segment.inputs]),
            daemon=True,
        )
        for segment in segments
    ]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        ends.set()
        for worker, segment in zip(workers, segments, strict=True):
            worker.join()
            segment.close()


def _read_for(
    meter: EnergyMeter, length_s: float, sleep: Callable[[float], None], clock_s: Callable[[], float]
) -> float:
    """Let time pass, reading the meter as often as it needs; the counter at the end."""
    until_s = clock_s() + length_s
    look_s = max(meter.period_s, LEAST_LOOK_S) if meter.is_sampled else length_s
    while (left_s := until_s - clock_s()) > 0.0:
        sleep(min(left_s, look_s))
        energy_j = meter.read_energy_j()
    return energy_j
