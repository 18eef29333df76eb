"""A publisher and a store of telemetry as processes beside a broker of their own; each can be killed and restarted."""

import subprocess
import sys
import time
from pathlib import Path

from broker.mosquitto import PrivateMosquitto
from broker.server_process import ends_with_parent


class KilledPeers:
    """Runs `script publish` and `script store`, as telemetry_peers.py has them; `destination` follows the store."""

    def __init__(self, directory: Path, script: str, *, per_s: float, destination: tuple[str, ...] = ()) -> None:
        self.spool, self.store, self.printed = directory / "spool", directory / "store", directory / "printed"
        self.broker = PrivateMosquitto(directory / "mosquitto")
        self.broker.start()
        self._script = script
        self._arguments = {"publish": (str(self.spool), str(per_s)), "store": (str(self.store), *destination)}
        self._output = self.printed.open("ab")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.start("store")
        self.start("publish")

    def start(self, role: str) -> None:
        self._running[role] = subprocess.Popen(
            [sys.executable, self._script, role, str(self.broker.port), *self._arguments[role]],
            stdin=subprocess.PIPE,
            stdout=self._output,
            preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
        )

    def kill_and_restart(self, role: str, away_s: float) -> None:
        self.kill(role)
        time.sleep(away_s)
        self.start(role)

    def kill(self, role: str) -> None:
        process = self._running.pop(role)
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def end_publishing(self) -> None:
        """Let the publisher publish no more; it stays, to send what is not stored."""
        stdin = self._running["publish"].stdin
        assert stdin is not None
        stdin.close()

    def published(self) -> list[tuple[str, bool]]:
        """What the publishers printed: ids, and whether they had been spooled then."""
        return [(line.split()[0], line.endswith("spooled")) for line in self.printed.read_text().splitlines()]

    def close(self) -> None:
        for role in list(self._running):
            self.kill(role)
        self.broker.stop()
        self._output.close()
