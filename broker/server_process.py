"""A server that runs as our child: started, waited for by its own word in its log, and ended with us at the latest.

Which program it is, and how it is configured, each kind of server says.
"""

import abc
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from splitrail.errors import SplitrailError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec


@dataclass(frozen=True, slots=True)
class Command:
    """What starts a server; `environment` is this process's own where it is None."""

    words: Sequence[str | Path]
    environment: Mapping[str, str] | None = None


class ServerProcess(abc.ABC):
    """A server that writes to `<name>.log` in a directory of its own; entering starts it and waits until it is ready.

    Start it from the main thread: the kernel ends it with the thread that started it.
    """

    name: ClassVar[str]
    """The program's, as its makers write it."""
    failure: ClassVar[type[SplitrailError]]
    """What says in a sentence why it did not start."""
    start_timeout_s: ClassVar[float]
    stop_timeout_s: ClassVar[float]

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log_file = directory / f"{self.name.lower()}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def _prepared(self) -> Command:
        """What starts it; its configuration has been written by then."""

    @abc.abstractmethod
    def _is_ready(self, log: bytes) -> bool:
        """Whether it takes connections, from what this run has written to its log."""

    @abc.abstractmethod
    def _last_words(self, lines: list[str]) -> str:
        """Why it did not start, from its log."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Its process, or None while it does not run."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Start it, with what it kept, and wait until it takes connections."""
        self._directory.mkdir(parents=True, exist_ok=True)
        command = self._prepared()
        with self._log_file.open("ab") as log:
            log_start = log.tell()
            self._child = subprocess.Popen(
                command.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=command.environment,
                start_new_session=True,  # the terminal's Ctrl-C is the parent's, which then stops its children in order
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
            )
        try:
            self._wait_until_ready(self._child, log_start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def kill(self) -> None:
        """End it as a power cut would, without a last word to its clients."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _wait_until_ready(self, child: subprocess.Popen[bytes], log_start: int) -> None:
        """Wait for its own word: a connection might reach another program on its port."""
        deadline_s = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline_s:
            if child.poll() is not None:
                lines = self._log_file.read_text(errors="replace").splitlines()
                raise self.failure(f"{self.name} did not start: {self._last_words(lines)} (log: {self._log_file})")
            if self._is_ready(self._log_file.read_bytes()[log_start:]):
                return
            time.sleep(0.02)
        raise self.failure(f"{self.name} is not ready after {self.start_timeout_s:g} s (log: {self._log_file})")


def find_program(name: str, *elsewhere: Path) -> Path | None:
    """The program of this name on PATH, or at the first of these places where it can be run; None if nowhere."""
    on_path = shutil.which(name)
    candidates = (*([] if on_path is None else [Path(on_path)]), *elsewhere)
    return next((candidate for candidate in candidates if os.access(candidate, os.X_OK)), None)


def ends_with_parent() -> Callable[[], None]:
    """What a child runs between fork and exec, so that it does not outlive this process however that is killed.

    The kernel takes the thread that starts the child for its parent: start it from one that lives as long as it should.
    """
    parent = os.getpid()

    def end_with_parent() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the request was made

    return end_with_parent
