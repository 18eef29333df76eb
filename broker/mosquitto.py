"""A private Mosquitto on a loopback port, for the demo and the tests: open, or with the locks of a site.

A site's own broker is the system's Mosquitto; nothing here touches it.
"""

import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.errors import MosquittoError
from broker.mosquitto_configuration import open_configuration, replaced, shipped_configuration
from broker.server_process import ServerProcess
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from broker.site_record import ADMIN

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0


def find_mosquitto() -> Path:
    """The Mosquitto to run: on PATH, in /usr/sbin (not on every user's PATH), or unpacked beside the environment."""
    on_path = shutil.which("mosquitto")
    candidates = [Path(on_path)] if on_path else []
    candidates += [Path("/usr/sbin/mosquitto"), _unpacked() / "usr/sbin/mosquitto"]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise MosquittoError(
        "Mosquitto is not installed: `sudo apt-get install mosquitto`, or `make mosquitto` without root"
    )


class PrivateMosquitto:
    """A Mosquitto of our own, which keeps its files in `directory` and ends with this process at the latest.

    It is open to everybody on this machine; with a `site` it admits the site's members alone, on the site's port.
    Entering starts it and waits until it accepts connections; MosquittoError says why it did not.
    Start it from the main thread: the kernel ends it with the thread that started it.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        extra_configuration: str = "",
        *,
        site: SiteDirectory | None = None,
    ) -> None:
        self._directory = directory
        self._site = site
        self._extra_configuration = extra_configuration
        self._process = ServerProcess(
            "Mosquitto",
            directory / "mosquitto.log",
            is_ready=lambda log: b" running\n" in log,
            failed=MosquittoError,
            last_words=_last_words,
            start_timeout_s=START_TIMEOUT_S,
            stop_timeout_s=STOP_TIMEOUT_S,
        )
        self.port = port or (free_port() if site is None else site.record.port)

    @property
    def settings(self) -> BrokerSettings:
        """How a session reaches it: of a site, as its administrator."""
        if self._site is not None:
            return self._site.broker_settings(ADMIN, host="127.0.0.1")
        return BrokerSettings(host="127.0.0.1", port=self.port)

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
        """Start it and wait until it accepts connections."""
        program = find_mosquitto()
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(self._configuration() + self._extra_configuration)
        self._process.start([program, "-c", configuration], _environment(program))

    def reload(self) -> None:
        """Have it read its configuration, passwords and access rules again; clients that these refuse are cut off."""
        self._process.send(signal.SIGHUP)

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._process.stop()

    def kill(self) -> None:
        """End it as a power cut would, without a last word to its clients."""
        self._process.kill()

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port and files."""
        self.stop()
        self.start()

    def _configuration(self) -> str:
        if self._site is None:
            return open_configuration(shipped_configuration(), self.port, self._directory, root=os.geteuid() == 0)
        text = (self._site.broker / "mosquitto.conf").read_text(encoding="utf-8")
        return replaced(text, {"listener": f"{self.port} 127.0.0.1"})


def _last_words(log: list[str]) -> str:
    """The end of its log; of an error in its configuration the cause and the place are two lines."""
    return " ".join(line.partition(": ")[2] for line in log[-2:]) or "it wrote no log"


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
