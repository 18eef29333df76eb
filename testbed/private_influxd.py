"""A private InfluxDB 1 on loopback ports of its own, for the tests and the benchmarks.

A site's own InfluxDB is the system's; nothing here touches it.
"""

import re
import sys
from pathlib import Path

from broker.mosquitto import free_port
from broker.server_process import Command, ServerProcess, find_program
from coordinator.configuration import InfluxSettings
from testbed.errors import InfluxdError

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
    program = find_program("influxd", Path("/usr/bin/influxd"), Path(sys.prefix) / "influxd/usr/bin/influxd")
    if program is None:
        raise InfluxdError("InfluxDB is not installed: `sudo apt-get install influxdb`, or `make influxd` without root")
    return program


class PrivateInfluxd(ServerProcess):
    """An influxd of our own, which keeps its files in `directory` and ends with this process at the latest.

    It is open to everybody on this machine, and the port stays its own through restarts. Entering starts it and waits
    until it answers; InfluxdError says why it did not. Start it from the main thread, as the broker.
    """

    name = "influxd"
    failure = InfluxdError
    start_timeout_s = 30.0
    stop_timeout_s = 10.0

    def __init__(self, directory: Path, extra_configuration: str = "") -> None:
        super().__init__(directory)
        self._extra_configuration = extra_configuration
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> InfluxSettings:
        """How a coordinator reaches it; its database `splitrail` has to be made."""
        return InfluxSettings(url=self.url)

    def _prepared(self) -> Command:
        program = find_influxd()
        configuration = self._directory / "influxd.conf"
        filled_in = _CONFIGURATION.format(directory=self._directory, port=self.port)
        configuration.write_text(filled_in + self._extra_configuration)
        return Command([program, "-config", configuration])

    def _is_ready(self, log: bytes) -> bool:
        return _LISTENS.search(log) is not None

    def _last_words(self, lines: list[str]) -> str:
        return "".join(lines[-1:])
