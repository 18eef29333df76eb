"""How fast this machine runs a model unsplit: the yardstick by which the emulated machines are slowed."""

import statistics
import time
from pathlib import Path

import numpy as np
from models.runtime import Segment

WARM_UP_RUNS = 5
RUNS = 30


def unsplit_cpu_ms(model: Path) -> float:
    """The median CPU time in ms of one unsplit inference on one thread; waiting for a busy core does not count."""
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
