"""What adapting is worth against the published static split, raw and with codecs, over traces, in virtual time.

    python benchmarks/adaptive.py [--quick] [--json FILE] [--trace FILE ...]

Three models (`--quick`: one) on the emulated Pi, laptop and PC of `splitrail experiment paper --simulate --codecs`, of
which this is a part: the profiles and, once, what codecs cost are measured on this host. Energies are modelled.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from figures import Figure, write

from testbed.paper.codec_uses import codec_uses
from testbed.paper.contenders import CONTENDERS, PACKED
from testbed.paper.participants import Participant, ZooEntrants
from testbed.paper.reap_cadence import planning
from testbed.paper.records import RunRecord
from testbed.paper.results import ContenderFigures
from testbed.paper.scenario import PROBING, scenario_of
from testbed.paper.statistics import contender_figures
from testbed.simulation.settings import SimulationSettings
from testbed.simulation.simulate import simulate
from testbed.synthetic import synthetic_traces
from testbed.traces import Trace, read_trace

STATIC = "paper-static"
SHOWN = ("latency", "balanced", "energy", "clairvoyant", "latency-codecs", "balanced-codecs", "energy-codecs")
ORACLE = "clairvoyant-codecs"
ADAPTIVE = "balanced-codecs"
LATENCY_GOAL, ENERGY_GOAL = 0.3, 0.4
"""What is to be left of the static split's latency and origin energy."""
SECONDS, QUICK_SECONDS = 60.0, 20.0


def main() -> None:
    """Simulate everything and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="MobileNetV2 alone, in short runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--trace", action="append", type=Path, default=[], help="in place of the synthetic ones")
    parser.add_argument("--prepare", action="store_true", help="only convert the models and measure their codecs, once")
    options = parser.parse_args()
    traces = tuple(map(read_trace, options.trace)) or synthetic_traces()
    seconds = QUICK_SECONDS if options.quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="splitrail-adaptive-") as directory:
        entrants = ZooEntrants(("mobilenetv2",) if options.quick else (), step, codecs=True)
        participants = entrants.measured(Path(directory), step)
    if options.prepare:
        return
    records = [record for each in participants for record in runs(each, traces, seconds)]
    rows = [row for row in contender_figures(records) if row.contender != STATIC]
    print_traces(rows)
    print_means(rows, participants)
    for use in codec_uses(records):
        if use.contender == ADAPTIVE:
            print(f"{use.model}, {use.contender}: {use.requests_percent:.0f} % {use.codec} at {use.cut}")
    if options.json:
        # The goals are those of the mean over the three models.
        goals = {} if options.quick else {ADAPTIVE: (LATENCY_GOAL, ENERGY_GOAL)}
        write(options.json, [figure for name in (*SHOWN, ORACLE) for figure in figures_of(name, rows, goals)])


@contextmanager
def step(words: str) -> Iterator[None]:
    """Say what takes long."""
    print(f"{words} ...", file=sys.stderr, flush=True)
    yield


def runs(participant: Participant, traces: Sequence[Trace], seconds: float) -> Iterator[RunRecord]:
    """Every contender over every trace with one model."""
    profile, split = participant.profile, participant.published_split
    contenders = {each.name: each for each in (*CONTENDERS, *PACKED)}
    for trace in traces:
        scenario = scenario_of(profile.model, trace, 1, seconds)
        settings = SimulationSettings(planning=planning(scenario, profile, split), links=PROBING)
        for name in (STATIC, *SHOWN, ORACLE):
            yield simulate(scenario, contenders[name], profile, seed=1, published_split=split, settings=settings)


def left(row: ContenderFigures) -> tuple[float, float] | None:
    """What is left of the static split's mean latency and origin energy; None where either answered nothing."""
    change = row.against_static
    if change.latency_percent is None or change.origin_energy_percent is None:
        return None
    return 1.0 + change.latency_percent.mean / 100.0, 1.0 + change.origin_energy_percent.mean / 100.0


def shares(name: str, rows: Sequence[ContenderFigures], model: str | None = None) -> tuple[float, float]:
    """The means of what is left, over all models and traces, or those of one model."""
    found = [left(row) for row in rows if row.contender == name and model in (None, row.model)]
    both = [each for each in found if each is not None]
    return statistics.fmean(each[0] for each in both), statistics.fmean(each[1] for each in both)


def figures_of(
    name: str, rows: Sequence[ContenderFigures], goals: Mapping[str, tuple[float, float]]
) -> tuple[Figure, Figure]:
    """A contender's two figures, with its goals if it has some."""
    latency, energy = shares(name, rows)
    latency_goal, energy_goal = goals.get(name, (None, None))
    return (
        Figure(f"{name}: share of the static split's latency", latency, "", "lower", goal=latency_goal),
        Figure(f"{name}: share of the static split's origin energy", energy, "", "lower", goal=energy_goal),
    )


def print_traces(rows: Sequence[ContenderFigures]) -> None:
    """Raw and packed side by side, for each model and trace."""
    print("against the published static split, %: latency and origin energy")
    print(f"{'model':12} {'trace':26} {'balanced':>16} {ADAPTIVE:>16} {ORACLE:>18}")
    by = {(row.model, row.trace, row.contender): left(row) for row in rows}
    for model, trace in dict.fromkeys((row.model, row.trace) for row in rows):
        cells = (words(by[model, trace, name]) for name in ("balanced", ADAPTIVE, ORACLE))
        print(f"{model:12} {trace:26} {'  '.join(f'{cell:>16}' for cell in cells)}")


def print_means(rows: Sequence[ContenderFigures], participants: Sequence[Participant]) -> None:
    """Each contender's means, by model and over all; each pair of a model and a trace counts once."""
    models = [each.profile.model for each in participants]
    print(f"\n{'mean over traces':20} {'all':>16} {' '.join(f'{model:>16}' for model in models)}")
    for name in (*SHOWN, ORACLE):
        cells = (words(shares(name, rows, model)) for model in (None, *models))
        print(f"{name:20} {' '.join(f'{cell:>16}' for cell in cells)}")
    print()


def words(of: tuple[float, float] | None) -> str:
    """Two changes in percent."""
    return "-" if of is None else f"{100.0 * (of[0] - 1.0):+.1f} {100.0 * (of[1] - 1.0):+.1f}"


if __name__ == "__main__":
    main()
