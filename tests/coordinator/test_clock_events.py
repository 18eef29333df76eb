"""A node whose clock is wrong, at a real coordinator: warned of once, recorded, and shown."""

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from eventually import eventually
from fake_fleet import FakeAgent, coordinating

from broker.messages import NodeLoad, SpoolMark
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.topics import LOAD
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings
from coordinator.service import Coordinator

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds are too long for a test."""
    monkeypatch.setattr("coordinator.clocks.WINDOW_S", 0.3)


def skew_of(coordinator: Coordinator) -> float | None:
    return next((node.clock_skew_s for node in coordinator.status().nodes if node.name == "pi"), None)


def clock_events(store: Path) -> list[tuple[str, float]]:
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT node, skew_s FROM v_event WHERE kind = 'clock' ORDER BY time_ns").fetchall()


def test_a_wrong_clock_is_warned_of_recorded_and_shown(
    mosquitto: PrivateMosquitto,
    site: str,
    tmp_path: Path,
    small_model: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once when it goes wrong and once when it is right again, however many readings tell of it."""
    store = tmp_path / "telemetry.sqlite"
    settings = CoordinatorSettings(
        site=site,
        broker=mosquitto.settings,
        store=store,
        cache=tmp_path / "models",
        http=HttpSettings(port=0),
        deployments=(DeploymentSettings(name="photos", model=small_model("branchy"), origin="pi"),),
    )
    with (
        caplog.at_level(logging.WARNING, "splitrail.coordinator"),
        coordinating(settings) as coordinator,
        FakeAgent(settings.broker, site, "pi") as pi,
        Session(settings.broker, site=site, client_id=f"{site}-spool") as session,
    ):
        numbers = iter(range(1, 10_000))

        def reads(ahead_s: float) -> None:
            mark = SpoolMark(session=pi.session_id, sequence=next(numbers), oldest=1, age_s=0.0)
            reading = NodeLoad(
                node="pi", session=pi.session_id, at=time.time() + ahead_s, load=0.1, load_std=0.0, mark=mark
            )
            session.publish(LOAD, reading, "pi")

        def is_known(ahead_s: float) -> bool:
            reads(ahead_s)
            skew_s = skew_of(coordinator)
            return skew_s is not None and abs(skew_s - ahead_s) < 0.4

        assert eventually(lambda: is_known(7.0))
        assert eventually(lambda: is_known(7.0) and len(clock_events(store)) == 1)
        assert eventually(lambda: is_known(0.0) and len(clock_events(store)) == 2)
    ((_, wrong), (_, right)) = clock_events(store)
    assert abs(wrong - 7.0) < 0.4
    assert abs(right) < 0.5
    warnings = [record.getMessage() for record in caplog.records if "the clock of pi" in record.getMessage()]
    assert len(warnings) == 2
    assert "ahead of this coordinator's: set it by NTP" in warnings[0]
    assert warnings[1].endswith("which is right enough again")
