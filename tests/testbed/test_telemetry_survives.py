"""Telemetry under load while broker, publisher and store are killed at random: nothing lost, nothing doubled."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import telemetry_peers
from eventually import eventually

from broker.mosquitto import PrivateMosquitto
from broker.server_process import ends_with_parent


class Peers:
    """A broker of its own, one publisher and one store, each of which can be killed and started again."""

    def __init__(self, directory: Path, per_s: float) -> None:
        self.spool, self.store, self.printed = directory / "spool", directory / "store", directory / "printed"
        self.broker = PrivateMosquitto(directory / "mosquitto")
        self.broker.start()
        self._per_s = per_s
        self._output = self.printed.open("ab")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.start("store")
        self.start("publish")

    def start(self, role: str) -> None:
        arguments = [str(self.spool), str(self._per_s)] if role == "publish" else [str(self.store)]
        self._running[role] = subprocess.Popen(
            [sys.executable, telemetry_peers.__file__, role, str(self.broker.port), *arguments],
            stdin=subprocess.PIPE,
            stdout=self._output,
            preexec_fn=ends_with_parent(),  # noqa: PLW1509  # two system calls, which take no lock
        )

    def kill_and_restart(self, role: str, away_s: float) -> None:
        if role == "broker":
            self.broker.kill()
            time.sleep(away_s)
            self.broker.start()
            return
        self._kill(role)
        time.sleep(away_s)
        self.start(role)

    def end_publishing(self) -> None:
        """Let the publisher publish no more; it stays, to send what is not stored."""
        stdin = self._running["publish"].stdin
        assert stdin is not None
        stdin.close()

    def published(self) -> list[tuple[str, bool]]:
        """What the publishers printed: ids, and whether they had been spooled then."""
        return [(line.split()[0], line.endswith("spooled")) for line in self.printed.read_text().splitlines()]

    def stored(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT request_id FROM inference")]

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.store, timeout=10.0)) as connection:
            return connection.execute(query).fetchall()

    def waiting(self) -> int:
        with closing(sqlite3.connect(self.spool, timeout=10.0)) as connection:
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])

    def close(self) -> None:
        for role in list(self._running):
            self._kill(role)
        self.broker.stop()
        self._output.close()

    def _kill(self, role: str) -> None:
        process = self._running.pop(role)
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


def kill_under_load(directory: Path, kills: list[str], *, per_s: float, seed: int) -> None:
    """The whole experiment; what remains to be asserted holds for any kills."""
    moments = random.Random(seed)
    peers = Peers(directory, per_s)
    try:
        assert eventually(lambda: peers.store.exists() and peers.printed.stat().st_size > 0)
        for role in kills:
            time.sleep(moments.uniform(0.3, 1.5))
            peers.kill_and_restart(role, moments.uniform(0.0, 0.5))
        so_far = len(peers.published())
        assert eventually(lambda: len(peers.published()) > so_far + 100, 60.0)
        peers.end_publishing()
        assert eventually(lambda: peers.waiting() == 0, 60.0)
        published, stored = dict(peers.published()), peers.stored()
        assert len(stored) == len(set(stored))
        assert {name for name, is_spooled in published.items() if is_spooled} - set(stored) == set()
        # A publisher that was killed between spooling and printing has one more.
        assert len(set(stored) - set(published)) <= kills.count("publish")
        # Every number of every run is there: none is missing and none was given up.
        assert peers.rows("SELECT count(*) FROM ledger WHERE ahead <> '[]' OR skipped <> 0") == [(0,)]
        assert peers.rows("SELECT sum(contiguous), sum(stored) FROM ledger") == [(len(stored), len(stored))]
    finally:
        peers.close()


def test_a_few_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Broker, publisher and store are each killed once, and the store twice in a row."""
    kill_under_load(tmp_path, ["broker", "publish", "store", "store"], per_s=300.0, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    """Thirty kills in any order, at a higher rate."""
    kills = random.Random(seed).choices(["broker", "publish", "store"], k=30)
    kill_under_load(tmp_path, kills, per_s=500.0, seed=seed)
