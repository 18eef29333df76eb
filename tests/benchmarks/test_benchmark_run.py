"""`make bench`: what fails or runs out of time is told and ends nothing, what is interrupted leaves nothing."""

import io
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import run
import zoo_models
from figures import Figure
from report import Outcome
from rich.console import Console

LINGERS = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
made = pathlib.Path(__file__).with_name("made")
made.write_text("")
try:
    pathlib.Path(__file__).with_name("child").write_text(str(child.pid))
    time.sleep(600)
finally:
    made.unlink()
"""

WORKS = """
import json, sys
path = sys.argv[sys.argv.index("--json") + 1]
assert "--quick" in sys.argv
open(path, "w").write('[{"name": "a", "value": 1.5, "unit": "ms", "better": "lower"}]')
"""
HANGS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where benchmarks are looked for."""
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "prepare", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    return tmp_path


def is_running(pid: int) -> bool:
    """Whether a process is there, and more than a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def outcome(scripts: Path, program: str, limit_s: float = 60.0) -> Outcome:
    """What comes of a benchmark."""
    (scripts / "made_up.py").write_text(program)
    return run.run(run.Benchmark("made_up", limit_s), scripts)


def test_a_benchmark_that_fails_is_told_by_its_last_line(scripts: Path) -> None:
    """And by its exit code."""
    assert outcome(scripts, "print('a broker was not found\\n'); raise SystemExit(3)").failure == (
        "it ended with 3: a broker was not found"
    )


def test_a_benchmark_without_figures_failed(scripts: Path) -> None:
    """Whatever its exit code."""
    assert "it wrote no figures" in str(outcome(scripts, "pass").failure)


def test_a_benchmark_that_lasts_too_long_clears_away_and_ends_with_all_that_it_started(scripts: Path) -> None:
    """As by Ctrl-C."""
    assert outcome(scripts, LINGERS, limit_s=5.0).failure == "it ran out of its 5 s"
    assert not (scripts / "made").exists()
    child = int((scripts / "child").read_text())
    deadline = time.monotonic() + 30.0
    while is_running(child):  # a signal takes its time where many want the processors
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_interrupted_it_writes_nothing(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and the results that were there stay."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_all", interrupt)
    assert run.main() == run.INTERRUPTED
    assert capsys.readouterr().out == "Interrupted: all processes are ended and no results are written.\n"
    assert not (scripts / "results").exists()


@pytest.mark.parametrize(("arguments", "is_written"), [((), True), (("--only", "chain"), False)])
def test_a_part_is_not_written_over_the_whole(
    arguments: tuple[str, ...], is_written: bool, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next comparison would miss the rest, and say nothing."""
    monkeypatch.setattr(
        run, "run_all", lambda chosen, _: tuple(Outcome(each.name, 1.0, each.limit_s) for each in chosen)
    )
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    assert run.main() == 0
    assert (scripts / "results" / "bench.json").exists() == is_written


def test_what_is_kept_from_run_to_run_is_made_before_the_time_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and only for the chosen benchmarks."""
    monkeypatch.setattr(zoo_models, "KEPT", tmp_path)
    (tmp_path / "vgg16-none.tflite").touch()
    (tmp_path / "mobilenetv2-none.tflite").touch()
    commands: list[tuple[str, ...]] = []

    def done(command: tuple[str, ...], **_: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run.subprocess, "run", done)
    run.prepare([each for each in run.BENCHMARKS if each.name in {"chain", "hop", "adaptive"}], Console())
    convert, adaptive = commands
    assert convert[3:5] == ("convert", "resnet50")
    assert Path(adaptive[1]).name == "adaptive.py"
    assert adaptive[2:] == ("--quick", "--prepare")


def test_one_benchmarks_failure_does_not_end_the_rest(scripts: Path) -> None:
    """Each that gave no figures says why; what it started is ended with it."""
    programs = {"fails": "raise SystemExit('it has no model')", "hangs": HANGS, "silent": "", "works": WORKS}
    for name, program in programs.items():
        (scripts / f"{name}.py").write_text(program)
    limits_s = {"fails": 60.0, "hangs": 1.0, "silent": 60.0, "works": 60.0}
    console = Console(file=io.StringIO())
    outcomes = run.run_all([run.Benchmark(name, limit_s) for name, limit_s in limits_s.items()], console)
    failures = {outcome.benchmark: outcome.failure for outcome in outcomes}
    assert failures["fails"] == "it ended with 1: it has no model"
    assert failures["hangs"] == "it ran out of its 1 s"
    assert str(failures["silent"]).startswith("it wrote no figures")
    assert failures["works"] is None
    assert outcomes[-1].figures == (Figure("a", 1.5, "ms", "lower"),)


def test_what_ran_out_of_its_time_is_a_row_of_the_page_and_no_failure_of_the_whole(
    scripts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where worse figures are one: a figure that there is not is not worse."""
    for name, program in (("hangs", HANGS), ("works", WORKS)):
        (scripts / f"{name}.py").write_text(program)
    monkeypatch.setattr(run, "BENCHMARKS", (run.Benchmark("hangs", 1.0), run.Benchmark("works", 60.0)))
    monkeypatch.setattr(sys, "argv", ["run.py", "--fail-on-worse"])
    assert run.main() == 0
    assert "hangs gave no figures: it ran out of its 1 s" in capsys.readouterr().out
    rows = (scripts / "results" / "bench.md").read_text().splitlines()
    assert "| hangs | 1 s | 1 s | **none: it ran out of its 1 s** |" in rows
    assert [row.rpartition(" s | ")[2] for row in rows if row.startswith("| works")] == ["1 |"]


def test_every_benchmark_is_a_script_with_a_short_form_and_figures() -> None:
    """So that one command runs them all."""
    for benchmark in run.BENCHMARKS:
        text = (run.HERE / f"{benchmark.name}.py").read_text(encoding="utf-8")
        assert '"--quick"' in text, benchmark.name
        assert '"--json"' in text, benchmark.name


def test_all_benchmarks_together_take_less_than_20_minutes() -> None:
    """Whatever happens: by their time limits, and what each has to clear away in behind its own."""
    assert sum(benchmark.limit_s + run.LONGEST_ENDING_S for benchmark in run.BENCHMARKS) < run.LONGEST_S
