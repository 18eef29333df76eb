import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.processor_load import ProcessorWatch, Usage, load_between, processor_load

CORES = st.integers(1, 64)
THREADS = st.integers(1, 64)
DUTY = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("others_cores", "cores", "threads", "load"),
    [
        (0.0, 4, 1, 0.0),  # nobody else
        (3.0, 4, 1, 0.0),  # one core is left for our one thread
        (4.0, 4, 1, 0.2),  # five threads share four cores
        (1.0, 1, 1, 0.5),  # two share one
        (2.0, 4, 4, 1 / 3),  # six threads on four cores: ours get four sixths of them
        (0.0, 2, 8, 0.0),  # more threads than cores: their crowding is in the profile already
    ],
)
def test_cores_are_shared_fairly_by_thread(others_cores: float, cores: int, threads: int, load: float) -> None:
    """An inference gets its threads' share of the cores, and the load is what it lacks of what it gets alone."""
    assert processor_load(others_cores, 0.0, 0.0, cores=cores, threads=threads) == pytest.approx(load)


@given(CORES, THREADS, DUTY, st.floats(0.0, 1.0))
def test_our_own_work_does_not_hide_what_others_want(cores: int, threads: int, duty: float, share: float) -> None:
    """While we compute the others get less; from their usage and our duty the same load is found as without us."""
    wanted = share * cores
    beside_us = min(wanted, cores * wanted / (threads + wanted))
    used = duty * beside_us + (1.0 - duty) * wanted
    alone = processor_load(wanted, 0.0, 0.0, cores=cores, threads=threads)
    assert processor_load(used, 0.0, duty, cores=cores, threads=threads) == pytest.approx(alone, abs=1e-6)


def test_of_full_cores_the_queue_counts() -> None:
    """Eight busy threads on four cores leave ours a ninth of them; while a core is free a queue means nothing."""
    assert processor_load(4.0, 8.0, 0.0, cores=4, threads=1) == pytest.approx(1.0 - 4 / 9)
    assert processor_load(2.0, 8.0, 0.0, cores=4, threads=1) == 0.0


@given(
    cores=CORES,
    threads=THREADS,
    duty=DUTY,
    others=st.floats(-1.0, 100.0),
    more=st.floats(0.0, 1.0),
    runnable=st.floats(-70.0, 1000.0),
)
def test_a_load_is_a_share_and_grows_with_the_others(
    *, cores: int, threads: int, duty: float, others: float, more: float, runnable: float
) -> None:
    """Whatever the counters say, the load lies from 0 to below 1, and more work of others never lowers it."""
    load = processor_load(others, runnable, duty, cores=cores, threads=threads)
    assert 0.0 <= load < 1.0
    assert processor_load(others + more, runnable, duty, cores=cores, threads=threads) >= load - 1e-9


def test_our_own_processor_time_is_not_the_others() -> None:
    """What the cores were taken for less what we took is what others took."""
    before = Usage(at_s=10.0, busy_s=100.0, own_s=5.0, wanted_s=3.0, runnable=1)
    ours_alone = Usage(at_s=12.0, busy_s=102.0, own_s=7.0, wanted_s=5.0, runnable=2)
    shared = Usage(at_s=12.0, busy_s=104.0, own_s=6.0, wanted_s=5.0, runnable=4)
    assert load_between(before, ours_alone, cores=2, threads=1) == 0.0
    # We wanted a core throughout and got half of one; two threads of others took the rest of both.
    assert load_between(before, shared, cores=2, threads=1) == pytest.approx(1 / 3)
    # A third one of theirs queues: we get half of a core.
    assert load_between(before, replace(shared, runnable=5), cores=2, threads=1) == pytest.approx(1 / 2)


def test_busy_neighbours_are_seen_on_this_machine() -> None:
    """Two processes for each core that we may use, and the load goes up; a look that comes too soon tells nothing."""
    cores = len(os.sched_getaffinity(0))
    watch = ProcessorWatch(lambda: 1, lambda: 0.0)
    assert watch.load() is None
    spin = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(spin) for _ in range(2 * cores)]
    try:
        load = _eventual(watch, lambda load: load > 0.4)
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
    assert load < 1.0


def _eventual(watch: ProcessorWatch, holds: Callable[[float], bool]) -> float:
    deadline_s = time.monotonic() + 20.0
    while time.monotonic() < deadline_s:
        time.sleep(0.2)
        load = watch.load()
        if load is not None and holds(load):
            return load
    pytest.fail("the load of this machine never came to that")
