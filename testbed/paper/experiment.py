"""The published experiment from its options to its files: prepares models, carries out the runs, writes the report.

What a run is, is `testbed.paper.emulation`'s and the simulator's part; what its figures are, `statistics`'.
"""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.cache import file_sha256
from splitrail import __version__
from testbed.errors import ExperimentError
from testbed.paper.campaign import Failure, carry_out
from testbed.paper.codec_uses import codec_uses
from testbed.paper.contenders import Contender
from testbed.paper.deviations import deviations
from testbed.paper.emulation import Bench, emulate
from testbed.paper.explanations import EXPLAINED, explanations
from testbed.paper.fleets import fleet_figures
from testbed.paper.grid import START_UP_S, RunTimes, all_runs, duration_words
from testbed.paper.journal import Journal
from testbed.paper.participants import Entrants, Participant, ProfileEntrants, ZooEntrants
from testbed.paper.plots import draw
from testbed.paper.progress import ProgressScreen
from testbed.paper.published import published_gains
from testbed.paper.reap_cadence import planning
from testbed.paper.records import Mode, RunKey, RunRecord
from testbed.paper.report import written
from testbed.paper.results import Explanation, FleetFigures, Results
from testbed.paper.scenario import PROBING, Scenario, scenario_of
from testbed.paper.settings import ExperimentSettings, TraceSource
from testbed.paper.statistics import CLAIRVOYANT, averages, contender_figures
from testbed.simulation.settings import AS_IT_IS, Ablation, SimulationSettings
from testbed.simulation.simulate import simulate
from testbed.traces import Trace
from testbed.workload import photograph_crops

RESULTS = "results.json"
REPORT = "report.md"
AGENT_CACHES = "agents"
SIMULATED_RUN_S = 0.3
"""A guess at what a simulated run takes."""
SEED = 1


@dataclass(frozen=True, slots=True)
class ExperimentOptions:
    """What a user may choose. `profiles` takes the place of converted models; then all is simulated.

    `models` () takes all: the published three, or those of the profiles.
    """

    out: Path
    mode: Mode
    models: tuple[str, ...]
    traces: tuple[Trace, ...]
    contenders: tuple[Contender, ...]
    repetitions: int
    seconds: float
    photographs: tuple[Path, ...]
    profiles: Path | None
    fleets: tuple[int, ...]
    plots: bool
    codecs: bool = False
    """Whether what codecs cost and change of the models is looked up, so that tensors may be packed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results, and the runs that failed and would be tried again by the same call."""

    results: Results
    failures: tuple[Failure, ...]


def run_experiment(options: ExperimentOptions, screen: ProgressScreen) -> Outcome:
    """Run what is not there yet and write results, report and plots; SplitrailError says why it cannot go on."""
    images = photograph_crops(options.photographs) if options.mode == "emulated" else ()
    entrants: Entrants = (
        ZooEntrants(options.models, screen.step, codecs=options.codecs)
        if options.profiles is None
        else ProfileEntrants(options.profiles, options.models, codecs=options.codecs)
    )
    settings = _settings(options, entrants)
    with Journal(options.out, settings) as journal:
        participants = {each.profile.model: each for each in entrants.measured(options.out, screen.step)}
        runs = _Runs(options, participants, images)
        failures = runs.carry_out("emulated", journal, screen) if options.mode == "emulated" else ()
        failures += runs.carry_out("simulated", journal, screen)
        explained = runs.explained(screen)
        fleets = fleet_figures(
            [each.profile for each in participants.values()],
            options.fleets,
            options.traces,
            options.seconds,
            screen.step,
        )
        results = _results(settings, participants, journal.records, explained, fleets)
        _write(results, journal.records, options)
        if not failures:
            # Gigabytes of models and segments, which only further runs would need.
            shutil.rmtree(options.out / AGENT_CACHES, ignore_errors=True)
    return Outcome(results, failures)


class _Runs:
    """Every run of the grid, emulated or simulated."""

    def __init__(
        self, options: ExperimentOptions, participants: dict[str, Participant], images: tuple[bytes, ...]
    ) -> None:
        self._options, self._participants, self._images = options, participants, images
        self._traces = {trace.label: trace for trace in options.traces}
        self._contenders = {contender.name: contender for contender in options.contenders}
        for contender in options.contenders:
            for model, participant in participants.items():
                if contender.decider == "published-split" and not participant.published_split:
                    raise ExperimentError(
                        f"no static split is published for {model}: name the --contender that take part, without "
                        f"{contender.name}"
                    )

    def carry_out(self, mode: Mode, journal: Journal, screen: ProgressScreen) -> tuple[Failure, ...]:
        """All runs of a mode that are not over; what failed."""
        options = self._options
        keys = all_runs(mode, list(self._participants), list(self._traces), options.repetitions, list(self._contenders))
        guess_s = options.seconds + START_UP_S if mode == "emulated" else SIMULATED_RUN_S
        times = RunTimes(guess_s)
        for record in journal.records:
            times.timed(record.key, record.took_s)
        pending = [key for key in keys if not journal.has(key)]
        if pending:
            screen.say(
                f"{len(pending)} {mode} runs, {len(keys) - len(pending)} are there already: "
                f"about {duration_words(times.left_s(pending))}; Ctrl-C stops, and the same command goes on"
            )
        with screen.running() if pending else nullcontext():
            run = self._emulate if mode == "emulated" else self._simulate
            return carry_out(pending, journal, run, screen, times)

    def explained(self, screen: ProgressScreen) -> tuple[Explanation, ...]:
        """Where the regret comes from, of one repetition; () where who is explained, or the measure, takes no part."""
        if not {EXPLAINED, CLAIRVOYANT} <= self._contenders.keys():
            return ()
        scenarios = [
            scenario_of(model, trace, 1, self._options.seconds)
            for model in self._participants
            for trace in self._options.traces
        ]
        with screen.step("simulating where the regret comes from"):
            return explanations(scenarios, self._simulated)

    def _scenario(self, key: RunKey) -> Scenario:
        return scenario_of(key.model, self._traces[key.trace], key.repetition, self._options.seconds)

    def _emulate(self, key: RunKey) -> RunRecord:
        scenario, participant = self._scenario(key), self._participants[key.model]
        if participant.file is None:
            raise ExperimentError(f"{key.model} is known by its profile alone, it can only be simulated")
        bench = Bench(
            participant.file,
            participant.nodes,
            participant.profile,
            participant.published_split,
            self._images,
            self._options.out.absolute() / AGENT_CACHES,
        )
        settings = planning(scenario, participant.profile, participant.published_split)
        return emulate(scenario, self._contenders[key.contender], bench, settings)

    def _simulate(self, key: RunKey) -> RunRecord:
        return self._simulated(self._scenario(key), self._contenders[key.contender], AS_IT_IS)

    def _simulated(self, scenario: Scenario, contender: Contender, ablation: Ablation) -> RunRecord:
        participant = self._participants[scenario.model]
        return simulate(
            scenario,
            contender,
            participant.profile,
            seed=SEED,
            published_split=participant.published_split,
            ablation=ablation,
            settings=SimulationSettings(
                planning=planning(scenario, participant.profile, participant.published_split), links=PROBING
            ),
        )


def _settings(options: ExperimentOptions, entrants: Entrants) -> ExperimentSettings:
    return ExperimentSettings(
        version=__version__,
        mode=options.mode,
        models=entrants.sources,
        traces=tuple(TraceSource(label=trace.label, sha256=_trace_sha256(trace)) for trace in options.traces),
        contenders=tuple(contender.name for contender in options.contenders),
        repetitions=options.repetitions,
        seconds=options.seconds,
        photographs=tuple(map(file_sha256, options.photographs)) if options.mode == "emulated" else (),
        fleets=options.fleets,
    )


def _trace_sha256(trace: Trace) -> str:
    content = msgspec.json.encode((trace.seconds, trace.mbps, trace.scale, trace.at_the_end))
    return hashlib.sha256(content).hexdigest()


def _results(
    settings: ExperimentSettings,
    participants: dict[str, Participant],
    records: Sequence[RunRecord],
    explained: tuple[Explanation, ...],
    fleets: tuple[FleetFigures, ...],
) -> Results:
    rows = contender_figures(records)
    means = averages(rows)
    return Results(
        settings=settings,
        models=tuple(participant.facts for participant in participants.values()),
        runs=len(records),
        took_s=sum(record.took_s for record in records),
        contenders=rows,
        averages=means,
        deviations=deviations(rows),
        explanations=explained,
        published=published_gains(records, means),
        fleets=fleets,
        codecs=codec_uses(records),
    )


def _write(results: Results, records: Sequence[RunRecord], options: ExperimentOptions) -> None:
    """Write the figures, the pictures and the report beside the runs."""
    traces = {trace.label: trace for trace in options.traces}
    pictures = draw(results, records, traces, options.out) if options.plots else ()
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=2)
    (options.out / RESULTS).write_bytes(encoded + b"\n")
    (options.out / REPORT).write_text(written(results, pictures), encoding="utf-8")
