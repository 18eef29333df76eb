"""Strategies side by side: figures of a run, pure."""

import msgspec
import pytest

from testbed.comparison import Comparison, Sample, compare, verdict


def sample(strategy: str, turn: int, mbps: float, latency_ms: float | None, top_class: int = 7) -> Sample:
    if latency_ms is None:
        return Sample(strategy, turn, float(turn), mbps, None, error="no answer")
    return Sample(strategy, turn, float(turn), mbps, latency_ms, top_class, 0.5, 2.0)


RUN = (
    sample("adaptive", 0, 40, 130),
    sample("static", 0, 40, 130),
    sample("adaptive", 1, 2, 200),
    sample("static", 1, 2, 400),
    sample("adaptive", 2, 40, 134),
    sample("static", 2, 40, None),
)


def test_figures() -> None:
    """Each strategy's percentiles, by how the link was, its modelled energy and what it lost."""
    comparison = compare(RUN, ("adaptive", "static"))
    assert comparison.bad_below_mbps == 20
    adaptive, static = comparison.strategies
    assert (adaptive.latency_p50_ms, adaptive.latency_p95_ms) == (134, pytest.approx(193.4))
    assert (adaptive.good_link_p50_ms, adaptive.bad_link_p50_ms) == (132, 200)
    assert (adaptive.origin_energy_j, adaptive.total_energy_j) == (0.5, 2.0)
    assert (adaptive.answered, adaptive.lost, static.answered, static.lost) == (3, 0, 2, 1)


def test_no_answer() -> None:
    """A strategy without any answer has no figures, and the comparison still travels as JSON."""
    comparison = compare((sample("static", 0, 40, None),), ("static", "fog-only"))
    assert [row.latency_p50_ms for row in comparison.strategies] == [None, None]
    assert msgspec.json.decode(msgspec.json.encode(comparison), type=Comparison) == comparison


def test_disagreements() -> None:
    """A turn in which two strategies name different classes for one image is counted."""
    assert compare(RUN, ("adaptive", "static")).disagreements == 0
    odd = (*RUN, sample("fog-only", 1, 2, 300, top_class=8), sample("fog-only", 2, 2, 300))
    assert compare(odd, ("adaptive", "static", "fog-only")).disagreements == 1


def test_verdict_is_honest_both_ways() -> None:
    """The words say less and more as it was, and do not hide a disagreement."""
    words = verdict(compare(RUN, ("adaptive", "static")), "adaptive")
    assert words == (
        "while the link was good, adaptive took 132 ms (median): 2 % more than static",
        "while the link was bad, adaptive took 200 ms (median): 50 % less than static",
        "over the whole run, adaptive took 155 ms (mean): 42 % less than static",
        "every strategy named the same class for each image",
    )
