"""How the model is compared with a meter over longer spans."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from edge_agent.energy.comparison import LEAST_SPANS, SPANS_KEPT, Both, Comparison


def looks(
    count: int, measured_w: float, modelled_w: float, *, resolution_j: float = 0.0, period_s: float = 0.0
) -> Comparison:
    """A look each second at two steady powers."""
    comparison = Comparison()
    for second in range(count):
        both = Both(second, second * measured_w, second * modelled_w)
        comparison = comparison.then(both, resolution_j=resolution_j, period_s=period_s)
    return comparison


@given(st.floats(0.5, 100.0), st.floats(0.5, 100.0), st.integers(LEAST_SPANS + 1, 30))
def test_steady_powers_give_their_ratio_without_a_spread(measured_w: float, modelled_w: float, count: int) -> None:
    """Once there are spans enough."""
    ratio = looks(count, measured_w, modelled_w).ratio(count, period_s=0.0)
    assert ratio is not None
    assert ratio.mean == pytest.approx(measured_w / modelled_w)
    assert ratio.std == pytest.approx(0.0, abs=1e-6 * ratio.mean)
    assert ratio.modelled_w == pytest.approx(modelled_w)


def test_a_few_looks_tell_nothing() -> None:
    """One span has no spread to be told."""
    assert looks(LEAST_SPANS, 5.0, 4.0).ratio(LEAST_SPANS, period_s=0.0) is None


def test_a_slow_or_coarse_meter_needs_longer_spans() -> None:
    """At least two of its periods, and 20 of its steps."""
    assert [span.duration_s for span in looks(7, 5.0, 4.0, period_s=1.5).spans] == [3.0, 3.0]
    assert [span.duration_s for span in looks(9, 5.0, 4.0, resolution_j=1.0).spans] == [4.0, 4.0]


def test_the_spread_is_that_from_span_to_span() -> None:
    """Ratios of 1, 2 and 3 around 2, one spread apart."""
    comparison, measured_j = Comparison(since=Both(0.0, 0.0, 0.0)), 0.0
    for second, power_w in enumerate((1.0, 2.0, 3.0), 1):
        measured_j += power_w
        comparison = comparison.then(Both(second, measured_j, float(second)), resolution_j=0.0, period_s=0.0)
    ratio = comparison.ratio(3.0, period_s=0.0)
    assert ratio is not None
    assert (ratio.mean, ratio.std) == pytest.approx((2.0, 1.0))


def test_only_the_last_spans_count() -> None:
    """A machine's ratio drifts with its temperature and its work."""
    comparison = looks(50, 5.0, 5.0)
    assert len(comparison.spans) == SPANS_KEPT
    assert comparison.ratio(49.0, period_s=0.0) is not None


def test_an_old_comparison_is_forgotten() -> None:
    """A meter that has gone says nothing of now; a slow one is waited for."""
    comparison = looks(10, 5.0, 5.0)
    assert comparison.ratio(10.0 + 700.0, period_s=0.0) is None
    assert comparison.ratio(10.0 + 700.0, period_s=300.0) is not None


def test_a_span_in_which_the_meter_missed_a_part_is_left_out() -> None:
    """So is one in which it began anew, or in which nothing rose."""
    comparison = looks(4, 5.0, 5.0)
    after_gap = comparison.then(Both(4.0, 16.0, 20.0, uncounted_s=0.8), resolution_j=0.0, period_s=0.0)
    assert after_gap.spans == comparison.spans
    again = after_gap.then(Both(5.0, 21.0, 25.0, uncounted_s=0.8), resolution_j=0.0, period_s=0.0)
    assert len(again.spans) == len(comparison.spans) + 1
    anew = again.then(Both(6.0, 0.0, 30.0, uncounted_s=0.8), resolution_j=0.0, period_s=0.0)
    still = anew.then(Both(7.0, 0.0, 35.0, uncounted_s=0.8), resolution_j=0.0, period_s=0.0)
    assert still.spans == again.spans
