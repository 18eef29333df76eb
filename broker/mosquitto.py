"""A private Mosquitto on a loopback port, for the demo and the tests: open, or with the locks of a site.

A site's own broker is the system's Mosquitto; nothing here touches it.
"""

import os
import signal
import socket
import sys
from pathlib import Path

from broker.errors import MosquittoError
from broker.mosquitto_configuration import open_configuration, replaced, shipped_configuration
from broker.server_process import Command, ServerProcess, find_program
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from broker.site_record import ADMIN


def find_mosquitto() -> Path:
    """The Mosquitto to run: on PATH, in /usr/sbin (not on every user's PATH), or unpacked beside the environment."""
    program = find_program("mosquitto", Path("/usr/sbin/mosquitto"), _unpacked() / "usr/sbin/mosquitto")
    if program is None:
        raise MosquittoError(
            "Mosquitto is not installed: `sudo apt-get install mosquitto`, or `make mosquitto` without root"
        )
    return program


class PrivateMosquitto(ServerProcess):
    """A Mosquitto of our own, which keeps its files in `directory` and ends with this process at the latest.

    It is open to everybody on this machine; with a `site` it admits the site's members alone, on the site's port.
    Entering starts it and waits until it accepts connections; MosquittoError says why it did not.
    Start it from the main thread: the kernel ends it with the thread that started it.
    """

    name = "Mosquitto"
    failure = MosquittoError
    start_timeout_s = 10.0
    stop_timeout_s = 5.0

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        extra_configuration: str = "",
        *,
        site: SiteDirectory | None = None,
    ) -> None:
        super().__init__(directory)
        self._site = site
        self._extra_configuration = extra_configuration
        self.port = port or (free_port() if site is None else site.record.port)

    @property
    def settings(self) -> BrokerSettings:
        """How a session reaches it: of a site, as its administrator."""
        if self._site is not None:
            return self._site.broker_settings(ADMIN, host="127.0.0.1")
        return BrokerSettings(host="127.0.0.1", port=self.port)

    def reload(self) -> None:
        """Have it read its configuration, passwords and access rules again; clients that these refuse are cut off."""
        if self._child is not None:
            self._child.send_signal(signal.SIGHUP)

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port and files."""
        self.stop()
        self.start()

    def _prepared(self) -> Command:
        program = find_mosquitto()
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(self._configuration() + self._extra_configuration)
        return Command([program, "-c", configuration], _environment(program))

    def _is_ready(self, log: bytes) -> bool:
        return b" running\n" in log

    def _last_words(self, lines: list[str]) -> str:
        # Of an error in its configuration the cause and the place are two lines.
        return " ".join(line.partition(": ")[2] for line in lines[-2:]) or "it wrote no log"

    def _configuration(self) -> str:
        if self._site is None:
            return open_configuration(shipped_configuration(), self.port, self._directory, root=os.geteuid() == 0)
        text = (self._site.broker / "mosquitto.conf").read_text(encoding="utf-8")
        return replaced(text, {"listener": f"{self.port} 127.0.0.1"})


def _unpacked() -> Path:
    return Path(sys.prefix) / "mosquitto"


def _environment(program: Path) -> dict[str, str]:
    if not program.is_relative_to(_unpacked()):
        return dict(os.environ)
    libraries = sorted({str(library.parent) for library in _unpacked().rglob("lib*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
