"""Percentiles: one definition for the whole project."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitrail.percentile import percentile


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([3.0], 95, 3.0),
        ([1.0, 2.0], 50, 1.5),
        ([4.0, 1.0, 3.0, 2.0], 0, 1.0),
        ([4.0, 1.0, 3.0, 2.0], 100, 4.0),
        ([0.0, 10.0], 95, 9.5),
    ],
)
def test_percentile(values: list[float], percent: float, expected: float | None) -> None:
    """Linear between the ranks, in whatever order the values come; nothing of nothing."""
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.floats(0, 100))
def test_it_is_numpys(values: list[float], percent: float) -> None:
    """It is what numpy gives, and lies among the values."""
    found = percentile(values, percent)
    assert found == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-9)
    assert min(values) <= found <= max(values)
