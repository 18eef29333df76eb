"""A private InfluxDB 1 on loopback ports of its own, for the tests and the benchmarks.

A site's own InfluxDB is the system's; nothing here touches it.
"""

import os
import re
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.mosquitto import free_port
from broker.server_process import ServerProcess
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
        self._process = ServerProcess(
            "influxd",
            directory / "influxd.log",
            is_ready=lambda log: _LISTENS.search(log) is not None,
            failed=InfluxdError,
            last_words=lambda log: "".join(log[-1:]),
            start_timeout_s=START_TIMEOUT_S,
            stop_timeout_s=STOP_TIMEOUT_S,
        )
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
        return self._process.pid

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
        self._process.start([program, "-config", configuration])

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
