"""Telemetry into a real InfluxDB under load while coordinator and database are killed: every sample stored once."""

import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import influx_peers
import pytest
from eventually import eventually
from influxd_fixture import make_database
from killed_peers import KilledPeers

from coordinator.telemetry.influx_server import InfluxServer
from testbed.private_influxd import PrivateInfluxd


class Peers(KilledPeers):
    """A publisher and a coordinator's intake; the InfluxDB behind it can be killed too."""

    def __init__(self, directory: Path, per_s: float) -> None:
        self.database = PrivateInfluxd(directory / "influxd")
        self.database.start()
        make_database(self.database.settings)
        super().__init__(directory, influx_peers.__file__, per_s=per_s, destination=(self.database.url,))

    def start(self, role: str) -> None:
        if role == "influxd":
            self.database.start()
        else:
            super().start(role)

    def kill(self, role: str) -> None:
        if role == "influxd":
            self.database.kill()
        else:
            super().kill(role)

    def values(self, statement: str) -> list[Any]:
        """The last column of all rows that InfluxDB answers."""
        with closing(InfluxServer(self.database.settings)) as server:
            (series,) = server.query(statement, timeout_s=30.0)
        return [row[-1] for each in series for row in each.values]

    def stored(self) -> int:
        """How many inferences InfluxDB has."""
        return sum(self.values("SELECT count(latency_ms) FROM inference"))

    def has_settled(self) -> bool:
        """Whether nothing waits anywhere."""
        return count(self.spool, "message") == 0 and count(self.store, "outgoing") == 0

    def close(self) -> None:
        super().close()
        self.database.stop()


def count(file: Path, table: str) -> int:
    with closing(sqlite3.connect(file, timeout=10.0)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def kill_under_load(directory: Path, kills: list[str], *, per_s: float, seed: int) -> None:
    """The whole experiment; what remains to be asserted holds for any kills."""
    moments = random.Random(seed)
    peers = Peers(directory, per_s)
    try:
        assert eventually(peers.stored)
        for role in kills:
            # Most come while telemetry flows all the way, some while the kill before is being recovered from.
            if moments.random() < 0.8:
                stored = peers.stored()
                assert eventually(lambda stored=stored: peers.stored() > stored, 30.0)
            time.sleep(moments.uniform(0.0, 1.0))
            peers.kill_and_restart(role, moments.uniform(0.0, 0.4))
        time.sleep(0.5)
        peers.end_publishing()
        assert eventually(peers.has_settled, 90.0)
        published, stored = dict(peers.published()), Counter(peers.values("SELECT request_id FROM inference"))
        assert len(published) > 100
        assert {name: times for name, times in stored.items() if times != 1} == {}
        assert {name for name, is_spooled in published.items() if is_spooled} - set(stored) == set()
        # A publisher that was killed between spooling and printing has one more.
        assert len(set(stored) - set(published)) <= kills.count("publish")
        assert peers.values("SELECT count(compute_ms) FROM stage") == [influx_peers.STAGES * len(stored)]
        assert peers.values("SELECT count(size_bytes) FROM transfer") == [len(stored)]
        if "publish" not in kills:
            assert peers.values("SELECT count(energy_j) FROM energy") == [len(stored) // influx_peers.ENERGY_EVERY]
        assert (count(peers.store, "dead_letter"), peers.values("SELECT mean(power_w) FROM energy")) == (0, [3.0])
    finally:
        peers.close()


def test_a_few_kills_of_coordinator_and_database_lose_and_double_nothing(tmp_path: Path) -> None:
    """Eight kills, each at a random moment."""
    kills = ["store", "influxd", "influxd", "store", "store", "influxd", "store", "influxd"]
    kill_under_load(tmp_path, kills, per_s=300.0, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_lose_and_double_nothing_in_influxdb(tmp_path: Path, seed: int) -> None:
    """Forty kills of coordinator, database and publisher in any order, at a higher rate."""
    kills = random.Random(seed).choices(["store", "influxd", "publish"], k=40)
    kill_under_load(tmp_path, kills, per_s=500.0, seed=seed)
