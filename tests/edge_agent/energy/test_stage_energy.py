"""The energy of a window, from a counter's samples or from the model: laws that hold whatever the figures."""

import itertools
import random

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from broker.messages import PowerModel
from edge_agent.energy import stage_energy
from edge_agent.energy.comparison import Ratio
from edge_agent.energy.stage_energy import (
    MODEL_RELATIVE_STD,
    MOST_RELATIVE_STD,
    ComputeWindow,
    Estimate,
    Primary,
    Sample,
    energy_between,
    measured_stage,
    model_energy_j,
    modelled_stage,
    scaled_stage,
)

S = 1_000_000_000
POWER = PowerModel(idle_w=2.0, busy_w=6.0)
PRIMARY = Primary("hwmon", "board", 0.0, 0.01)


@st.composite
def counters(draw: st.DrawFn) -> tuple[Sample, ...]:
    """Samples of a counter that rises, at any distances."""
    steps = draw(st.lists(st.tuples(st.integers(1, S), st.floats(0.0, 1e3)), min_size=2, max_size=12))
    times = itertools.accumulate(step_ns for step_ns, _ in steps)
    joules = itertools.accumulate(rise_j for _, rise_j in steps)
    return tuple(Sample(at_ns, energy_j) for at_ns, energy_j in zip(times, joules, strict=True))


@pytest.fixture
def _any_uncertainty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no window be too coarse."""
    monkeypatch.setattr(stage_energy, "MOST_RELATIVE_STD", float("inf"))


def between(samples: tuple[Sample, ...], start_ns: int, stop_ns: int) -> Estimate | None:
    """Of a counter without steps and age."""
    return energy_between(samples, start_ns, stop_ns, resolution_j=0.0, period_s=0.0)


@pytest.mark.usefixtures("_any_uncertainty")
@given(counters(), st.data())
def test_windows_that_meet_add_up(samples: tuple[Sample, ...], data: st.DataObject) -> None:
    """What is given to one stage is not given to the next, and nothing is lost between them."""
    moments = st.integers(samples[0].at_ns, 2 * samples[-1].at_ns - samples[-2].at_ns)
    start_ns, middle_ns, stop_ns = sorted(data.draw(st.tuples(moments, moments, moments)))
    first, second = between(samples, start_ns, middle_ns), between(samples, middle_ns, stop_ns)
    whole = between(samples, start_ns, stop_ns)
    assume(first is not None and second is not None and whole is not None)
    assert first is not None
    assert second is not None
    assert whole is not None
    assert whole.energy_j == pytest.approx(first.energy_j + second.energy_j, rel=1e-9, abs=1e-6)


@given(counters(), st.data())
def test_a_window_takes_no_more_than_its_counter_rose(samples: tuple[Sample, ...], data: st.DataObject) -> None:
    """Nor less than nothing, and what is told is known to a tenth."""
    moments = st.integers(samples[0].at_ns, samples[-1].at_ns)
    start_ns, stop_ns = sorted(data.draw(st.tuples(moments, moments)))
    estimate = between(samples, start_ns, stop_ns)
    if estimate is None:
        return
    around_j = [
        after.energy_j - before.energy_j
        for before, after in itertools.pairwise(samples)
        if after.at_ns > start_ns and before.at_ns < stop_ns
    ]
    assert 0.0 <= estimate.energy_j <= sum(around_j) * (1 + 1e-9) + 1e-9
    assert estimate.energy_j_std <= MOST_RELATIVE_STD * estimate.energy_j


@given(st.floats(0.1, 1e3), st.integers(1, 50), st.data())
def test_a_steady_power_is_found_again(power_w: float, period_ms: int, data: st.DataObject) -> None:
    """However the window lies between the samples; a window of a few periods is known."""
    period_ns = period_ms * 1_000_000
    samples = tuple(Sample(number * period_ns, number * period_ns / 1e9 * power_w) for number in range(30))
    start_ns = data.draw(st.integers(0, 15 * period_ns))
    stop_ns = data.draw(st.integers(start_ns + 10 * period_ns, 29 * period_ns))
    estimate = energy_between(samples, start_ns, stop_ns, resolution_j=0.0, period_s=period_ns / 1e9)
    assert estimate is not None
    assert estimate.energy_j == pytest.approx(power_w * (stop_ns - start_ns) / 1e9)


@given(st.floats(1e-4, 10.0), st.floats(0.0, 1.0), st.floats(0.5, 100.0), st.integers(1, 5_000))
def test_the_uncertainty_grows_with_step_and_period(
    resolution_j: float, period_s: float, power_w: float, length_ms: int
) -> None:
    """A coarser counter never claims to know more."""
    stop_ns = length_ms * 1_000_000
    samples = (Sample(0, 0.0), Sample(stop_ns, power_w * length_ms / 1e3))
    fine = energy_between(samples, 0, stop_ns, resolution_j=resolution_j / 2, period_s=period_s / 2)
    coarse = energy_between(samples, 0, stop_ns, resolution_j=resolution_j, period_s=period_s)
    if coarse is not None:
        assert fine is not None
        assert fine.energy_j_std <= coarse.energy_j_std


@pytest.mark.parametrize(("period_ms", "length_ms"), [(1, 5), (1, 50), (10, 60)])
def test_the_truth_is_within_two_standard_deviations(period_ms: int, length_ms: int) -> None:
    """Nine times in ten or more, on a machine that switches between 3 W and 8 W; the counter is up to a period old."""
    draw, energy_j, powers_w = random.Random(period_ms), [0.0], (3.0, 8.0)
    for _ in range(500):
        power_w = draw.choice(powers_w)
        for _ in range(1 + int(draw.expovariate(1 / 30))):
            energy_j.append(energy_j[-1] + power_w / 1e3)
    known = covered = 0
    for _ in range(500):
        start_ms = draw.randint(period_ms, len(energy_j) - 2 * length_ms - 2 * period_ms)
        phase_ms = draw.randrange(period_ms)
        moments_ms = (start_ms, start_ms + length_ms)
        samples = [
            Sample(at_ms * 1_000_000, energy_j[(at_ms - phase_ms) // period_ms * period_ms + phase_ms])
            for at_ms in moments_ms
        ]
        true_j = energy_j[moments_ms[1]] - energy_j[moments_ms[0]]
        estimate = energy_between(
            samples, samples[0].at_ns, samples[1].at_ns, resolution_j=0.0, period_s=period_ms / 1e3
        )
        if estimate is not None:
            known += 1
            covered += abs(estimate.energy_j - true_j) <= 2 * estimate.energy_j_std
    assert known > 100
    assert covered / known >= 0.9


@pytest.mark.parametrize(
    ("resolution_j", "period_s", "is_known"),
    [(0.0, 0.0, True), (2.0, 0.0, True), (3.0, 0.0, False), (0.0, 0.2, True), (0.0, 0.3, False)],
)
def test_a_meter_that_is_too_coarse_says_nothing(resolution_j: float, period_s: float, is_known: bool) -> None:
    """Of 10 J in 1 s: a step of more than 2.4 J, or an age of more than 0.24 s, is over a tenth."""
    samples = (Sample(0, 0.0), Sample(S, 10.0))
    assert (energy_between(samples, 0, S, resolution_j=resolution_j, period_s=period_s) is not None) == is_known


def test_a_window_that_the_samples_do_not_reach_is_not_known() -> None:
    """Before the first, and longer after the last than that was after the one before."""
    samples = (Sample(S, 0.0), Sample(2 * S, 10.0), Sample(3 * S, 20.0))
    assert between((), S, 2 * S) is None
    assert between(samples[:1], S, 2 * S) is None
    assert between(samples, S - 1, 2 * S) is None
    assert between(samples, S, 4 * S + 1) is None


def test_a_counter_that_missed_a_part_of_the_window_is_not_believed() -> None:
    """What it missed before the window does not matter."""
    samples = (Sample(0, 0.0, 0.0), Sample(S, 10.0, 0.5), Sample(2 * S, 20.0, 0.5))
    assert between(samples, 0, 2 * S) is None
    assert between(samples, S, 2 * S) == Estimate(10.0, 0.0)


def test_the_model_of_a_window_is_idle_power_and_what_compute_adds() -> None:
    """Two seconds, of which all cores are busy for a half; no more than the window can be busy."""
    assert model_energy_j(POWER, ComputeWindow(0, 2 * S, 0.5)) == pytest.approx(2 * 2.0 + 4.0 * 0.5)
    assert model_energy_j(POWER, ComputeWindow(0, 2 * S, 9.0)) == pytest.approx(2 * 6.0)


def test_a_stage_says_how_its_energy_is_known() -> None:
    """Measured only where a meter was integrated over it."""
    window = ComputeWindow(0, S, 1.0)
    measured = measured_stage(Estimate(5.0, 0.1), PRIMARY)
    scaled = scaled_stage(window, POWER, Ratio(0.5, 0.05, 6.0), PRIMARY)
    modelled = modelled_stage(window, POWER, "modelled", "board")
    assert (measured.method, measured.source, measured.meter) == ("integrated", "measured", "hwmon")
    assert (scaled.method, scaled.source, scaled.meter) == ("scaled", "modelled", "hwmon")
    assert (modelled.method, modelled.source, modelled.meter) == ("model", "modelled", "modelled")
    assert scaled.energy_j == pytest.approx(3.0)
    assert scaled.energy_j_std == pytest.approx(0.05 * 6.0)
    assert modelled.energy_j_std == pytest.approx(MODEL_RELATIVE_STD * 6.0)


@given(st.floats(0.1, 10.0), st.floats(0.0, 0.2), st.floats(2.0, 6.0))
def test_a_ratio_from_other_work_is_believed_less(mean: float, std: float, modelled_w: float) -> None:
    """The less the spans were like the stage, the more of the model's own uncertainty returns; never more than that."""
    modelled_j = 6.0
    window = ComputeWindow(0, S, 1.0)
    like = scaled_stage(window, POWER, Ratio(mean, std, 6.0), PRIMARY)
    unlike = scaled_stage(window, POWER, Ratio(mean, std, modelled_w), PRIMARY)
    assert unlike.energy_j == like.energy_j
    assert like.energy_j_std <= unlike.energy_j_std
    doubt_j = max(MODEL_RELATIVE_STD * unlike.energy_j, abs(unlike.energy_j - modelled_j))
    assert unlike.energy_j_std <= std * modelled_j + doubt_j + 1e-9


def test_an_idle_hour_tells_little_of_a_busy_second() -> None:
    """A machine of 5 W at rest and 8 W when busy, whose model says 2 W and 6 W: the truth stays within two spreads."""
    stage = scaled_stage(ComputeWindow(0, S, 1.0), POWER, Ratio(2.5, 0.01, 2.0), PRIMARY)
    assert abs(stage.energy_j - 8.0) <= 2 * stage.energy_j_std


def test_what_others_do_on_the_machine_is_within_the_uncertainty() -> None:
    """The meter saw a machine that others keep busy, 8 W; of a stage that hardly computes, that may be true too."""
    stage = scaled_stage(ComputeWindow(0, S, 0.1), POWER, Ratio(8.0 / 6.0, 0.01, 6.0), PRIMARY)
    assert stage.energy_j == pytest.approx(3.2)
    assert abs(stage.energy_j - 8.0) <= 1.1 * stage.energy_j_std
