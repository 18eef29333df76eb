"""`make bench`: what fails is told, what is interrupted leaves nothing, and a part is never taken for the whole."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# Benchmarks are scripts that stand beside one another, and no package.
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import run
import zoo_models
from report import Outcome

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


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where benchmarks are looked for."""
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "prepare", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    return tmp_path


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
    assert outcome(scripts, LINGERS, limit_s=5.0).failure == "it took longer than 5 s"
    assert not (scripts / "made").exists()
    child = int((scripts / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


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
    monkeypatch.setattr(run, "run_all", lambda chosen, _: tuple(Outcome(each.name, 1.0) for each in chosen))
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    assert run.main() == 0
    assert (scripts / "results" / "bench.json").exists() == is_written


def test_what_is_kept_from_run_to_run_is_made_before_the_time_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and only for the chosen benchmarks."""
    monkeypatch.setattr(zoo_models, "KEPT", tmp_path)
    (tmp_path / "vgg16-none.tflite").touch()
    commands: list[tuple[str, ...]] = []

    def done(command: tuple[str, ...], **_: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(run.subprocess, "run", done)
    run.prepare([each for each in run.BENCHMARKS if each.name in {"memory", "hop", "adaptive"}], run.Console())
    convert, adaptive = commands
    assert convert[3:5] == ("convert", "mobilenetv2")
    assert Path(adaptive[1]).name == "adaptive.py"
    assert adaptive[2:] == ("--quick", "--prepare")
