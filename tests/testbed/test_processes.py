"""Child processes: they die with us, and say why they died."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.errors import ProcessFailedError
from testbed.processes import ChildProcess, last_line, stop_all

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def wait_for_up(log: Path) -> None:
    deadline = time.monotonic() + 20
    while "up" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether the process has ended; one whose parent has not yet fetched its exit code has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_early_death_is_explained(tmp_path: Path) -> None:
    """A child that ends by itself is an error with its exit code and the last line of its log."""
    log = tmp_path / "agent.log"
    program = "import sys; print('starting'); print('splitrail: no such broker', file=sys.stderr); sys.exit(2)"
    child = ChildProcess("the agent of pi", [sys.executable, "-c", program], log)
    assert child.wait(20)
    with pytest.raises(ProcessFailedError) as caught:
        child.check()
    assert str(caught.value) == (f"the agent of pi ended with exit code 2: splitrail: no such broker (log: {log})")


def test_a_kill_is_named(tmp_path: Path) -> None:
    """A child that a signal ended is named with the signal; killing it twice does no harm."""
    child = ChildProcess("the agent", SLEEP, tmp_path / "log")
    child.check()
    child.kill()
    child.kill()
    with pytest.raises(ProcessFailedError, match="was ended by SIGKILL"):
        child.check()


def test_own_group(tmp_path: Path) -> None:
    """A child is in a process group of its own, which the terminal's Ctrl-C does not reach."""
    child = ChildProcess("the agent", SLEEP, tmp_path / "log")
    try:
        assert os.getpgid(child.pid) == child.pid != os.getpgid(0)
    finally:
        child.kill()


def test_stop_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping asks first and then kills the ones that do not listen."""
    monkeypatch.setattr("testbed.processes.STOP_TIMEOUT_S", 0.5)
    logs = [tmp_path / "polite", tmp_path / "deaf"]
    children = [ChildProcess("one", command, log) for command, log in zip((SLEEP, DEAF), logs, strict=True)]
    for log in logs:
        wait_for_up(log)
    stop_all(children)
    assert not any(child.running for child in children)
    assert [child.wait(0) for child in children] == [True, True]


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    """Even kill -9 of the parent leaves no child behind."""
    log = tmp_path / "child.log"
    program = (
        "import sys, time; from pathlib import Path; from testbed.processes import ChildProcess\n"
        f"child = ChildProcess('c', {SLEEP!r}, Path({str(log)!r})); print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert not gone(child_pid)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while not gone(child_pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(child_pid)


def test_last_line(tmp_path: Path) -> None:
    """The last line that says something, whatever the log holds."""
    log = tmp_path / "log"
    assert last_line(log) == "it wrote no log"
    log.write_bytes(b"\n")
    assert last_line(log) == "it wrote nothing to its log"
    log.write_bytes(b"x" * 100_000 + b"\nlast \xff words\n\n")
    assert last_line(log) == "last � words"
