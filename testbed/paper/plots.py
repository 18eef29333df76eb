"""The experiment's pictures: who was how quick and how thrifty, the regret, one run over time, simulated and emulated.

Drawn from the results and, for the run over time, from its records; each says what is emulated and what is modelled.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.contention import Contention, fog_contention
from testbed.machines import MACHINES
from testbed.paper.intervals import Estimate, estimate
from testbed.paper.records import Mode, RunRecord
from testbed.paper.results import ContenderFigures, Results
from testbed.paper.statistics import CLAIRVOYANT, STATIC
from testbed.traces import Trace

ADAPTIVE = "latency"
OURS = ("latency", "energy", "balanced")
REGRET_OF = ("best-fixed", "reap", "balanced", ADAPTIVE)
COLOURS = {machine.node: colour for machine, colour in zip(MACHINES, ("#4477aa", "#ccbb44", "#aa3377"), strict=True)}
INCHES_PER_BAR = 0.28
# Equal input gives an equal file: no time stamp, no random ids.
mpl.rcParams["svg.hashsalt"] = "splitrail"
UNDATED = {"Date": None}


def draw(
    results: Results, records: Sequence[RunRecord], traces: Mapping[str, Trace], directory: Path
) -> tuple[str, ...]:
    """Write the pictures as SVG into the directory; the names of the files. `traces` are by label."""
    names = []
    for mode in dict.fromkeys(row.mode for row in results.contenders):
        rows = [row for row in results.contenders if row.mode == mode]
        names.append(_save(_contenders(mode, rows, results), directory / f"contenders-{mode}.svg"))
        if any(row.contender == CLAIRVOYANT for row in rows):
            names.append(_save(_regret(mode, rows), directory / f"regret-{mode}.svg"))
        for model in dict.fromkeys(row.model for row in rows):
            picked = _liveliest([record for record in records if (record.key.mode, record.key.model) == (mode, model)])
            if picked and picked[0].key.trace in traces:
                picture = _timeline(picked, traces[picked[0].key.trace])
                names.append(_save(picture, directory / f"timeline-{mode}-{model}.svg"))
    if results.deviations:
        names.append(_save(_scatter(results), directory / "simulated-against-emulated.svg"))
    return tuple(names)


def _save(figure: Figure, path: Path) -> str:
    figure.savefig(path, metadata=UNDATED)
    return path.name


def _contenders(mode: Mode, rows: Sequence[ContenderFigures], results: Results) -> Figure:
    """Per model: latency and origin energy of each contender, the mean over traces and a dot for each trace."""
    models = list(dict.fromkeys(row.model for row in rows))
    contenders = [name for name in results.settings.contenders if any(row.contender == name for row in rows)]
    height = len(models) * (1.0 + INCHES_PER_BAR * len(contenders)) + 0.6
    figure = Figure(figsize=(11, height), layout="constrained")
    figure.suptitle(f"Per inference, {mode}: means over traces with 95 % intervals, a dot for each trace")
    panels = figure.subplots(len(models), 2, squeeze=False)
    for line, model in enumerate(models):
        own = [row for row in rows if row.model == model]
        _bars(panels[line][0], contenders, own, lambda row: row.latency_mean_ms, f"{model}: latency, ms ({mode})")
        _bars(
            panels[line][1], contenders, own, lambda row: row.origin_energy_j, f"{model}: origin energy, J (modelled)"
        )
    return figure


def _bars(
    axes: Axes,
    contenders: Sequence[str],
    rows: Iterable[ContenderFigures],
    measure: Callable[[ContenderFigures], Estimate | None],
    title: str,
) -> None:
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for row in rows:
        found = measure(row)
        if found is not None:
            values[row.contender].append(found.mean)
    for place, name in enumerate(contenders):
        mean = estimate(values[name])
        if mean is None:
            continue
        # One trace alone has no spread over traces.
        spread = mean.half_width or 0.0
        axes.barh(place, mean.mean, color="#88ccee" if name in OURS else "#dddddd", xerr=spread or None, capsize=3)
        axes.plot(values[name], [place] * len(values[name]), ".", color="black", markersize=4)
    axes.set_yticks(range(len(contenders)), contenders)
    axes.invert_yaxis()
    axes.set_title(title, fontsize="medium")
    axes.set_xlim(left=0)


def _regret(mode: Mode, rows: Sequence[ContenderFigures]) -> Figure:
    """Per model and trace: how far contenders are above the clairvoyant plan."""
    models = list(dict.fromkeys(row.model for row in rows))
    traces = list(dict.fromkeys(row.trace for row in rows))
    figure = Figure(figsize=(max(9.0, 1.2 * len(traces) + 2), 2.8 * len(models) + 0.8), layout="constrained")
    figure.suptitle(f"Latency above the clairvoyant plan's, {mode}: means with 95 % intervals over repetitions")
    panels = figure.subplots(len(models), 1, squeeze=False)
    width = 0.8 / len(REGRET_OF)
    for line, model in enumerate(models):
        axes = panels[line][0]
        for place, name in enumerate(REGRET_OF):
            found = {row.trace: row.regret_percent for row in rows if (row.model, row.contender) == (model, name)}
            known = [(x, each) for x, trace in enumerate(traces) if (each := found.get(trace)) is not None]
            if known:
                axes.bar(
                    [x + place * width for x, _ in known],
                    [each.mean for _, each in known],
                    width,
                    yerr=[each.half_width or 0.0 for _, each in known],
                    label=name,
                    capsize=2,
                )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylabel(f"{model}: regret, %")
        axes.set_xticks([x + width * 1.5 for x in range(len(traces))], traces, rotation=20, ha="right")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(REGRET_OF))
    return figure


def _liveliest(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The adaptive run with the most switches, and the static and clairvoyant runs beside it, as far as they exist."""
    adaptive = max(
        (record for record in records if record.key.contender == ADAPTIVE),
        key=lambda record: record.switches,
        default=None,
    )
    if adaptive is None:
        return []
    beside = [
        record
        for record in records
        if record.key.contender in (STATIC, CLAIRVOYANT)
        and (record.key.trace, record.key.repetition) == (adaptive.key.trace, adaptive.key.repetition)
    ]
    return [adaptive, *beside]


def _timeline(runs: Sequence[RunRecord], trace: Trace) -> Figure:
    """The link, the adaptive plan's ops by node, and each request's latency, over one run."""
    adaptive = runs[0]
    end_s = adaptive.duration_s
    figure = Figure(figsize=(10, 7), layout="constrained")
    figure.suptitle(
        f"{adaptive.key.model} over {trace.label}, {adaptive.key.mode}: `{ADAPTIVE}` moves its split with link and load"
    )
    link, split, latency = figure.subplots(3, 1, sharex=True)
    times = [0.0]
    while (following := trace.next_step_s(times[-1])) < end_s:
        times.append(following)
    link.step([*times, end_s], [*map(trace.mbps_at, times), trace.mbps_at(times[-1])], where="post", color="black")
    _shade(link, fog_contention(end_s), end_s)
    link.set_ylabel("Pi - laptop, Mbit/s")
    link.set_ylim(bottom=0)
    _bands(split, adaptive, end_s)
    for run in runs:
        answered = [request for request in run.requests if request.latency_ms is not None]
        latency.plot(
            [request.sent_s for request in answered],
            [request.latency_ms for request in answered if request.latency_ms is not None],
            ".-",
            label=run.key.contender,
            markersize=3,
            linewidth=0.8,
        )
    latency.set_yscale("log")
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("seconds since the trace began")
    latency.set_xlim(0, end_s)
    latency.legend(fontsize="small")
    return figure


def _shade(axes: Axes, contention: Contention, end_s: float) -> None:
    """When others use the fog node's processor."""
    for start_s, stop_s in itertools.pairwise((*contention.seconds, end_s)):
        load = contention.load_at(start_s)
        if load > 0:
            axes.axvspan(start_s, stop_s, color="#ccbb44", alpha=load / 2, label=f"laptop's processor {load:.0%} taken")
    axes.legend(fontsize="small", loc="upper right")


def _bands(axes: Axes, run: RunRecord, end_s: float) -> None:
    """Which node holds which ops, plan after plan."""
    named: set[str] = set()
    ends = [*(plan.at_s for plan in run.plans[1:]), end_s]
    for plan, until_s in zip(run.plans, ends, strict=True):
        start_s, stop_s = max(0.0, plan.at_s), min(end_s, until_s)
        if stop_s <= start_s:
            continue
        for stage in plan.stages:
            if stage.start == stage.stop:
                continue
            label = None if stage.node in named else stage.node
            named.add(stage.node)
            axes.fill_between(
                [start_s, stop_s], stage.start, stage.stop, color=COLOURS.get(stage.node, "grey"), label=label
            )
    axes.set_ylabel("ops by node")
    if named:
        axes.legend(fontsize="small", loc="upper right")


def _scatter(results: Results) -> Figure:
    """Each scenario's mean latency and origin energy, simulated over emulated."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    figure.suptitle("Simulated against emulated, a dot for each contender, model and trace (energy modelled)")
    latency, energy = figure.subplots(1, 2)
    for axes, unit, points in (
        (latency, "latency, ms", [(e.emulated_latency_ms, e.simulated_latency_ms) for e in results.deviations]),
        (
            energy,
            "origin energy, J",
            [(e.emulated_origin_energy_j, e.simulated_origin_energy_j) for e in results.deviations],
        ),
    ):
        axes.loglog([x for x, _ in points], [y for _, y in points], ".", color="#4477aa")
        low, high = min(min(point) for point in points), max(max(point) for point in points)
        axes.plot([low, high], [low, high], color="black", linewidth=0.8)
        axes.set_xlabel(f"emulated {unit}")
        axes.set_ylabel(f"simulated {unit}")
    return figure
