"""The experiment on real processes: a small emulated one that is killed, goes on, and leaves nothing running."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from eventually import eventually

from testbed.paper.contenders import CONTENDERS
from testbed.paper.records import RunRecord
from testbed.paper.results import Results

COMMAND = [sys.executable, "-m", "splitrail", "experiment", "paper"]
SMALL = ["--model", "mobilenetv2", "--trace", "link.csv", "--seconds", "3", "--repetitions", "1", "--out", "out"]


@pytest.fixture
def surroundings(tmp_path: Path, zoo_model: Callable[..., Path]) -> dict[str, str]:
    """An environment whose temporary and cache directories are ours, with MobileNetV2 converted already."""
    zoo = tmp_path / "cache" / "splitrail" / "zoo"
    zoo.mkdir(parents=True)
    shutil.copy(zoo_model("mobilenetv2"), zoo / "mobilenetv2-random.tflite")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link.csv").write_text("seconds,mbps\n0,60\n1,2\n2,60\n")
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "scratch")}


def children_below(directory: Path) -> list[str]:
    """The command lines of running processes that name a file below `directory`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found


def runs(directory: Path) -> list[RunRecord]:
    path = directory / "out" / "runs.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [msgspec.json.decode(line, type=RunRecord) for line in lines if line.endswith(b"\n")]


def test_a_small_experiment_that_is_killed_and_goes_on(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """The run that was over is kept, the others follow; emulated runs have answers, plans and simulated twins."""
    command = [*COMMAND, *SMALL, "--contender", "origin-only", "--contender", "clairvoyant"]
    with subprocess.Popen(command, cwd=tmp_path, env=surroundings, stderr=subprocess.DEVNULL) as first:
        assert eventually(lambda: runs(tmp_path) or first.poll() is not None, 120)
        first.send_signal(signal.SIGKILL)
    [kept] = runs(tmp_path)
    assert eventually(lambda: not children_below(tmp_path / "scratch"))
    assert any((tmp_path / "out" / "agents").iterdir()), "the next run would fetch and profile everything again"

    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    records = runs(tmp_path)
    assert records[0] == kept
    emulated = {record.key.contender: record for record in records if record.key.mode == "emulated"}
    assert set(emulated) == {"origin-only", "clairvoyant"}
    for record in emulated.values():
        assert len(record.requests) >= 3
        assert all(request.error is None and request.compute for request in record.requests)
        assert record.plans[0].at_s < 0
    assert emulated["origin-only"].switches == 0
    # The best plan for the good link is not that for the bad one.
    clairvoyant = emulated["clairvoyant"]
    assert clairvoyant.switches >= 1
    assert {request.epoch for request in clairvoyant.requests} <= {plan.epoch for plan in clairvoyant.plans}
    assert clairvoyant.requests[-1].epoch == clairvoyant.plans[-1].epoch
    results = msgspec.json.decode(done.stdout, type=Results)
    assert {each.contender for each in results.deviations} == set(emulated)
    assert "emulated Raspberry Pi 4" in (tmp_path / "out" / "report.md").read_text()
    assert children_below(tmp_path / "scratch") == []
    assert not (tmp_path / "out" / "agents").exists()


@pytest.mark.slow
def test_every_contender_on_every_model(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """`--quick` as a user runs it, but for the models' conversion: nobody loses a request, nobody is missing."""
    del surroundings["XDG_CACHE_HOME"]
    done = subprocess.run(
        [*COMMAND, "--quick", "--out", "out", "--json"],
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=1_800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = msgspec.json.decode(done.stdout, type=Results)
    emulated = [row for row in results.contenders if row.mode == "emulated"]
    assert len(emulated) == 3 * len(CONTENDERS)
    assert sum(row.lost for row in emulated) == 0
