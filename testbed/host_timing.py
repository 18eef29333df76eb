"""How fast this machine runs a model unsplit: the yardstick by which the emulated machines are slowed."""

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.runtime import Segment

WARM_UP_RUNS, WARM_UP_S = 5, 1.0
LEAST_RUNS, MOST_RUNS, RUNS_S = 5, 60, 3.0


def unsplit_cpu_ms(model: Path) -> float:
    """The median CPU time in ms of one unsplit inference on one thread; waiting for a busy core does not count.

    A slow model is run less often, so that this takes a few seconds at the most.
    """
    with quiet_stderr():
        segment = Segment(model, threads=1)
    try:
        inputs = [np.zeros(spec.shape, spec.dtype) for spec in segment.inputs]
        for _ in _turns(1, WARM_UP_RUNS, WARM_UP_S):
            segment.run(inputs)
        times_ms = []
        for _ in _turns(LEAST_RUNS, MOST_RUNS, RUNS_S):
            before_ns = time.thread_time_ns()
            segment.run(inputs)
            times_ms.append((time.thread_time_ns() - before_ns) / 1e6)
    finally:
        segment.close()
    return statistics.median(times_ms)


def _turns(least: int, most: int, budget_s: float) -> Iterator[None]:
    """At least `least` turns, and more while there is time, up to `most`."""
    end_s = time.monotonic() + budget_s
    for turn in range(most):
        if turn >= least and time.monotonic() >= end_s:
            return
        yield


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop what native code writes to the process's stderr: the runtime greets there; its errors are exceptions."""
    kept = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(silent)
        os.close(kept)
