"""What a whole coordinator keeps of its site, in a file or in an InfluxDB."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from eventually import eventually
from fake_fleet import FakeAgent, coordinating
from msgspec.structs import replace

from broker.mosquitto import PrivateMosquitto
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings, InfluxSettings

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def settings(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path, zoo_model: Callable[..., Path]
) -> CoordinatorSettings:
    return CoordinatorSettings(
        site=site,
        name="hub",
        broker=mosquitto.settings,
        store=tmp_path / "telemetry.sqlite",
        cache=tmp_path / "cache",
        http=HttpSettings(port=0),
        deployments=(DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi"),),
    )


def rows(settings: CoordinatorSettings, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(settings.store, timeout=10.0)) as connection:
        return connection.execute(query).fetchall()


def test_who_comes_and_goes_is_kept_once(settings: CoordinatorSettings) -> None:
    """A coordinator that starts again hears the same births, profiles and plans, which the broker has kept."""
    with FakeAgent(settings.broker, settings.site, "pi") as pi:
        for _ in range(2):
            plans = len(pi.plans)
            with coordinating(settings):
                assert eventually(lambda: pi.notices)
                pi.profile(pi.notices[-1].model)
                assert eventually(lambda plans=plans: len(pi.plans) > plans)
        with coordinating(settings) as coordinator:
            assert eventually(lambda: coordinator.state.deployments["photos"].plan is not None)
            assert eventually(lambda: coordinator.state.nodes)
    assert rows(settings, "SELECT kind, node, reporter FROM v_event WHERE kind = 'birth'") == [("birth", "pi", "pi")]
    assert rows(settings, "SELECT node, ops FROM v_profile") == [("pi", 65)]
    assert rows(settings, "SELECT epoch FROM v_plan") == [(1,)]


def test_refusals_and_deaths_are_kept(settings: CoordinatorSettings) -> None:
    """Each under whom it is about, with who noticed it."""
    with coordinating(settings) as coordinator:
        with FakeAgent(settings.broker, settings.site, "pi") as pi:
            assert eventually(lambda: pi.notices)
            pi.profile(pi.notices[0].model)
            assert eventually(lambda: pi.plans)
            pi.refuse(pi.plans[-1].epoch, "no room")
            pi.is_ready(pi.plans[-1].epoch)
        assert eventually(lambda: not coordinator.state.nodes["pi"].online)
    assert rows(settings, "SELECT kind, node, deployment, reporter, text FROM v_event WHERE kind != 'birth'") == [
        ("refusal", "pi", "photos", "pi", "no room"),
        ("death", "pi", None, "hub", "went"),
    ]


def test_a_coordinator_keeps_its_telemetry_in_an_influxdb(
    settings: CoordinatorSettings, influx_settings: InfluxSettings
) -> None:
    """The status answers from there, and says where it is."""
    with (
        coordinating(replace(settings, influxdb=influx_settings)) as coordinator,
        FakeAgent(settings.broker, settings.site, "pi") as pi,
    ):
        assert eventually(lambda: pi.notices)
        pi.inference("r1", 80.0)
        pi.energy(1, 4.0)
        assert eventually(lambda: coordinator.status().deployments[0].last_minute.count == 1)
        assert eventually(lambda: coordinator.status().nodes[0].power)
        status = coordinator.status()
        assert status.deployments[0].last_minute.latency_p50_ms == 80.0
        assert status.store is not None
        assert (status.store.kind, status.store.obstacle) == ("influxdb", None)
        assert influx_settings.database in status.store.where
