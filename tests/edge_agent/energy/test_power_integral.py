"""Watts into joules: exact for what is straight, blind over gaps, and never falling."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.energy.power_integral import PowerIntegral

TIMES = st.lists(st.floats(0, 9), min_size=2, max_size=30)


@given(TIMES, st.floats(0, 100), st.floats(0, 1))
def test_power_that_rises_evenly_is_counted_exactly(gaps_s: list[float], watt: float, watt_per_s: float) -> None:
    """The trapezoid rule is exact on a straight line, however it is sampled."""
    integral = PowerIntegral(longest_gap_s=10.0)
    at_s = 0.0
    integral.add(at_s, watt)
    for gap_s in gaps_s:
        at_s += gap_s
        integral.add(at_s, watt + watt_per_s * at_s)
    assert integral.energy_j == pytest.approx(watt * at_s + watt_per_s * at_s**2 / 2)
    assert integral.uncounted_s == 0.0


@example([(0.0, 2.0), (5.0, 2.0), (-5.0, 2.0), (5.0, 2.0)])
@given(st.lists(st.tuples(st.floats(-5, 100), st.floats(0, 20_000)), min_size=1, max_size=30))
def test_energy_never_falls(samples: list[tuple[float, float]]) -> None:
    """Whatever the clock does, the joules only grow, by no more than the highest power."""
    integral = PowerIntegral(longest_gap_s=10.0)
    at_s = 0.0
    energies_j, times_s = [], []
    for gap_s, power_w in samples:
        at_s += gap_s
        times_s.append(at_s)
        energies_j.append(integral.add(at_s, power_w))
    assert all(before <= after for before, after in pairwise(energies_j))
    longest_s = max(times_s) - times_s[0]
    assert integral.energy_j <= max(power_w for _, power_w in samples) * longest_s + 1e-6


def test_a_sample_at_the_same_time_takes_the_lasts_place() -> None:
    """Two values at one time are one value, the later one."""
    integral = PowerIntegral(longest_gap_s=10.0)
    integral.add(0.0, 2.0)
    integral.add(0.0, 6.0)
    assert integral.add(1.0, 6.0) == pytest.approx(6.0)


def test_a_long_gap_is_not_filled_in() -> None:
    """Ten seconds are filled in, eleven are told as not counted, and after them it goes on."""
    integral = PowerIntegral(longest_gap_s=10.0)
    integral.add(0.0, 4.0)
    assert integral.add(10.0, 4.0) == pytest.approx(40.0)
    assert integral.add(21.0, 4.0) == pytest.approx(40.0)
    assert integral.uncounted_s == pytest.approx(11.0)
    assert integral.add(22.0, 6.0) == pytest.approx(45.0)


@pytest.mark.parametrize("power_w", [-0.1, 20_001.0, float("nan"), float("inf")])
def test_garbage_is_refused(power_w: float) -> None:
    """What no machine draws is no sample, and leaves the last one as it was."""
    integral = PowerIntegral(longest_gap_s=10.0)
    integral.add(0.0, 2.0)
    with pytest.raises(ValueError, match="no power that a machine draws"):
        integral.add(1.0, power_w)
    assert integral.add(2.0, 2.0) == pytest.approx(4.0)
