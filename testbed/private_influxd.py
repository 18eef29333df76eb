"""A private InfluxDB 1 on loopback ports of its own, for the tests and the benchmarks.

A site's own InfluxDB is the system's; nothing here touches it.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.mosquitto import ends_with_parent, free_port
from coordinator.configuration import InfluxSettings
from testbed.errors import InfluxdError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

# What asks for no network: no reports to its makers, backups' port any free one, no statistics of its own.
_CONFIGURATION = """\
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{directory}/meta"
[data]
  dir = "{directory}/data"
  wal-dir = "{directory}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
"""
_LISTENS = re.compile(rb"Listening on HTTP.*addr=127\.0\.0\.1:\d+")


def find_influxd() -> Path:
    """The influxd to run: on PATH, in /usr/bin, or unpacked beside the environment. InfluxdError if there is none."""
    on_path = shutil.which("influxd")
    candidates = [Path(on_path)] if on_path else []
    candidates += [Path("/usr/bin/influxd"), Path(sys.prefix) / "influxd/usr/bin/influxd"]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise InfluxdError("InfluxDB is not installed: `sudo apt-get install influxdb`, or `make influxd` without root")


class PrivateInfluxd:
    """An influxd of our own, which keeps its files in `directory` and ends with this process at the latest.

    It is open to everybody on this machine, and the port stays its own through restarts. Entering starts it and waits
    until it answers; InfluxdError says why it did not. Start it from the main thread, as the broker.
    """

    def __init__(self, directory: Path, extra_configuration: str = "") -> None:
        self._directory = directory
        self._extra_configuration = extra_configuration
        self._log_file = directory / "influxd.log"
        self._child: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> InfluxSettings:
        """How a coordinator reaches it; its database `splitrail` has to be made."""
        return InfluxSettings(url=self.url)

    @property
    def pid(self) -> int | None:
        """Its process, or None while it does not run."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it listens, with what it kept."""
        program = find_influxd()
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "influxd.conf"
        filled_in = _CONFIGURATION.format(directory=self._directory, port=self.port)
        configuration.write_text(filled_in + self._extra_configuration)
        with self._log_file.open("ab") as log:
            log_start = log.tell()
            self._child = subprocess.Popen(
                [program, "-config", configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C is the parent's
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
            )
        try:
            self._wait_until_it_listens(self._child, log_start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_TIMEOUT_S)
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

    def _wait_until_it_listens(self, child: subprocess.Popen[bytes], log_start: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                lines = self._log_file.read_text(errors="replace").splitlines()
                raise InfluxdError(f"influxd did not start: {' '.join(lines[-1:])} (log: {self._log_file})")
            if _LISTENS.search(self._log_file.read_bytes()[log_start:]):
                return
            time.sleep(0.02)
        raise InfluxdError(f"influxd is not ready after {START_TIMEOUT_S:g} s (log: {self._log_file})")
