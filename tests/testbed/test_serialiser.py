"""When bytes leave a shaped link: pure arithmetic, tried with an injected clock."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.serialiser import LinkState, admit, arrival_s, chunk_bytes, departure_s
from testbed.traces import Trace, constant

DROP = Trace("drop", (0.0, 1.0), (8.0, 0.8))


def link(trace: Trace, start_s: float = 0.0) -> LinkState:
    return LinkState(trace, delay_ms=5.0, trace_start_s=start_s)


def test_constant_rate() -> None:
    """1 MB at 20 Mbit/s leaves after 400 ms."""
    assert departure_s(link(constant(20.0)), 1_000_000, 100.0) == pytest.approx(100.4)


def test_rate_changes_in_the_middle() -> None:
    """Bytes that straddle a step leave at each rate for as long as it lasts: 0.5 s at 8, the rest at 0.8 Mbit/s."""
    assert departure_s(link(DROP), 600_000, 0.5) == pytest.approx(0.5 + 0.5 + 1.0)


def test_trace_has_its_own_start() -> None:
    """A trace that was set at second 50 is at its beginning then."""
    assert departure_s(link(DROP, start_s=50.0), 600_000, 50.5) == pytest.approx(52.0)


def test_outage() -> None:
    """Nothing leaves at 0 Mbit/s or over a cut link; after an outage in the trace it goes on."""
    outage = Trace("outage", (0.0, 1.0, 3.0), (8.0, 0.0, 8.0))
    assert departure_s(link(outage), 1_000_000, 0.5) == pytest.approx(3.5)
    ends_in_outage = Trace("end", (0.0, 1.0), (8.0, 0.0))
    assert departure_s(link(ends_in_outage), 2_000_000, 0.0) == math.inf
    assert departure_s(replace(link(constant(8.0)), is_cut=True), 1, 0.0) == math.inf


def test_queue() -> None:
    """What arrives at a busy link waits for it, and a late call costs no capacity."""
    state, first_s = admit(link(constant(8.0)), 1_000, arrived_s=10.0)
    assert first_s == pytest.approx(10.001)
    state, second_s = admit(state, 1_000, arrived_s=10.0005)
    assert second_s == pytest.approx(10.002)
    _, third_s = admit(state, 1_000, arrived_s=11.0)
    assert third_s == pytest.approx(11.001)


def test_no_bursts() -> None:
    """Late bytes are handed on at little more than the link's rate; on time, or a little late, at once."""
    assert arrival_s(10.0, 9.0, 8.0, 1_000, 8.0) == 10.0
    assert arrival_s(10.0, 10.0004, 9.9999, 1_000, 8.0) == 10.0004
    assert arrival_s(10.0, 10.1, 10.1, 1_000, 8.0) == pytest.approx(10.1 + 0.001 / 1.1)
    assert arrival_s(10.0, 10.1, 9.0, 1_000, 8.0) == 10.1
    assert arrival_s(10.0, 10.1, 10.1, 1_000, 0.0) == 10.1


def test_turns() -> None:
    """A turn is a millisecond of the link, at least a packet and at most 8 KiB, also while the link is cut."""
    assert chunk_bytes(40) == 5_000
    assert chunk_bytes(0) == chunk_bytes(0.05) == 1_448
    assert chunk_bytes(10_000) == 8_192


rates = st.lists(st.floats(0.05, 1000), min_size=1, max_size=8)


@given(rates, st.lists(st.integers(1, 100_000), min_size=1, max_size=10), st.floats(0, 20), st.booleans())
def test_splitting_changes_nothing(mbps: list[float], sizes: list[int], start_s: float, loops: bool) -> None:
    """Bytes leave at the same time in one piece or in many, whatever the trace does."""
    trace = Trace("t", tuple(0.7 * i for i in range(len(mbps))), tuple(mbps), at_the_end="loop" if loops else "hold")
    state, leaves_s = link(trace), 0.0
    for size in sizes:
        state, leaves_s = admit(state, size, start_s)
    assert leaves_s == pytest.approx(departure_s(link(trace), sum(sizes), start_s), abs=1e-6)


@given(rates, st.integers(1, 10_000_000), st.floats(0, 20))
def test_never_faster_than_the_fastest_step(mbps: list[float], size: int, start_s: float) -> None:
    """Transfer time lies between that of the trace's fastest and slowest rate."""
    trace = Trace("t", tuple(0.7 * i for i in range(len(mbps))), tuple(mbps))
    took_s = departure_s(link(trace), size, start_s) - start_s
    assert size * 8e-6 / max(mbps) <= took_s + 1e-6
    assert took_s <= size * 8e-6 / min(mbps) + 1e-6
