"""Child processes that never outlive us: own process group, log to a file, a death that is noticed and explained."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from broker.server_process import ends_with_parent
from testbed.errors import ProcessFailedError

STOP_TIMEOUT_S = 5.0
LONGEST_LOG_TAIL = 4_000

Step = Callable[[str], AbstractContextManager[None]]
"""Names a step that may take more than a second, for as long as it lasts."""


def silently(_words: str) -> AbstractContextManager[None]:
    """A step that nobody hears of."""
    return nullcontext()


class ChildProcess:
    """One process of the testbed, running from the start of its life to `kill` or `stop_all`.

    It gets no Ctrl-C of the terminal's, so that we stop it in order; if our thread that started it ends, it is killed.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  # it makes two system calls and takes no lock
            )

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is still alive."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it ended with, below 0 a signal's number; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """ProcessFailedError, with the last line of the log, if it has died."""
        code = self._process.poll()
        if code is not None:
            raise ProcessFailedError(self.name, f"{_ended(code)}: {last_line(self.log)}", self.log)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; nothing happens where it has gone."""
        if self.running:
            os.killpg(self._process.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within `timeout_s` seconds."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End the whole group at once, as a power cut would."""
        self.signal(signal.SIGKILL)
        self._process.wait()


def splitrail_command(*arguments: str) -> list[str]:
    """`splitrail ...` by this very interpreter, unbuffered, so that a log ends with what happened last."""
    return [sys.executable, "-u", "-m", "splitrail", *arguments]


def stop_all(processes: Iterable[ChildProcess]) -> None:
    """Ask all to end, and kill those that have not after a few seconds; also where this is itself interrupted."""
    running = [process for process in processes if process.running]
    try:
        for process in running:
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)  # one that is stopped hears nothing else
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for process in running:
            process.wait(max(0.0, deadline_s - time.monotonic()))
    finally:
        for process in running:
            process.kill()


def last_line(log: Path) -> str:
    """The last line that says something, or that there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LOG_TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return "it wrote no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing to its log")


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
