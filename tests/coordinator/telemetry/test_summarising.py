"""The summary of inferences, from rows as any store reads them."""

from hypothesis import given
from hypothesis import strategies as st

from coordinator.telemetry.summarising import NOTHING, SummarisedInference, summary_of

FIGURES = st.floats(0.0, 1e6)
INFERENCES = st.lists(
    st.builds(
        SummarisedInference,
        FIGURES,
        FIGURES,
        FIGURES,
        st.sampled_from(["measured", "modelled"]),
        st.sampled_from(["board", "package"]),
        st.booleans(),
    )
)


@given(INFERENCES)
def test_figures_are_of_those_that_succeeded(newest_first: list[SummarisedInference]) -> None:
    """Those that failed are counted and change nothing else."""
    summary, succeeded = summary_of(newest_first), [each for each in newest_first if not each.has_failed]
    assert summary.count == summary.errors + len(succeeded) == len(newest_first)
    without_failures = summary_of(succeeded)
    assert (summary.latency_p50_ms, summary.origin_energy_j) == (
        without_failures.latency_p50_ms,
        without_failures.origin_energy_j,
    )
    if succeeded:
        latencies_ms = [each.latency_ms for each in succeeded]
        assert summary.latency_p50_ms is not None
        assert summary.latency_p95_ms is not None
        assert min(latencies_ms) <= summary.latency_p50_ms <= summary.latency_p95_ms <= max(latencies_ms)
        assert summary.energy_scope == succeeded[0].energy_scope
    else:
        assert (summary.latency_p50_ms, summary.origin_energy_j, summary.energy_scope) == (None, None, None)


@given(INFERENCES)
def test_one_modelled_figure_makes_a_mean_modelled(newest_first: list[SummarisedInference]) -> None:
    """It is never called measured then."""
    sources = {each.energy_source for each in newest_first if not each.has_failed}
    expected = None if not sources else "modelled" if "modelled" in sources else "measured"
    assert summary_of(newest_first).energy_source == expected


def test_without_inferences_nothing_is_said() -> None:
    """No figure is made up."""
    assert summary_of(()) == NOTHING
    assert (NOTHING.count, NOTHING.errors, NOTHING.latency_p50_ms, NOTHING.energy_source) == (0, 0, None, None)
