"""NaN and infinity are found wherever they hide in a message."""

import math

from hypothesis import given
from hypothesis import strategies as st

from broker.finite import first_non_finite
from broker.messages import NodeProfile


def profile(op_ms: tuple[float, ...]) -> NodeProfile:
    return NodeProfile(
        node="pi",
        model="0" * 64,
        runtime="any",
        threads=1,
        op_ms=op_ms,
        op_ms_std=(),
        unsplit_ms=1.0,
        unsplit_ms_std=0.0,
        memory_mb=1.0,
    )


@given(st.lists(st.floats()))
def test_the_first_one_is_named_by_its_path(op_ms: list[float]) -> None:
    """The path leads to the first figure that is not finite, and is None where all are."""
    expected = next((f"$.op_ms[{index}]" for index, value in enumerate(op_ms) if not math.isfinite(value)), None)
    assert first_non_finite(profile(tuple(op_ms))) == expected
