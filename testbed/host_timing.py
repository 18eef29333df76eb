"""How fast this machine runs a model unsplit: the yardstick by which the emulated machines are slowed."""

import contextlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.runtime import Segment

WARM_UP_RUNS = 5
RUNS = 60


def unsplit_cpu_ms(model: Path) -> float:
    """The median CPU time in ms of one unsplit inference on one thread; waiting for a busy core does not count."""
    with quiet_stderr():
        segment = Segment(model, threads=1)
    try:
        inputs = [np.zeros(spec.shape, spec.dtype) for spec in segment.inputs]
        for _ in range(WARM_UP_RUNS):
            segment.run(inputs)
        times_ms = []
        for _ in range(RUNS):
            before_ns = time.thread_time_ns()
            segment.run(inputs)
            times_ms.append((time.thread_time_ns() - before_ns) / 1e6)
    finally:
        segment.close()
    return statistics.median(times_ms)


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
