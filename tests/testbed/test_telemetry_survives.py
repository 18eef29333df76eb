"""Telemetry under load while broker, publisher and store are killed at random: nothing lost, nothing doubled."""

import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import telemetry_peers
from eventually import eventually
from killed_peers import KilledPeers


class Peers(KilledPeers):
    """A publisher and an SQLite store; the broker between them can be killed too."""

    def __init__(self, directory: Path, per_s: float) -> None:
        super().__init__(directory, telemetry_peers.__file__, per_s=per_s)

    def start(self, role: str) -> None:
        if role == "broker":
            self.broker.start()
        else:
            super().start(role)

    def kill(self, role: str) -> None:
        if role == "broker":
            self.broker.kill()
        else:
            super().kill(role)

    def stored(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT request_id FROM inference")]

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.store, timeout=10.0)) as connection:
            return connection.execute(query).fetchall()

    def waiting(self) -> int:
        with closing(sqlite3.connect(self.spool, timeout=10.0)) as connection:
            return int(connection.execute("SELECT count(*) FROM message").fetchone()[0])


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
