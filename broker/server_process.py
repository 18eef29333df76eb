"""A server that runs as our child: started, waited for by its own word in its log, and ended with us at the latest.

Which program it is, and how it is configured, is the caller's.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from splitrail.errors import SplitrailError

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec


class ServerProcess:
    """A program that writes to `log_file`; it is ready once `is_ready` is true of what this run has written there.

    `failed` makes the error that says why it did not start, of a sentence; `last_words` puts the log's end in words.
    Start it from the main thread: the kernel ends it with the thread that started it.
    """

    def __init__(
        self,
        name: str,
        log_file: Path,
        *,
        is_ready: Callable[[bytes], bool],
        failed: Callable[[str], SplitrailError],
        last_words: Callable[[list[str]], str],
        start_timeout_s: float,
        stop_timeout_s: float,
    ) -> None:
        self._name = name
        self._log_file = log_file
        self._is_ready = is_ready
        self._failed = failed
        self._last_words = last_words
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, or None while it does not run."""
        return None if self._child is None else self._child.pid

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start it and wait until it is ready."""
        with self._log_file.open("ab") as log:
            log_start = log.tell()
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # the terminal's Ctrl-C is the parent's, which then stops its children in order
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
            )
        try:
            self._wait_until_ready(self._child, log_start)
        except BaseException:
            self.stop()
            raise

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(self._stop_timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _wait_until_ready(self, child: subprocess.Popen[bytes], log_start: int) -> None:
        """Wait for its own word: a connection might reach another program on its port."""
        deadline_s = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline_s:
            if child.poll() is not None:
                lines = self._log_file.read_text(errors="replace").splitlines()
                raise self._failed(f"{self._name} did not start: {self._last_words(lines)} (log: {self._log_file})")
            if self._is_ready(self._log_file.read_bytes()[log_start:]):
                return
            time.sleep(0.02)
        raise self._failed(f"{self._name} is not ready after {self._start_timeout_s:g} s (log: {self._log_file})")


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
