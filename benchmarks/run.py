"""Runs every benchmark, one after the other, and says what is worse than the committed figures: `make bench`.

    python benchmarks/run.py [--only NAME ...] [--out DIRECTORY] [--fail-on-worse]

Each runs in a process of its own with a time limit, all of them in less than 20 minutes, and once for all some more to
convert models and measure codecs; one that fails is reported and does not end the rest. Writes bench.json and bench.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import zoo_models
from comparison import Verdict, compare, remembering
from figures import Figure, read
from page import page, summary
from report import Machine, Outcome, Report
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from broker.server_process import ends_with_parent

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE / "results"
LONGEST_S: Final = 20 * 60.0
ENDING_S: Final = 5.0
"""What a benchmark that ran out of time has to clear away what it made, by either signal."""
LONGEST_ENDING_S: Final = 2 * ENDING_S
INTERRUPTED: Final = 130
"""The exit code of a shell's command that Ctrl-C ended."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A script that takes `--quick --json FILE`, how long it may take, and the zoo's models that it reads.

    One that `prepares` is first run with `--quick --prepare`, which may take longer once.
    """

    name: str
    limit_s: float
    models: tuple[str, ...] = ()
    prepares: bool = False


BENCHMARKS: Final = (
    Benchmark("overhead", 70.0),
    Benchmark("chain", 190.0, ("mobilenetv2", "resnet50", "vgg16")),
    Benchmark("hop", 15.0),
    Benchmark("transports", 60.0),
    Benchmark("fallback", 15.0),
    Benchmark("codecs", 10.0, ("mobilenetv2",)),
    Benchmark("adaptive", 60.0, prepares=True),
    Benchmark("throughput", 130.0, ("alexnet", "mobilenetv2", "vgg16")),
    Benchmark("memory", 40.0, ("resnet50",)),
    Benchmark("start", 50.0, ("mobilenetv2",)),
    Benchmark("control_plane", 180.0),
    Benchmark("idle_agent", 80.0),
    Benchmark("planning", 15.0),
    Benchmark("slicing", 10.0, ("mobilenetv2",)),
    Benchmark("telemetry_intake", 60.0),
    Benchmark("spool", 50.0),
)


def main() -> int:
    """Run them, write both files and print what is worth a look; 1 only with `--fail-on-worse`.

    Interrupted, nothing is written: what was there stays.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--out", type=Path, help="directory for bench.json and bench.md (default: the committed ones', if all are run)"
    )
    parser.add_argument("--fail-on-worse", action="store_true", help="exit 1 where a figure is worse than committed")
    options = parser.parse_args()
    console = Console(highlight=False)
    chosen = [benchmark for benchmark in BENCHMARKS if benchmark.name in options.only]
    try:
        prepare(chosen, console)
        report = Report(time.time(), Machine.this(), run_all(chosen, console))
    except KeyboardInterrupt:
        console.print("Interrupted: all processes are ended and no results are written.")
        return INTERRUPTED
    before = committed()
    changes = compare(before, report)
    for line in summary(report, changes, before):
        console.print(line, markup=False, soft_wrap=True)
    out = options.out or (RESULTS if len(chosen) == len(BENCHMARKS) else None)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "bench.json").write_bytes(remembering(before, report).to_json())
        (out / "bench.md").write_text(page(report, changes, before), encoding="utf-8")
        console.print(f"{out / 'bench.md'} has them all.", markup=False, soft_wrap=True)
    return int(options.fail_on_worse and any(change.verdict is Verdict.WORSE for change in changes))


def prepare(benchmarks: list[Benchmark], console: Console) -> None:
    """Make what is kept from run to run and is not there yet, which may take longer than a benchmark has."""
    zoo_models.KEPT.mkdir(parents=True, exist_ok=True)
    for name in sorted({model for benchmark in benchmarks for model in benchmark.models}):
        if not zoo_models.kept_file(name).exists():
            _prepared(f"converting {name}, once", zoo_models.conversion(name), console)
    for benchmark in benchmarks:
        if benchmark.prepares:
            command = (sys.executable, str(HERE / f"{benchmark.name}.py"), "--quick", "--prepare")
            _prepared(f"preparing {benchmark.name}, the first time for minutes", command, console)


def _prepared(words: str, command: tuple[str, ...], console: Console) -> None:
    with console.status(words):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        console.print(f"{words}: {said[-1]}", markup=False, soft_wrap=True)


def run_all(benchmarks: list[Benchmark], console: Console) -> tuple[Outcome, ...]:
    """Every benchmark's outcome, in order, with a line of progress meanwhile."""
    outcomes: list[Outcome] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, tempfile.TemporaryDirectory() as directory:
        task = progress.add_task("", total=len(benchmarks))
        for benchmark in benchmarks:
            progress.update(task, description=f"{benchmark.name:18}")
            outcome = run(benchmark, Path(directory))
            outcomes.append(outcome)
            said = outcome.failure or f"{len(outcome.figures)} figures"
            progress.console.print(f"{benchmark.name:18} {outcome.seconds:5.0f} s  {said}", markup=False)
            progress.advance(task)
    return tuple(outcomes)


def run(benchmark: Benchmark, directory: Path) -> Outcome:
    """One benchmark's outcome; what it prints is left in a file of the directory."""
    found, printed = directory / f"{benchmark.name}.json", directory / f"{benchmark.name}.txt"
    command = [sys.executable, str(HERE / f"{benchmark.name}.py"), "--quick", "--json", str(found)]
    started = time.monotonic()
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
        )
        try:
            code = process.wait(benchmark.limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    seconds = time.monotonic() - started
    figures: tuple[Figure, ...] = ()
    failure = None
    if code is None:
        failure = f"it ran out of its {benchmark.limit_s:g} s"
    elif code != 0:
        failure = f"it ended with {code}: {_last_line(printed)}"
    else:
        try:
            figures = tuple(read(found))
        except (OSError, msgspec.DecodeError) as error:
            failure = f"it wrote no figures: {error}"
    return Outcome(benchmark.name, seconds, benchmark.limit_s, figures, failure)


def committed() -> Report | None:
    """The report that is committed; None outside a checkout, before the first, and of another form."""
    shown = subprocess.run(["git", "show", "HEAD:./results/bench.json"], cwd=HERE, capture_output=True, check=False)
    try:
        return Report.from_json(shown.stdout) if shown.returncode == 0 else None
    except msgspec.DecodeError:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a benchmark with all that it started, which is one group: as Ctrl-C does first, so that it clears away."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(printed: Path) -> str:
    lines = printed.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


if __name__ == "__main__":
    sys.exit(main())
