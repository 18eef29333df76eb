"""`splitrail experiment paper`: bad options, a whole simulated experiment, and going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from broker.messages import PlanStage
from splitrail.cli import main
from testbed.paper.model_profile import ModelProfile, NodeTimes
from testbed.paper.profiled_model import ProfiledModel
from testbed.paper.profiles import save_profiles
from testbed.paper.records import RunRecord
from testbed.paper.results import Results
from testbed.simulation.fleet import POLICIES

COMMAND = [sys.executable, "-m", "splitrail", "experiment", "paper"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a trace and a profile of a small model."""
    rows = "".join(f"{second},{40 if second // 10 % 2 == 0 else 2}\n" for second in range(60))
    (tmp_path / "link.csv").write_text(f"seconds,mbps\n{rows}")
    profile = ModelProfile(
        model="small",
        cut_bytes=(600_000.0, 200_000.0, 300_000.0, 4_000.0),
        weight_mb=(0.1, 0.5, 2.0),
        forbidden_cuts=(),
        nodes=tuple(
            NodeTimes(node=node, op_ms=(20.0 * factor, 60.0 * factor, 80.0 * factor), op_ms_std=(0.1, 0.1, 0.1))
            for node, factor in (("pi", 1.0), ("laptop", 0.25), ("pc", 0.1))
        ),
        source="made up",
    )
    split = tuple(PlanStage(node=node, start=at, stop=at + 1) for at, node in enumerate(("pi", "laptop", "pc")))
    save_profiles(tmp_path / "profiles.json", (ProfiledModel(profile=profile, published_split=split),))
    return tmp_path


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )


SIMULATED = ("--simulate", "--profiles", "profiles.json", "--trace", "link.csv", "--seconds", "20")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "resnet"], "--model resnet: the experiment has vgg16, alexnet, mobilenetv2"),
        (["--contender", "nobody"], "--contender nobody: there is none of this name, choose of paper-static"),
        (["--contender", "reap", "--contender", "reap"], "--contender reap: is given twice"),
        (["--trace", "none.csv"], "none.csv: cannot be read: No such file or directory"),
        (["--trace", "link.csv", "--trace", "link.csv"], "--trace link.csv: is given twice"),
        (["--no-synthetic"], "without the synthetic traces there must be a --trace"),
        (["--scale", "0"], "'0' is not a number above 0"),
        (["--seconds", "-1"], "'-1' is not a number above 0"),
        (["--fleet", "10001"], "'10001' is not a whole number from 1 to 10000"),
        (["--repetitions", "0"], "'0' is not a whole number from 1 to 1000"),
        (["--photograph", "none.jpg"], "none.jpg"),
        (["--photograph", "a.jpg", "--simulate"], "nothing is classified in a simulation"),
        (["--profiles", "profiles.json"], "profiles cannot run inference; add --simulate"),
        (["--simulate", "--profiles", "none.json"], "none.json: cannot be read: No such file or directory"),
        (["--simulate", "--profiles", "link.csv"], "link.csv: is not JSON"),
        ([*SIMULATED, "--model", "vgg16"], "profiles.json: has no model 'vgg16'; it has small"),
        ([*SIMULATED, "--contender", "latency-codecs"], "--contender latency-codecs: it packs tensors; add --codecs"),
        ([*SIMULATED, "--codecs"], "--codecs: profiles.json does not say what codecs cost of small"),
        ([*SIMULATED, "--out", "link.csv"], "link.csv: cannot be used for the results"),
    ],
)
def test_a_bad_option_is_one_line(
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    """It says what would be right, with exit code 2, before anything is started."""
    monkeypatch.chdir(files)
    code: str | int | None
    try:
        code = main(["experiment", "paper", *arguments])
    except SystemExit as exit_:  # as argparse ends
        code = exit_.code
    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert sentence in told.err
    assert not (files / "splitrail-paper").exists()


def test_no_experiment_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The command asks which."""
    with pytest.raises(SystemExit, match="2"):
        main(["experiment"])
    assert "EXPERIMENT" in capsys.readouterr().err


def test_a_simulated_experiment(files: Path) -> None:
    """Every contender runs, the files are written, and the same call again runs nothing."""
    options = (*SIMULATED, *["--scale", "1", "--scale", "10", "--repetitions", "1", "--fleet", "30", "--out", "out"])
    done = run(files, *options, "--json")
    assert done.returncode == 0, done.stderr
    results = msgspec.json.decode(done.stdout, type=Results)
    assert results == msgspec.json.decode((files / "out" / "results.json").read_bytes(), type=Results)
    assert results.runs == 2 * 10
    assert {row.trace for row in results.contenders} == {"link.csv", "link.csv, scaled x10"}
    assert all(row.lost == 0 for row in results.contenders)
    assert [(each.edges, each.policy) for each in results.fleets] == [(30, policy) for policy in POLICIES]
    report = (files / "out" / "report.md").read_text()
    assert "link.csv, scaled x10" in report
    assert "](contenders-simulated.svg)" in report
    assert (files / "out" / "contenders-simulated.svg").read_text().startswith("<?xml")

    again = run(files, *options, "--no-plots")
    assert again.returncode == 0
    assert "simulated runs" not in again.stderr
    assert "On average, simulated" in again.stdout
    other = run(files, *SIMULATED, "--repetitions", "3", "--out", "out")
    assert other.returncode == 2
    assert "holds another experiment" in other.stderr


def test_going_on_after_a_kill(files: Path) -> None:
    """What was over when it was killed is not run again, a torn line is forgotten, and nothing is missing."""
    arguments = [*SIMULATED, "--repetitions", "30", "--contender", "latency", "--contender", "clairvoyant"]
    arguments += ["--out", "out", "--no-plots"]
    runs = files / "out" / "runs.jsonl"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen([*COMMAND, *arguments], cwd=files, env=environment, stderr=subprocess.PIPE) as first:
        deadline_s = time.monotonic() + 60
        while not (runs.exists() and runs.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
    kept = runs.read_bytes()
    kept = kept[: kept.rindex(b"\n") + 1]
    runs.write_bytes(kept + b'{"key": {"mode": "simu')

    done = run(files, *arguments)
    assert done.returncode == 0, done.stderr
    assert runs.read_bytes().startswith(kept)
    records = [msgspec.json.decode(line, type=RunRecord) for line in runs.read_bytes().splitlines()]
    assert len({record.key for record in records}) == len(records) == 60


def test_an_interruption_says_how_to_go_on(files: Path) -> None:
    """Ctrl-C leaves a good file and one sentence."""
    arguments = [*SIMULATED, "--repetitions", "500", "--out", "out", "--no-plots"]
    with subprocess.Popen([*COMMAND, *arguments], cwd=files, stderr=subprocess.PIPE, text=True) as first:
        runs = files / "out" / "runs.jsonl"
        deadline_s = time.monotonic() + 60
        while not (runs.exists() and runs.stat().st_size) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        first.send_signal(signal.SIGINT)
        assert first.stderr is not None
        told = first.stderr.read()
        assert first.wait(30) == 130
    assert told.splitlines()[-1] == (
        "interrupted; what is over is kept in out, and the same command goes on from there"
    )
    assert all(json.loads(line)["key"] for line in runs.read_text().splitlines())
