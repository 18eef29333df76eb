"""The experiment's report: its tables in words, the same for the terminal and for `report.md`.

The figures are `testbed.paper.results`; pictures are drawn by `testbed.paper.plots`.
"""

from collections.abc import Iterable, Sequence

from splitrail.percentile import percentile
from testbed.paper.circumstances import circumstances
from testbed.paper.codec_uses import codec_table
from testbed.paper.fleet_table import fleet_table
from testbed.paper.intervals import Estimate
from testbed.paper.published_table import published_table
from testbed.paper.results import Average, ContenderFigures, Results
from testbed.paper.statistics import LEAST_GAIN_PERCENT
from testbed.paper.tables import Table, figure, markdown

WORST_SHARE_PERCENT = -100.0

INTERVALS = "± is a 95 % interval by Student's t; a figure without one rests on a single value."


def summary(results: Results) -> tuple[Table, ...]:
    """What a reader wants first: the averages over all models and traces, and how far they are to be believed."""
    modes = dict.fromkeys(average.mode for average in results.averages)
    tables = [_averages(mode, results) for mode in modes]
    if results.deviations:
        tables.append(_deviations(results))
    if results.explanations:
        tables.append(_explanations(results))
    if results.published:
        tables.append(published_table(results.published))
    if results.codecs:
        tables.append(codec_table(results.codecs))
    if results.fleets:
        tables.append(fleet_table(results.fleets))
    return tuple(tables)


def details(results: Results) -> tuple[Table, ...]:
    """Every contender's figures, a table for each mode, model and trace."""
    cells: dict[tuple[str, str, str], list[ContenderFigures]] = {}
    for row in results.contenders:
        cells.setdefault((row.mode, row.model, row.trace), []).append(row)
    order = {name: place for place, name in enumerate(results.settings.contenders)}
    return tuple(
        _contenders(f"{model} over {trace}, {mode}", sorted(rows, key=lambda row: order.get(row.contender, len(order))))
        for (mode, model, trace), rows in cells.items()
    )


def written(results: Results, pictures: Sequence[str]) -> str:
    """The whole report as Markdown; `pictures` are file names beside it."""
    parts = [
        "# Adaptive against static partitioning: the published experiment",
        *circumstances(results),
        markdown(summary(results)),
        "\n\n".join(f"![{name}]({name})" for name in pictures),
        markdown(details(results)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _averages(mode: str, results: Results) -> Table:
    rows = [average for average in results.averages if average.mode == mode and average.model is None]
    notes = [
        "Arithmetic means of the percentages of all pairs of a model and a trace, each pair counting once; "
        f"{INTERVALS} Here its values are the pairs.",
        "Latency and energies are against the published static split. Regret: latency above that of the clairvoyant "
        "plan. Captured: the share of that plan's gain over the best fixed one, where this gain is "
        f"{LEAST_GAIN_PERCENT:g} % or more; of all: all gains together over all that were possible. Who packs tensors "
        "is measured by the clairvoyant plan that does.",
        "Over time: each moment of a run counts alike. Else each request does, and who is slow asks less in bad "
        "moments.",
    ]
    notes += [words for average in rows if (words := _slower(average))]
    pairs = max((row.pairs for row in rows), default=0)
    return Table(
        title=f"On average, {mode}: {pairs} pair{'' if pairs == 1 else 's'} of a model and a trace",
        headings=(
            "contender",
            "latency, %",
            "over time, %",
            "origin energy, %",
            "by 12 W model, %",
            "regret, %",
            "over time, %",
            "captured, %",
            "over time, %",
            "of all, %",
            "lost",
        ),
        rows=tuple(_average_cells(average) for average in _ordered(rows, results)),
        notes=tuple(notes),
    )


def _average_cells(average: Average) -> tuple[str, ...]:
    change = average.against_static
    return (
        average.contender,
        figure(change.latency_percent, 1, signed=True),
        figure(change.latency_over_time_percent, 1, signed=True),
        figure(change.origin_energy_percent, 1, signed=True),
        figure(change.paper_origin_energy_percent, 1, signed=True),
        figure(average.regret_percent, 1, signed=True),
        figure(average.regret_over_time_percent, 1, signed=True),
        _captured(average.captured_percent),
        _captured(average.captured_over_time_percent),
        "-" if average.pooled_captured_percent is None else _share(average.pooled_captured_percent),
        str(average.lost),
    )


def _captured(share: Estimate | None) -> str:
    """A share of a gain; one that is far below 0 is no share any more."""
    return figure(share) if share is None or share.mean > WORST_SHARE_PERCENT else _share(share.mean)


def _share(percent: float) -> str:
    return f"{percent:.0f}" if percent > WORST_SHARE_PERCENT else f"below {WORST_SHARE_PERCENT:g}"


def _ordered(rows: Iterable[Average], results: Results) -> list[Average]:
    order = {name: place for place, name in enumerate(results.settings.contenders)}
    return sorted(rows, key=lambda row: order.get(row.contender, len(order)))


def _slower(average: Average) -> str | None:
    if average.contender == "paper-static" or not (average.slower_than_static or average.slower_within_noise):
        return None
    sure, unsure = average.slower_than_static, average.slower_within_noise
    parts = []
    if sure:
        parts.append(f"slower than the static split by more than noise: {'; '.join(sure)}")
    if unsure:
        parts.append(f"slower within noise, or by a single repetition: {'; '.join(unsure)}")
    return f"{average.contender} is {', and '.join(parts)}."


def _contenders(title: str, rows: Sequence[ContenderFigures]) -> Table:
    repetitions = max((row.latency_mean_ms.n for row in rows if row.latency_mean_ms), default=0)
    return Table(
        title=title,
        headings=(
            "contender",
            "mean, ms",
            "over time, ms",
            "p50, ms",
            "p95, ms",
            "origin, J",
            "total, J",
            "12 W origin, J",
            "12 W total, J",
            "regret, %",
            "switches",
            "sent",
            "lost",
        ),
        rows=tuple(
            (
                row.contender,
                figure(row.latency_mean_ms),
                figure(row.latency_over_time_ms),
                figure(row.latency_p50_ms),
                figure(row.latency_p95_ms),
                figure(row.origin_energy_j, 2),
                figure(row.total_energy_j, 2),
                figure(row.paper_origin_energy_j, 2),
                figure(row.paper_total_energy_j, 2),
                figure(row.regret_percent, 1, signed=True),
                figure(row.switches, 1),
                str(row.requests),
                str(row.lost),
            )
            for row in rows
        ),
        notes=(f"{INTERVALS} Its values are {repetitions} repetitions; all energies are modelled, per inference.",),
    )


def _deviations(results: Results) -> Table:
    by_contender: dict[str, list[float]] = {}
    energies: dict[str, list[float]] = {}
    for each in results.deviations:
        by_contender.setdefault(each.contender, []).append(each.latency_percent)
        energies.setdefault(each.contender, []).append(each.origin_energy_percent)
    return Table(
        title=f"The simulator against the emulation, on {len(results.deviations)} scenarios",
        headings=("contender", "latency, median %", "latency, widest %", "origin energy, median %", "widest %"),
        rows=tuple(
            (contender, *_spread(by_contender[contender]), *_spread(energies[contender])) for contender in by_contender
        ),
        notes=(
            "How much more the simulator says than was emulated, of the means over the repetitions; "
            "both ran the same scenario on the same profile.",
        ),
    )


def _spread(percents: Sequence[float]) -> tuple[str, str]:
    return f"{percentile(percents, 50):+.1f}", f"{max(percents, key=abs):+.1f}"


def _explanations(results: Results) -> Table:
    models = dict.fromkeys(each.model for each in results.explanations)
    causes = dict.fromkeys(each.switched_off for each in results.explanations)
    found = {(each.model, each.switched_off): each for each in results.explanations}
    contender = results.explanations[0].contender
    return Table(
        title=f"Where the regret of `{contender}` comes from, simulated",
        headings=("switched off", *(f"{model}, %" for model in models)),
        rows=tuple(
            (
                cause or "nothing",
                *(figure(found[model, cause].regret_percent, 1, signed=True) for model in models),
            )
            for cause in causes
        ),
        notes=(
            "Latency above the clairvoyant plan's, as a mean over the traces, with one cause switched off at a time; "
            "what a row is below the first is that cause's part, and the parts need not add up.",
        ),
    )
