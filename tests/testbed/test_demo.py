"""The demo as a user runs it: its figures, and that nothing is left running however it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from testbed.demo import STRATEGIES, DemoResult

COMMAND = [sys.executable, "-m", "splitrail", "demo"]


@pytest.fixture
def surroundings(tmp_path: Path, zoo_model: Callable[..., Path]) -> dict[str, str]:
    """An environment whose temporary and cache directories are ours, with MobileNetV2 converted already."""
    zoo = tmp_path / "cache" / "splitrail" / "zoo"
    zoo.mkdir(parents=True)
    shutil.copy(zoo_model("mobilenetv2"), zoo / "mobilenetv2-random.tflite")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}


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


def test_a_short_run(tmp_path: Path, surroundings: dict[str, str]) -> None:
    """Every strategy answers every request with the same class, the figures are written, nothing is left."""
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [*COMMAND, "--seconds", "3", "--json", str(figures)],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = msgspec.json.decode(figures.read_bytes(), type=DemoResult)
    assert [row.strategy for row in result.comparison.strategies] == list(STRATEGIES)
    assert all(row.answered >= 1 and row.lost == 0 for row in result.comparison.strategies)
    assert result.comparison.disagreements == 0
    assert all(machine.emulated.startswith("emulated ") for machine in result.machines)
    for words in ("random weights", "the classes mean nothing", "profile (emulated)", "first plans", "energy modelled"):
        assert words in done.stdout
    scratch = Path(surroundings["TMPDIR"])
    assert children_below(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_is_left_running(surroundings: dict[str, str], number: signal.Signals, code: int) -> None:
    """Ctrl-C, a polite end and kill -9 in the midst of it all leave no process."""
    scratch = Path(surroundings["TMPDIR"])
    with subprocess.Popen(
        COMMAND,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        assert any("the agents fetch the model" in line for line in demo.stdout), "the demo did not get that far"
        assert len(children_below(scratch)) == 5  # Mosquitto, the coordinator and three agents
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(60) == code
    assert "Traceback" not in rest
    deadline = time.monotonic() + 20
    while children_below(scratch) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children_below(scratch) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trace", "no-such.csv"], "no-such.csv: cannot be read: No such file or directory"),
        (["--scale", "0"], "'0' is not a number above 0"),
        (["--model", "no-such.tflite"], "no-such.tflite"),
        (["--images", "no-such.jpg"], "no-such.jpg"),
        (["--json", "no-such-directory/figures.json"], "no-such-directory"),
    ],
)
def test_bad_input(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """A mistake is one line and exit code 2, before anything is started."""
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("flex", "has no op FlexErf"), ("attention", "images need (1, height, width, 3 or 1)")],
)
def test_a_model_that_cannot_classify_images_is_refused_at_once(
    small_model: Callable[[str], Path], name: str, sentence: str
) -> None:
    """It is tried on one photograph before anything is started."""
    command = [*COMMAND, "--model", str(small_model(name))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "starting" not in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr
