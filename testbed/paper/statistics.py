"""From the runs' records to figures: of a run, of a contender over a trace, and on average; pure.

What each figure means is said beside it in `testbed.paper.results`; showing them is the report's part.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from coordinator.reap_energy import ReapEnergy, reap_energy_j
from splitrail.percentile import percentile
from testbed.machines import MACHINES, PI
from testbed.paper.contenders import PACKED
from testbed.paper.intervals import Estimate, estimate
from testbed.paper.records import Mode, RequestRecord, RunRecord
from testbed.paper.results import Average, Change, ContenderFigures

BUSY_W = {machine.node: machine.power.busy_w or 0.0 for machine in MACHINES}

STATIC = "paper-static"
BEST_FIXED = "best-fixed"
CLAIRVOYANT = "clairvoyant"
CLAIRVOYANT_PACKED = "clairvoyant-codecs"
"""The measure of those that may pack tensors too."""
PACKERS = frozenset(contender.name for contender in PACKED)

LEAST_GAIN_PERCENT = 1.0
"""Where the clairvoyant plan gains less than this over the best fixed one, a share of it would be a share of noise."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run's means over its answered requests; None where none was answered. Energies in J, modelled."""

    requests: int
    lost: int
    switches: int
    latency_mean_ms: float | None
    latency_over_time_ms: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    origin_energy_j: float | None
    total_energy_j: float | None
    paper_origin_energy_j: float | None
    paper_total_energy_j: float | None


Measure = Callable[[RunFigures], float | None]
Pair = tuple[str, str]
"""Model and trace."""
Repetitions = Mapping[int, RunFigures]


def run_figures(record: RunRecord) -> RunFigures:
    """The figures of one run."""
    answered = [request for request in record.requests if request.latency_ms is not None]
    latencies = [request.latency_ms for request in answered if request.latency_ms is not None]
    paper = [_paper_energy(request) for request in answered]
    return RunFigures(
        requests=len(record.requests),
        lost=len(record.requests) - len(answered),
        switches=record.switches,
        latency_mean_ms=_mean(latencies),
        latency_over_time_ms=_mean_over_time(answered, record.duration_s),
        latency_p50_ms=percentile(latencies, 50),
        latency_p95_ms=percentile(latencies, 95),
        origin_energy_j=_mean([request.origin_energy_j for request in answered]),
        total_energy_j=_mean([request.total_energy_j for request in answered]),
        paper_origin_energy_j=_mean([energy.origin_j for energy in paper]),
        paper_total_energy_j=_mean([energy.total_j for energy in paper]),
    )


def contender_figures(records: Iterable[RunRecord]) -> tuple[ContenderFigures, ...]:
    """A row for each mode, model, trace and contender that was run, in the order of the records."""
    cells: dict[tuple[Mode, str, str], dict[str, dict[int, RunFigures]]] = {}
    for record in records:
        key = record.key
        cell = cells.setdefault((key.mode, key.model, key.trace), {})
        cell.setdefault(key.contender, {})[key.repetition] = run_figures(record)
    return tuple(
        _row(mode, (model, trace), contender, cell)
        for (mode, model, trace), cell in cells.items()
        for contender in cell
    )


def averages(rows: Sequence[ContenderFigures]) -> tuple[Average, ...]:
    """Each mode's and contender's means over its rows: of each model's traces, then of all models and traces."""
    groups: dict[tuple[Mode, str, str | None], list[ContenderFigures]] = {}
    for row in rows:
        groups.setdefault((row.mode, row.contender, row.model), []).append(row)
    for row in rows:
        groups.setdefault((row.mode, row.contender, None), []).append(row)
    return tuple(_average(mode, contender, model, group) for (mode, contender, model), group in groups.items())


def _row(mode: Mode, pair: Pair, contender: str, cell: Mapping[str, Repetitions]) -> ContenderFigures:
    own = cell[contender]
    runs = list(own.values())
    measure = CLAIRVOYANT_PACKED if contender in PACKERS else CLAIRVOYANT
    fixed, best, static = cell.get(BEST_FIXED, {}), cell.get(measure, {}), cell.get(STATIC, {})
    return ContenderFigures(
        mode=mode,
        model=pair[0],
        trace=pair[1],
        contender=contender,
        requests=sum(run.requests for run in runs),
        lost=sum(run.lost for run in runs),
        switches=estimate([float(run.switches) for run in runs]),
        latency_mean_ms=_estimate(runs, _latency),
        latency_over_time_ms=_estimate(runs, _latency_over_time),
        latency_p50_ms=_estimate(runs, lambda run: run.latency_p50_ms),
        latency_p95_ms=_estimate(runs, lambda run: run.latency_p95_ms),
        origin_energy_j=_estimate(runs, _origin_energy),
        total_energy_j=_estimate(runs, lambda run: run.total_energy_j),
        paper_origin_energy_j=_estimate(runs, _paper_origin_energy),
        paper_total_energy_j=_estimate(runs, _paper_total_energy),
        regret_percent=_change(own, best, _latency),
        regret_over_time_percent=_change(own, best, _latency_over_time),
        gain_percent=_gain(own, fixed, _latency),
        possible_gain_percent=_gain(best, fixed, _latency),
        gain_over_time_percent=_gain(own, fixed, _latency_over_time),
        possible_gain_over_time_percent=_gain(best, fixed, _latency_over_time),
        against_static=Change(
            latency_percent=_change(own, static, _latency),
            latency_over_time_percent=_change(own, static, _latency_over_time),
            origin_energy_percent=_change(own, static, _origin_energy),
            paper_origin_energy_percent=_change(own, static, _paper_origin_energy),
            paper_total_energy_percent=_change(own, static, _paper_total_energy),
        ),
    )


def _average(mode: Mode, contender: str, model: str | None, rows: Sequence[ContenderFigures]) -> Average:
    changes = [row.against_static for row in rows]
    latency = [(row, row.against_static.latency_percent) for row in rows]
    slower = [(f"{row.model} on {row.trace}", change) for row, change in latency if change and change.mean > 0]
    return Average(
        mode=mode,
        contender=contender,
        model=model,
        pairs=len(rows),
        lost=sum(row.lost for row in rows),
        regret_percent=_over(row.regret_percent for row in rows),
        regret_over_time_percent=_over(row.regret_over_time_percent for row in rows),
        captured_percent=_captured([(row.gain_percent, row.possible_gain_percent) for row in rows]),
        captured_over_time_percent=_captured(
            [(row.gain_over_time_percent, row.possible_gain_over_time_percent) for row in rows]
        ),
        pooled_captured_percent=_pooled([(row.gain_percent, row.possible_gain_percent) for row in rows]),
        against_static=Change(
            latency_percent=_over(change.latency_percent for change in changes),
            latency_over_time_percent=_over(change.latency_over_time_percent for change in changes),
            origin_energy_percent=_over(change.origin_energy_percent for change in changes),
            paper_origin_energy_percent=_over(change.paper_origin_energy_percent for change in changes),
            paper_total_energy_percent=_over(change.paper_total_energy_percent for change in changes),
        ),
        slower_than_static=tuple(name for name, change in slower if change.is_above_zero),
        slower_within_noise=tuple(name for name, change in slower if not change.is_above_zero),
    )


def _latency(run: RunFigures) -> float | None:
    return run.latency_mean_ms


def _latency_over_time(run: RunFigures) -> float | None:
    return run.latency_over_time_ms


def _origin_energy(run: RunFigures) -> float | None:
    return run.origin_energy_j


def _paper_origin_energy(run: RunFigures) -> float | None:
    return run.paper_origin_energy_j


def _paper_total_energy(run: RunFigures) -> float | None:
    return run.paper_total_energy_j


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _mean_over_time(answered: Sequence[RequestRecord], duration_s: float) -> float | None:
    """The latency under way, as a mean over the moments of the run: each request counts for as long as it took."""
    spans = [
        (latency_ms, min(latency_ms / 1_000, max(0.0, duration_s - request.sent_s)))
        for request in answered
        if (latency_ms := request.latency_ms) is not None
    ]
    covered_s = sum(seconds for _, seconds in spans)
    return sum(latency_ms * seconds for latency_ms, seconds in spans) / covered_s if covered_s > 0 else None


def _paper_energy(request: RequestRecord) -> ReapEnergy:
    """By the published model, from how long each node computed."""
    compute_ms = {each.node: each.compute_ms for each in request.compute}
    return reap_energy_j(PI.node, compute_ms, BUSY_W)


def _estimate(runs: Iterable[RunFigures], measure: Measure) -> Estimate | None:
    return estimate([value for run in runs if (value := measure(run)) is not None])


def _change(own: Repetitions, other: Repetitions, measure: Measure) -> Estimate | None:
    """How much more than the other's the own figure is, in percent of the other's, repetition by repetition."""
    changes = []
    for repetition, run in own.items():
        mine = measure(run)
        theirs = measure(other[repetition]) if repetition in other else None
        if mine is not None and theirs:
            changes.append(100.0 * (mine / theirs - 1.0))
    return estimate(changes)


def _gain(own: Repetitions, other: Repetitions, measure: Measure) -> float | None:
    change = _change(own, other, measure)
    return None if change is None else -change.mean


def _over(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """The mean of the pairs' means: every pair of model and trace counts alike, and is one value of the interval."""
    return estimate([each.mean for each in estimates if each is not None])


def _captured(gains: Iterable[tuple[float | None, float | None]]) -> Estimate | None:
    """The share of the possible gain that was made, as a mean over the pairs where there was one to make."""
    return estimate(
        [
            100.0 * made / possible
            for made, possible in gains
            if made is not None and possible is not None and possible >= LEAST_GAIN_PERCENT
        ]
    )


def _pooled(gains: Iterable[tuple[float | None, float | None]]) -> float | None:
    """All that was gained over all that could be: a pair where little could be gained counts for little."""
    known = [(made, possible) for made, possible in gains if made is not None and possible is not None]
    possible_percent = sum(possible for _, possible in known)
    if possible_percent < LEAST_GAIN_PERCENT:
        return None
    return 100.0 * sum(made for made, _ in known) / possible_percent
