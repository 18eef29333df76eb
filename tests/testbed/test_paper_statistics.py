"""From the runs' records to the experiment's figures."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_records import key, run
from scipy.stats import t

from testbed.paper.intervals import estimate
from testbed.paper.records import RunRecord
from testbed.paper.results import Average, ContenderFigures
from testbed.paper.statistics import averages, contender_figures, run_figures


def row(records: list[RunRecord], contender: str) -> ContenderFigures:
    return next(each for each in contender_figures(records) if each.contender == contender)


def average(records: list[RunRecord], contender: str, model: str | None = None) -> Average:
    rows = contender_figures(records)
    return next(each for each in averages(rows) if (each.contender, each.model) == (contender, model))


def test_no_interval_of_one_value() -> None:
    """One value has a mean and no interval, none has nothing."""
    assert estimate([]) is None
    one = estimate([3.0])
    assert one is not None
    assert (one.mean, one.half_width, one.n, one.is_above_zero) == (3.0, None, 1, False)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_the_interval_is_students(values: list[float]) -> None:
    """The half width is the one that scipy's t distribution gives."""
    found = estimate(values)
    assert found is not None
    assert found.half_width is not None
    spread = statistics.stdev(values) / math.sqrt(len(values))
    assert found.half_width == pytest.approx(t.ppf(0.975, len(values) - 1) * spread, rel=1e-9, abs=1e-9)


def test_figures_of_a_run() -> None:
    """Percentiles and means are over the answered requests; what was lost is counted apart."""
    figures = run_figures(run(key(), [100.0, 200.0, None, 300.0], switches=2))
    assert (figures.requests, figures.lost, figures.switches) == (4, 1, 2)
    assert (figures.latency_mean_ms, figures.latency_p50_ms) == (200.0, 200.0)
    assert figures.latency_p95_ms == pytest.approx(290.0)
    assert figures.origin_energy_j == pytest.approx(2.0)
    # 12 W for the 100 ms that the Pi computes on average, 20 W for the laptop's 20 ms.
    assert figures.paper_origin_energy_j == pytest.approx(1.2)
    assert figures.paper_total_energy_j == pytest.approx(1.6)


def test_the_mean_over_time_counts_a_request_for_as_long_as_it_took() -> None:
    """So one bad second weighs as much as a good one, however many requests fit into either."""
    assert run_figures(run(key(), [100.0] * 10 + [1_000.0])).latency_over_time_ms == pytest.approx(550.0)


def test_the_mean_over_time_ends_with_the_window() -> None:
    """Of the last request only what lies in the window counts."""
    assert run_figures(run(key(), [1_000.0, 9_000.0], duration_s=2.0)).latency_over_time_ms == pytest.approx(5_000.0)


def test_a_run_without_answers() -> None:
    """Has no figures, and does not make others fail."""
    records = [run(key("latency"), [None]), run(key("clairvoyant"), [100.0])]
    found = row(records, "latency")
    assert (found.lost, found.latency_mean_ms, found.regret_percent) == (1, None, None)
    assert average(records, "latency").regret_percent is None


def test_regret_is_paired_by_repetition() -> None:
    """Each repetition is compared with the clairvoyant run of its own; one that has none is left out."""
    records = [
        run(key("clairvoyant", 1), [100.0]),
        run(key("latency", 1), [110.0]),
        run(key("clairvoyant", 2), [200.0]),
        run(key("latency", 2), [260.0]),
        run(key("latency", 3), [900.0]),
    ]
    regret = row(records, "latency").regret_percent
    assert regret is not None
    assert (regret.mean, regret.n) == (pytest.approx(20.0), 2)


def test_change_against_the_static_split() -> None:
    """Latency and energies, in percent of the static split's; less is below 0."""
    records = [run(key("paper-static"), [400.0]), run(key("balanced"), [100.0])]
    change = row(records, "balanced").against_static
    assert change.latency_percent is not None
    assert change.origin_energy_percent is not None
    assert (change.latency_percent.mean, change.origin_energy_percent.mean) == (-75.0, -75.0)


def captured_records(trace: str, fixed: float, own: float, best: float) -> list[RunRecord]:
    return [
        run(key("best-fixed", trace=trace), [fixed]),
        run(key("latency", trace=trace), [own]),
        run(key("clairvoyant", trace=trace), [best]),
    ]


def test_the_captured_share_of_the_clairvoyant_gain() -> None:
    """The mean of the traces' shares, and beside it all gains over all possible ones; a trace without a gain to make
    has no share but counts in the pool.
    """
    records = [
        *captured_records("a", 100.0, 82.0, 80.0),  # 18 of 20 %
        *captured_records("b", 100.0, 95.0, 90.0),  # 5 of 10 %
        *captured_records("c", 100.0, 103.0, 99.5),  # nothing to gain
    ]
    found = average(records, "latency")
    assert found.captured_percent is not None
    assert (found.captured_percent.mean, found.captured_percent.n) == (pytest.approx(70.0), 2)
    assert found.pooled_captured_percent == pytest.approx(100 * (18 + 5 - 3) / 30.5)


def test_an_average_takes_each_pair_once() -> None:
    """However many repetitions a pair has; the interval's n is the number of pairs."""
    records = []
    for repetition in (1, 2, 3):
        records += [run(key("paper-static", repetition, trace="a"), [100.0])]
        records += [run(key("balanced", repetition, trace="a"), [50.0])]
    records += [run(key("paper-static", trace="b"), [100.0]), run(key("balanced", trace="b"), [90.0])]
    found = average(records, "balanced").against_static.latency_percent
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(-30.0), 2)


def test_averages_are_made_for_each_model_and_for_all() -> None:
    """A row for each model, and one for all together."""
    records = [run(key(model="vgg16"), [1.0]), run(key(model="alexnet"), [1.0])]
    assert [each.model for each in averages(contender_figures(records))] == ["vgg16", "alexnet", None]


def test_slower_than_static_beyond_noise() -> None:
    """A pair is named where the interval over repetitions lies above 0, and apart where it does not tell."""
    records = []
    for repetition, (sure, unsure) in enumerate([(120.0, 90.0), (121.0, 130.0), (122.0, 100.0)], start=1):
        records += [
            run(key("paper-static", repetition, trace=trace), [100.0]) for trace in ("sure", "unsure", "better")
        ]
        records += [run(key("balanced", repetition, trace="sure"), [sure])]
        records += [run(key("balanced", repetition, trace="unsure"), [unsure])]
        records += [run(key("balanced", repetition, trace="better"), [50.0])]
    found = average(records, "balanced")
    assert found.slower_than_static == ("vgg16 on sure",)
    assert found.slower_within_noise == ("vgg16 on unsure",)


def test_modes_are_kept_apart() -> None:
    """A simulated run is never compared with an emulated one."""
    records = [run(key("clairvoyant", mode="simulated"), [10.0]), run(key("latency"), [100.0])]
    assert row(records, "latency").regret_percent is None
