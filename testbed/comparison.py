"""Strategies side by side: from the requests of one run to a row of figures each; pure, and the form of `--json`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from splitrail.percentile import percentile

BAD_LINK_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of a run: when it was sent, what the link then carried, and its figures; None where it was lost.

    The requests of one `turn` carry the same image.
    """

    strategy: str
    turn: int
    sent_s: float
    mbps: float
    latency_ms: float | None
    top_class: int | None = None
    origin_energy_j: float = 0.0
    total_energy_j: float = 0.0
    error: str | None = None


class StrategyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one strategy made of its requests; energy is modelled, per inference, of whole boards. None: no answer."""

    strategy: str
    answered: int
    lost: int
    latency_mean_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    good_link_p50_ms: float | None
    bad_link_p50_ms: float | None
    origin_energy_j: float | None
    total_energy_j: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A run's figures. The link counts as bad while it carries less than `bad_below_mbps`."""

    bad_below_mbps: float
    disagreements: int
    """Turns in which two strategies named different classes for the same image."""
    strategies: tuple[StrategyFigures, ...]


def compare(samples: Sequence[Sample], strategies: Sequence[str]) -> Comparison:
    """The figures of `strategies`, in this order; the link is bad below half of the best rate that any request saw."""
    bad_below_mbps = BAD_LINK_SHARE * max((sample.mbps for sample in samples), default=0.0)
    rows = tuple(
        _figures(name, [sample for sample in samples if sample.strategy == name], bad_below_mbps) for name in strategies
    )
    return Comparison(bad_below_mbps=bad_below_mbps, disagreements=_disagreements(samples), strategies=rows)


def verdict(comparison: Comparison, adaptive: str) -> tuple[str, ...]:
    """In words what adapting was worth against each other strategy, good or bad, and whether all gave one answer."""
    rows = {row.strategy: row for row in comparison.strategies}
    own = rows[adaptive]
    lines = []
    # A median over both phases would hide the shorter one, so the whole run is told by the mean.
    for phase, kind, figure in (
        ("while the link was good", "median", "good_link_p50_ms"),
        ("while the link was bad", "median", "bad_link_p50_ms"),
        ("over the whole run", "mean", "latency_mean_ms"),
    ):
        words = [
            f"{_change(getattr(own, figure), getattr(row, figure))} {name}"
            for name, row in rows.items()
            if name != adaptive and getattr(own, figure) and getattr(row, figure)
        ]
        if words:
            lines.append(f"{phase}, {adaptive} took {getattr(own, figure):.0f} ms ({kind}): {', '.join(words)}")
    if comparison.disagreements:
        lines.append(f"strategies named different classes for the same image in {comparison.disagreements} turns")
    else:
        lines.append("every strategy named the same class for each image")
    return tuple(lines)


def _change(own: float, other: float) -> str:
    percent = round(100 * (own - other) / other)
    if percent == 0:
        return "as long as"
    return f"{abs(percent)} % {'less' if percent < 0 else 'more'} than"


def _disagreements(samples: Sequence[Sample]) -> int:
    classes: dict[int, set[int]] = {}
    for sample in samples:
        if sample.top_class is not None:
            classes.setdefault(sample.turn, set()).add(sample.top_class)
    return sum(len(named) > 1 for named in classes.values())


def _figures(strategy: str, samples: Sequence[Sample], bad_below_mbps: float) -> StrategyFigures:
    answered = [(sample, sample.latency_ms) for sample in samples if sample.latency_ms is not None]
    latencies = [latency for _, latency in answered]
    return StrategyFigures(
        strategy=strategy,
        answered=len(answered),
        lost=len(samples) - len(answered),
        latency_mean_ms=statistics.fmean(latencies) if latencies else None,
        latency_p50_ms=percentile(latencies, 50),
        latency_p95_ms=percentile(latencies, 95),
        good_link_p50_ms=percentile([ms for sample, ms in answered if sample.mbps >= bad_below_mbps], 50),
        bad_link_p50_ms=percentile([ms for sample, ms in answered if sample.mbps < bad_below_mbps], 50),
        origin_energy_j=statistics.fmean(s.origin_energy_j for s, _ in answered) if answered else None,
        total_energy_j=statistics.fmean(s.total_energy_j for s, _ in answered) if answered else None,
    )
