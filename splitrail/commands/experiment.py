"""`splitrail experiment`: the published experiment repeated, and faults under load; a thin shell around `testbed`."""

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from splitrail.commands import experiment_chaos
from splitrail.option_types import number_above_zero, whole_number
from testbed.errors import ExperimentError

if TYPE_CHECKING:
    from testbed.paper.contenders import Contender
    from testbed.paper.experiment import ExperimentOptions, Outcome
    from testbed.traces import Trace

EXAMPLE = "splitrail experiment paper --quick --trace my-link.csv --scale 10"

V = TypeVar("V")

INCOMPLETE = 1
MOST_TRACES = 64
LARGEST_FLEET = 10_000
PLAIN_COLUMNS = 160
FULL_SECONDS, FULL_REPETITIONS = 60.0, 3
QUICK_SECONDS, QUICK_REPETITIONS = 12.0, 1
# The one that moves enough within a short window.
QUICK_TRACE = "synthetic-oscillation"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands and their options."""
    experiments = parser.add_subparsers(dest="experiment", metavar="EXPERIMENT", required=True)
    paper = experiments.add_parser(
        "paper",
        help="adaptive against static partitioning, after arXiv 2605.09623",
        description="Adaptive against static partitioning of VGG16, AlexNet and MobileNetV2 on an emulated Pi, laptop "
        "and PC, after arXiv 2605.09623. An interrupted experiment goes on when it is called again.",
        formatter_class=parser.formatter_class,
    )
    _configure_paper(paper)
    paper.set_defaults(run_experiment=_run_paper)
    chaos = experiments.add_parser(
        "chaos",
        help="faults under load: what is lost, and how soon all is well again",
        description="Kills, stops and cuts off the parts of a real site under a steady load, one fault at a time, and "
        "checks that no request and no telemetry is lost, that the plan recovers and that nothing leaks.",
        formatter_class=parser.formatter_class,
    )
    experiment_chaos.configure(chaos)
    chaos.set_defaults(run_experiment=experiment_chaos.run)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen experiment; exit code 1 where some of its runs failed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    return int(arguments.run_experiment(arguments))


def _configure_paper(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="one trace, short windows, once each: about 10 minutes")
    parser.add_argument("--simulate", action="store_true", help="simulate alone, about a thousand times faster")
    parser.add_argument(
        "--out", type=Path, default=Path("splitrail-paper"), metavar="DIR", help="where results go (splitrail-paper)"
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME", help="a zoo model; may be repeated (all three)"
    )
    parser.add_argument(
        "--trace",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="the link over time, `seconds,mbps` (CSV); may be repeated (the synthetic set)",
    )
    parser.add_argument(
        "--synthetic", action=argparse.BooleanOptionalAction, help="the synthetic traces too, or not, beside --trace"
    )
    parser.add_argument(
        "--scale",
        action="append",
        default=[],
        type=number_above_zero,
        metavar="X",
        help="multiply the traces' rates by X; may be repeated (1)",
    )
    parser.add_argument(
        "--contender", action="append", default=[], metavar="NAME", help="who takes part; may be repeated (all)"
    )
    parser.add_argument(
        "--seconds", type=number_above_zero, metavar="S", help=f"the longest window of a run ({FULL_SECONDS:g})"
    )
    parser.add_argument(
        "--repetitions", type=whole_number(1, 1_000), metavar="N", help=f"of each run ({FULL_REPETITIONS})"
    )
    parser.add_argument(
        "--photograph",
        action="append",
        default=[],
        type=Path,
        metavar="IMAGE",
        help="whose crops are classified; may be repeated (two from scikit-learn's wheel)",
    )
    parser.add_argument(
        "--profiles", type=Path, metavar="FILE", help="profiles to simulate on, ours or Scission's, not this host's"
    )
    parser.add_argument(
        "--fleet",
        action="append",
        default=[],
        type=whole_number(1, LARGEST_FLEET),
        metavar="N",
        help=f"simulate a fleet of N edge nodes too, up to {LARGEST_FLEET}; may be repeated",
    )
    parser.add_argument(
        "--codecs",
        action="store_true",
        help="contenders that pack tensors take part too; what codecs cost and change is measured once, in minutes",
    )
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="draw pictures, or not")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def _run_paper(arguments: argparse.Namespace) -> int:
    from testbed.paper.experiment import run_experiment  # noqa: PLC0415  # `--help` stays quick
    from testbed.paper.progress import ProgressScreen  # noqa: PLC0415  # as above

    options = _options(arguments)
    screen = ProgressScreen()
    with _way_to_go_on(options.out):
        outcome = run_experiment(options, screen)
    _print(outcome, options, as_json=arguments.json)
    for failure in outcome.failures:
        screen.say(f"failed: {failure.key.contender}: {failure.reason}")
    if outcome.failures:
        screen.say(f"{len(outcome.failures)} runs failed; the same command tries them again")
        return INCOMPLETE
    return 0


def _options(arguments: argparse.Namespace) -> "ExperimentOptions":
    """The options as values; ExperimentError, TraceError or ImageError for a bad one, before anything is started."""
    from models.images import load_image, sample_photographs  # noqa: PLC0415  # `--help` stays quick
    from testbed.paper.experiment import ExperimentOptions  # noqa: PLC0415  # as above
    from testbed.paper.published import PUBLISHED  # noqa: PLC0415  # as above

    if arguments.profiles is not None and not arguments.simulate:
        raise ExperimentError("--profiles: profiles cannot run inference; add --simulate")
    if arguments.photograph and arguments.simulate:
        raise ExperimentError("--photograph: nothing is classified in a simulation; leave one of the two out")
    if arguments.profiles is None:
        unknown = next((name for name in arguments.model if name not in PUBLISHED), None)
        if unknown is not None:
            raise ExperimentError(f"--model {unknown}: the experiment has {', '.join(PUBLISHED)}")
    photographs = () if arguments.simulate else tuple(arguments.photograph or sample_photographs())
    for photograph in photographs:
        load_image(photograph)
    return ExperimentOptions(
        out=arguments.out,
        mode="simulated" if arguments.simulate else "emulated",
        models=_unique("--model", arguments.model),
        traces=_traces(arguments),
        contenders=_contenders(arguments.contender, codecs=arguments.codecs),
        repetitions=arguments.repetitions or (QUICK_REPETITIONS if arguments.quick else FULL_REPETITIONS),
        seconds=arguments.seconds or (QUICK_SECONDS if arguments.quick else FULL_SECONDS),
        photographs=photographs,
        profiles=arguments.profiles,
        fleets=_unique("--fleet", arguments.fleet),
        plots=arguments.plots,
        codecs=arguments.codecs,
    )


def _traces(arguments: argparse.Namespace) -> tuple["Trace", ...]:
    from testbed.synthetic import synthetic_traces  # noqa: PLC0415  # `--help` stays quick
    from testbed.traces import read_trace  # noqa: PLC0415  # as above

    given = [read_trace(path) for path in arguments.trace]
    own = list(synthetic_traces()) if arguments.synthetic or (arguments.synthetic is None and not given) else []
    if arguments.quick and not given:
        own = [trace for trace in own if trace.name == QUICK_TRACE]
    if not given + own:
        raise ExperimentError("--no-synthetic: without the synthetic traces there must be a --trace")
    scales: Sequence[float] = _unique("--scale", arguments.scale) or (1.0,)
    traces = [trace.scaled(scale) for scale in scales for trace in given + own]
    if len(traces) > MOST_TRACES:
        raise ExperimentError(f"{len(traces)} traces, scaled ones counted each; there may be {MOST_TRACES}")
    _unique("--trace", [trace.label for trace in traces])
    return tuple(traces)


def _contenders(names: list[str], *, codecs: bool) -> tuple["Contender", ...]:
    from testbed.paper.contenders import CONTENDERS, PACKED  # noqa: PLC0415  # `--help` stays quick

    known = {contender.name: contender for contender in (*CONTENDERS, *(PACKED if codecs else ()))}
    for name in names:
        if not codecs and any(name == packer.name for packer in PACKED):
            raise ExperimentError(f"--contender {name}: it packs tensors; add --codecs")
        if name not in known:
            raise ExperimentError(f"--contender {name}: there is none of this name, choose of {', '.join(known)}")
    return tuple(known[name] for name in _unique("--contender", names) or known)


def _unique(option: str, values: Sequence[V]) -> tuple[V, ...]:
    """The values; ExperimentError if one comes twice."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ExperimentError(f"{option} {value}: is given twice")
    return tuple(values)


@contextlib.contextmanager
def _way_to_go_on(out: Path) -> Iterator[None]:
    """Say after an interruption that nothing is lost."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        print(f"interrupted; what is over is kept in {out}, and the same command goes on from there", file=sys.stderr)
        raise


def _print(outcome: "Outcome", options: "ExperimentOptions", *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415  # `--help` stays quick
    from rich.console import Console  # noqa: PLC0415  # as above

    from testbed.paper.circumstances import circumstances  # noqa: PLC0415  # as above
    from testbed.paper.report import summary  # noqa: PLC0415  # as above
    from testbed.paper.tables import show  # noqa: PLC0415  # as above

    if as_json:
        print(msgspec.json.encode(outcome.results).decode())
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, no_color=True, width=PLAIN_COLUMNS)
    for table in summary(outcome.results):
        show(table, console)
    for words in circumstances(outcome.results):
        console.print(words, soft_wrap=True, markup=False)
    console.print(f"all of it: {options.out / 'report.md'}, {options.out / 'results.json'}", soft_wrap=True)


def _leave(number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, through every `with`, so that the children are stopped."""
    raise SystemExit(128 + number)
