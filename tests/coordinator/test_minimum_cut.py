"""The minimum cut against trying every set of vertices."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.minimum_cut import Arc, minimum_cut

VERTICES = 6
CAPACITIES = st.one_of(st.integers(0, 80).map(lambda number: number / 8), st.floats(0.0, 1e3), st.just(math.inf))
ARCS = st.builds(Arc, st.integers(0, VERTICES - 1), st.integers(0, VERTICES - 1), CAPACITIES)


def leaving(arcs: list[Arc], side: frozenset[int]) -> float:
    """The capacity of the arcs that lead out of a set of vertices."""
    return math.fsum(arc.capacity for arc in arcs if arc.tail in side and arc.head not in side)


@given(st.lists(ARCS, max_size=16))
def test_no_set_of_vertices_costs_less_to_cut_off(arcs: list[Arc]) -> None:
    """The capacity is the least over all sets that hold the source and not the sink, and that of the set returned."""
    others = range(2, VERTICES)
    sets = itertools.chain.from_iterable(itertools.combinations(others, count) for count in range(VERTICES - 1))
    least = min(leaving(arcs, frozenset({0, *each})) for each in sets)
    cut = minimum_cut(arcs, 0, 1)
    assert cut.capacity == pytest.approx(least, rel=1e-9, abs=1e-9)
    if math.isfinite(least):
        assert 0 in cut.source_side
        assert 1 not in cut.source_side
        assert leaving(arcs, cut.source_side) == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_flow_that_went_astray_is_led_back() -> None:
    """A cut that only a flow over a reversed arc proves: the crossing arc in the middle must be given up again."""
    arcs = [Arc(0, 2, 1.0), Arc(0, 3, 1.0), Arc(2, 3, 1.0), Arc(2, 1, 1.0), Arc(3, 1, 1.0)]
    assert minimum_cut(arcs, 0, 1).capacity == 2.0
