"""`splitrail experiment chaos`: faults under load, one at a time; a thin shell around `testbed.chaos.experiment`."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from splitrail.option_types import whole_number
from testbed.errors import ExperimentError

if TYPE_CHECKING:
    from testbed.chaos.experiment import ChaosOptions
    from testbed.chaos.faults import Fault
    from testbed.chaos.results import Results, Trial
    from testbed.paper.progress import ProgressScreen

BROKEN = 1
FULL_ROUNDS, QUICK_ROUNDS = 3, 1
MOST_ROUNDS = 1_000
PLAIN_COLUMNS = 160


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--quick", action="store_true", help="each fault once and for a few seconds")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME", help="one of --list; may be repeated (all)"
    )
    parser.add_argument(
        "--rounds", type=whole_number(1, MOST_ROUNDS), metavar="N", help=f"how often each is played ({FULL_ROUNDS})"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, 2**32 - 1), default=1, metavar="N", help="draws the moments and durations (1)"
    )
    parser.add_argument(
        "--secured", action="store_true", help="a site of `splitrail site init`: TLS, passwords, topic rights"
    )
    parser.add_argument("--model", type=Path, metavar="FILE", help="your own .tflite image classifier (MobileNetV2)")
    parser.add_argument(
        "--out", type=Path, default=Path("splitrail-chaos"), metavar="DIR", help="where results go (splitrail-chaos)"
    )
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--json", action="store_true", help="print the results, or the list, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Play the faults; exit code 1 where a check did not hold."""
    from testbed.chaos.experiment import run_chaos  # noqa: PLC0415  # `--help` stays quick
    from testbed.paper.progress import ProgressScreen  # noqa: PLC0415  # as above

    chosen = _chosen(arguments.fault, secured=arguments.secured)
    if arguments.list:
        _print_list(chosen, as_json=arguments.json)
        return 0
    # That the broker is gone is the experiment's own doing: its client need not complain.
    logging.getLogger("splitrail").addHandler(logging.NullHandler())
    screen = ProgressScreen()
    options = _options(arguments, chosen, screen)
    results = run_chaos(options, screen.step, lambda trial: screen.say(_trial_words(trial)))
    _print(results, options.out, as_json=arguments.json)
    return 0 if all(trial.passed for trial in results.trials) else BROKEN


def _chosen(names: list[str], *, secured: bool) -> tuple["Fault", ...]:
    """The faults of these names, or all; ExperimentError where there is none of a name."""
    from testbed.chaos.faults import faults  # noqa: PLC0415  # `--help` stays quick

    known = {fault.name: fault for fault in faults(secured=secured)}
    for name in names:
        if name not in known:
            raise ExperimentError(f"--fault {name}: there is none of this name; `--list` shows them all")
    return tuple(known[name] for name in dict.fromkeys(names)) or tuple(known.values())


def _options(arguments: argparse.Namespace, chosen: tuple["Fault", ...], screen: "ProgressScreen") -> "ChaosOptions":
    """The options as values; SplitrailError for a bad one, before anything is started."""
    from models.graph import read_graph  # noqa: PLC0415  # `--help` stays quick
    from models.images import sample_photographs  # noqa: PLC0415  # as above
    from testbed.chaos.experiment import FULL, QUICK, ChaosOptions  # noqa: PLC0415  # as above
    from testbed.zoo_models import default_cache, prepare  # noqa: PLC0415  # as above

    out: Path = arguments.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExperimentError(f"--out {out}: is there already; name another, or remove it")
    if arguments.model is not None:
        read_graph(arguments.model)
    model = arguments.model or prepare(default_cache(), "mobilenetv2", None, screen.step).path
    return ChaosOptions(
        faults=chosen,
        rounds=arguments.rounds or (QUICK_ROUNDS if arguments.quick else FULL_ROUNDS),
        seed=arguments.seed,
        model=model,
        photographs=sample_photographs(),
        out=out,
        timing=QUICK if arguments.quick else FULL,
        secured=arguments.secured,
    )


def _trial_words(trial: "Trial") -> str:
    requests = trial.requests
    words = f"{trial.fault}: {requests.answered} of {requests.sent} requests answered, {requests.fallback} by fallback"
    wrong = [f"{check.name}: {check.fault}" for check in trial.checks if not check.passed]
    return f"{words}; {'; '.join(wrong)}" if wrong else f"{words}; all checks hold"


def _print_list(chosen: tuple["Fault", ...], *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415  # `--help` stays quick

    if as_json:
        listed = [{"fault": fault.name, "words": fault.words, "emulated": fault.emulated} for fault in chosen]
        print(msgspec.json.encode(listed).decode())
        return
    width = max(len(fault.name) for fault in chosen)
    for fault in chosen:
        print(f"{fault.name:{width}}  {fault.words}{f' (emulated: {fault.emulated})' if fault.emulated else ''}")


def _print(results: "Results", out: Path, *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415  # `--help` stays quick
    from rich.console import Console  # noqa: PLC0415  # as above

    from testbed.chaos.report import circumstances, summary, verdict  # noqa: PLC0415  # as above
    from testbed.paper.tables import show  # noqa: PLC0415  # as above

    if as_json:
        print(msgspec.json.encode(results).decode())
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, no_color=True, width=PLAIN_COLUMNS)
    for table in summary(results):
        show(table, console)
    for words in (*circumstances(results), verdict(results)):
        console.print(words, soft_wrap=True, markup=False)
    console.print(f"all of it: {out / 'report.md'}, {out / 'results.json'}", soft_wrap=True)
