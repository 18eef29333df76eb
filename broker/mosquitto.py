"""A private Mosquitto on a loopback port, for the demo and the tests: open, or with the locks of a site.

A site's own broker is the system's Mosquitto; nothing here touches it.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.connection import BrokerSettings
from broker.errors import MosquittoError
from broker.mosquitto_configuration import open_configuration, replaced, shipped_configuration
from broker.site_directory import SiteDirectory
from broker.site_record import ADMIN

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec


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
        self._log_file = directory / "mosquitto.log"
        self._child: subprocess.Popen[bytes] | None = None
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
        return None if self._child is None else self._child.pid

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
        with self._log_file.open("ab") as log:
            log_start = log.tell()
            self._child = subprocess.Popen(
                [program, "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(program),
                start_new_session=True,  # the terminal's Ctrl-C is the parent's, which then stops its children in order
                preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
            )
        try:
            self._wait_until_it_runs(self._child, log_start)
        except BaseException:
            self.stop()
            raise

    def reload(self) -> None:
        """Have it read its configuration, passwords and access rules again; clients that these refuse are cut off."""
        if self._child is not None:
            self._child.send_signal(signal.SIGHUP)

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
        """End it as a power cut would, without a last word to its clients."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port and files."""
        self.stop()
        self.start()

    def _configuration(self) -> str:
        if self._site is None:
            return open_configuration(shipped_configuration(), self.port, self._directory, root=os.geteuid() == 0)
        text = (self._site.broker / "mosquitto.conf").read_text(encoding="utf-8")
        return replaced(text, {"listener": f"{self.port} 127.0.0.1"})

    def _wait_until_it_runs(self, child: subprocess.Popen[bytes], log_start: int) -> None:
        """Wait for its own word that it listens: a connection might reach another program on its port."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise MosquittoError(f"Mosquitto did not start: {self._last_words()} (log: {self._log_file})")
            if b" running\n" in self._log_file.read_bytes()[log_start:]:
                return
            time.sleep(0.02)
        raise MosquittoError(f"Mosquitto is not ready after {START_TIMEOUT_S:g} s (log: {self._log_file})")

    def _last_words(self) -> str:
        """The end of its log; of an error in its configuration the cause and the place are two lines."""
        lines = self._log_file.read_text(errors="replace").splitlines()
        return " ".join(line.partition(": ")[2] for line in lines[-2:]) or "it wrote no log"


def _unpacked() -> Path:
    return Path(sys.prefix) / "mosquitto"


def _environment(program: Path) -> dict[str, str]:
    if not program.is_relative_to(_unpacked()):
        return dict(os.environ)
    libraries = sorted({str(library.parent) for library in _unpacked().rglob("lib*.so*")})
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


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


def free_port() -> int:
    """A TCP port of the loopback that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
