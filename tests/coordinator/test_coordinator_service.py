"""The whole coordinator over a real Mosquitto, with agents that are plain sessions."""

import hashlib
import sqlite3
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from eventually import eventually
from fake_fleet import FakeAgent, coordinating

from broker.errors import ConnectionFailedError
from broker.messages import PROTOCOL_VERSION, Plan
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.sign_in import BrokerSettings
from broker.topics import DEPLOYMENT, PLAN
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HttpSettings, LeadershipSettings
from coordinator.errors import DeclarationError, ListenError, StoreError
from coordinator.service import Coordinator
from coordinator.suspicions import FIRST_PATIENCE_S

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def settings(
    mosquitto: PrivateMosquitto, site: str, tmp_path: Path, zoo_model: Callable[..., Path]
) -> CoordinatorSettings:
    return settings_for(mosquitto.settings, site, tmp_path, zoo_model("mobilenetv2"))


def settings_for(broker: BrokerSettings, site: str, directory: Path, model: Path) -> CoordinatorSettings:
    return CoordinatorSettings(
        site=site,
        broker=broker,
        store=directory / "telemetry.sqlite",
        cache=directory / "cache",
        http=HttpSettings(port=0),
        deployments=(DeploymentSettings(name="photos", model=model, origin="pi"),),
    )


def nodes_of(plan: Plan) -> list[str]:
    return [stage.node for stage in plan.stages]


def test_a_site_is_planned_and_its_plan_follows_the_links(settings: CoordinatorSettings) -> None:
    """Announced, fetched, planned on the origin, then split, and taken back when the link drops."""
    with (
        coordinating(settings),
        FakeAgent(settings.broker, settings.site, "pi") as pi,
        FakeAgent(settings.broker, settings.site, "pc") as pc,
    ):
        assert eventually(lambda: pi.notices)
        model = pi.notices[0].model
        with urllib.request.urlopen(model.url) as answer:
            content = answer.read()
        assert hashlib.sha256(content).hexdigest() == model.sha256
        assert len(content) == model.size_bytes
        pi.profile(model)
        assert eventually(lambda: pi.plans)
        assert nodes_of(pi.plans[0]) == ["pi"]
        assert pi.plans[0].epoch == 1
        pc.profile(model)
        pi.link("pc", 500.0)
        pc.link("pi", 500.0)
        assert eventually(lambda: "pc" in nodes_of(pi.plans[-1]))
        pi.link("pc", 0.1)
        assert eventually(lambda: nodes_of(pi.plans[-1]) == ["pi"])
        assert "fell from 500 to 0.1 Mbit/s" in pi.plans[-1].reason
        pi.link("pc", 500.0)
        assert eventually(lambda: "pc" in nodes_of(pi.plans[-1]))
        epoch = pi.plans[-1].epoch
        pc.refuse(epoch, "disk full")
        assert eventually(lambda: nodes_of(pi.plans[-1]) == ["pi"])
        epochs = [plan.epoch for plan in pi.plans]
        assert epochs == sorted(set(epochs))


def test_the_death_of_a_node_is_planned_around(settings: CoordinatorSettings) -> None:
    """An agent that leaves takes its stages with it."""
    with coordinating(settings), FakeAgent(settings.broker, settings.site, "pi") as pi:
        with FakeAgent(settings.broker, settings.site, "pc") as pc:
            assert eventually(lambda: pi.notices)
            model = pi.notices[0].model
            pi.profile(model)
            pc.profile(model)
            pi.link("pc", 500.0)
            pc.link("pi", 500.0)
            assert eventually(lambda: pi.plans and "pc" in nodes_of(pi.plans[-1]))
        assert eventually(lambda: nodes_of(pi.plans[-1]) == ["pi"])
        assert pi.plans[-1].reason == "pc is offline"


def test_a_restarted_coordinator_goes_on_where_it_ended(settings: CoordinatorSettings) -> None:
    """The retained plan is read before anything is planned: a good plan stays, and epochs rise."""
    settings = msgspec.structs.replace(settings, http=HttpSettings(port=0, advertise="http://127.0.0.1:8484"))
    with FakeAgent(settings.broker, settings.site, "pi") as pi:
        with coordinating(settings):
            assert eventually(lambda: pi.notices)
            pi.profile(pi.notices[0].model)
            assert eventually(lambda: pi.plans)
        with coordinating(settings) as coordinator:
            assert eventually(lambda: coordinator.state.deployments["photos"].evaluation)
            assert coordinator.state.deployments["photos"].plan == pi.plans[0]
            assert {plan.epoch for plan in pi.plans} == {1}
            with FakeAgent(settings.broker, settings.site, "pc") as pc:
                pc.profile(pi.notices[0].model)
                pi.link("pc", 500.0)
                pc.link("pi", 500.0)
                assert eventually(lambda: pi.plans[-1].epoch == 2)


def test_a_broker_that_forgot_everything_is_told_again(
    site: str, tmp_path: Path, zoo_model: Callable[..., Path]
) -> None:
    """After a reconnect the notice and the plan in force are published anew, and epochs go on."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with PrivateMosquitto(tmp_path / "first") as first:
        port = first.port
        settings = settings_for(first.settings, site, tmp_path, zoo_model("mobilenetv2"))
        with coordinating(settings):
            with FakeAgent(settings.broker, site, "pi") as pi:
                assert eventually(lambda: pi.notices)
                pi.profile(pi.notices[0].model)
                assert eventually(lambda: pi.plans)
            first.stop()
            with (
                PrivateMosquitto(tmp_path / "second", port=port) as second,
                FakeAgent(second.settings, site, "laptop") as other,
            ):
                assert eventually(lambda: other.notices and other.plans, 60.0)
                assert other.plans[0].epoch == 1


def test_epochs_go_on_when_the_broker_forgot_and_the_coordinator_was_away(
    site: str, tmp_path: Path, zoo_model: Callable[..., Path]
) -> None:
    """After a power cut the store still knows the plan, which agents may still hold: it is said again as it was."""
    plans: list[Plan] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with PrivateMosquitto(tmp_path / name) as broker:
            settings = settings_for(broker.settings, site, tmp_path, zoo_model("mobilenetv2"))
            with coordinating(settings), FakeAgent(settings.broker, site, "pi") as pi:
                assert eventually(lambda: pi.notices)  # used up before the next round
                pi.profile(pi.notices[0].model)
                assert eventually(lambda: pi.plans)  # used up before the next round
                plans.append(pi.plans[-1])
    assert plans[1].epoch == plans[0].epoch == 1
    assert plans[1].created_at == plans[0].created_at
    assert plans[1].term > plans[0].term


def test_what_store_and_broker_have_both_lost_the_agents_tell(settings: CoordinatorSettings) -> None:
    """Births tell the highest term, the origin's reports the highest epoch: the next plan counts with the agents."""
    with coordinating(settings), FakeAgent(settings.broker, settings.site, "pi", term=7) as pi:
        assert eventually(lambda: [notice for notice in pi.notices if notice.term > 7])
        pi.is_ready(17)
        pi.profile(pi.notices[-1].model)
        assert eventually(lambda: [plan for plan in pi.plans if (plan.term, plan.epoch) == (8, 18)])


def test_another_protocol_is_shown_and_never_planned(settings: CoordinatorSettings) -> None:
    """A node of another version is in the status with the reason."""
    with (
        coordinating(settings) as coordinator,
        FakeAgent(settings.broker, settings.site, "pc", protocol=PROTOCOL_VERSION + 1),
    ):
        assert eventually(lambda: "pc" in coordinator.state.nodes)
        (node,) = coordinator.status().nodes
        assert node.online
        assert node.refused is not None
        assert f"speaks protocol {PROTOCOL_VERSION}" in node.refused


def test_nobody_speaks_in_the_name_of_another(settings: CoordinatorSettings) -> None:
    """A message under another node's topic is dropped."""
    with coordinating(settings) as coordinator, FakeAgent(settings.broker, settings.site, "pi") as pi:
        pi.link_in_the_name_of("laptop", "pc", 0.001)
        pi.link("pc", 5.0)
        assert eventually(lambda: coordinator.state.links)
        assert list(coordinator.state.links) == [("pi", "pc")]


def test_a_retained_link_counts_as_old(settings: CoordinatorSettings) -> None:
    """Nobody knows the age of what the broker has kept, whatever its node's clock says: it is believed less."""
    with FakeAgent(settings.broker, settings.site, "pi") as pi:
        pi.link("pc", 5.0)
        with coordinating(settings) as coordinator:
            assert eventually(lambda: coordinator.state.links)
            (link,) = coordinator.status().links
            assert 60.0 <= link.age_s < 80.0
            pi.link("pc", 5.0)
            assert eventually(lambda: coordinator.status().links[0].age_s < 10.0)


def test_a_nodes_load_moves_the_plan(settings: CoordinatorSettings) -> None:
    """What a node says of its load is believed, shown and planned by."""
    with (
        coordinating(settings) as coordinator,
        FakeAgent(settings.broker, settings.site, "pi") as pi,
        FakeAgent(settings.broker, settings.site, "pc") as pc,
    ):
        assert eventually(lambda: pi.notices)
        pi.profile(pi.notices[0].model)
        pc.profile(pi.notices[0].model)
        pi.link("pc", 500.0)
        pc.link("pi", 500.0)
        assert eventually(lambda: pi.plans and "pc" in nodes_of(pi.plans[-1]))
        pc.load(0.98)
        assert eventually(lambda: nodes_of(pi.plans[-1]) == ["pi"])
        assert "load of pc rose from 0% to 98%" in pi.plans[-1].reason
        loads = {node.name: (node.load, node.load_emulated) for node in coordinator.status().nodes}
        assert loads["pi"] == (0.0, False)
        assert loads["pc"] == (pytest.approx(0.98, abs=0.01), True)


def test_telemetry_is_stored(settings: CoordinatorSettings) -> None:
    """Energy, links, inferences, plans and node events end up in the store's file, and in the status."""
    with coordinating(settings) as coordinator, FakeAgent(settings.broker, settings.site, "pi") as pi:
        assert eventually(lambda: pi.notices)
        pi.profile(pi.notices[0].model)
        pi.link("pc", 5.0)
        pi.energy(1, 4.0)
        pi.inference("r1", 80.0)
        pi.inference("r2", 0.0, error="pc did not answer")
        assert eventually(lambda: pi.plans)
        assert eventually(lambda: coordinator.status().deployments[0].last_minute.count == 2)
        assert eventually(lambda: coordinator.status().nodes[0].power)
        status = coordinator.status()
        assert status.deployments[0].last_minute.latency_p50_ms == 80.0
        assert status.deployments[0].last_failure == "pc did not answer"
        assert status.nodes[0].power[0].source == "modelled"
    with closing(sqlite3.connect(settings.store)) as connection:
        for table in ("energy", "link", "inference", "plan", "plan_stage", "event"):
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert count > 0, table


def test_a_second_coordinator_on_the_same_store_is_refused(settings: CoordinatorSettings) -> None:
    """It says so at once, and the first goes on."""
    with coordinating(settings), pytest.raises(StoreError, match="another coordinator uses this store"):
        Coordinator(settings, lambda before, after: None).__enter__()


def test_a_broker_that_is_not_there_is_an_error(
    settings: CoordinatorSettings, tmp_path: Path, zoo_model: Callable[..., Path]
) -> None:
    """The coordinator does not start without its broker, and leaves nothing open."""
    nowhere = BrokerSettings(port=1, start_timeout_s=0.2)
    with (
        pytest.raises(ConnectionFailedError, match="no MQTT broker listens there"),
        Coordinator(settings_for(nowhere, "nowhere", tmp_path, zoo_model("mobilenetv2")), lambda before, after: None),
    ):
        pytest.fail("it started")


def test_an_address_that_nobody_could_guess_must_be_given(settings: CoordinatorSettings) -> None:
    """Listening on every interface says nothing of where agents find it."""
    tokens = settings.store.with_name("tokens")
    tokens.write_text(f"pi {'0' * 64}\n")
    everywhere = settings_with_http(settings, HttpSettings(host="0.0.0.0", port=0, tokens_file=tokens))
    with (
        pytest.raises(DeclarationError, match=r"give http\.advertise"),
        Coordinator(everywhere, lambda before, after: None),
    ):
        pytest.fail("it started")


def test_an_advertised_address_is_what_agents_are_told(settings: CoordinatorSettings) -> None:
    """The models' URLs begin with `http.advertise`."""
    advertised = settings_with_http(settings, HttpSettings(port=0, advertise="http://pc.local:8484/splitrail/"))
    with coordinating(advertised) as coordinator:
        url = coordinator.state.deployments["photos"].declared.model.reference.url
    assert url.startswith("http://pc.local:8484/splitrail/models/")


def test_a_lease_shorter_than_two_heartbeats_is_refused(settings: CoordinatorSettings) -> None:
    """One sign of life that comes late would cost the lead."""
    hasty = msgspec.structs.replace(settings, leadership=LeadershipSettings(heartbeat_s=2.0, lease_s=3.0))
    with (
        pytest.raises(DeclarationError, match=r"leadership\.lease_s is 3, it must be at least twice"),
        Coordinator(hasty, lambda before, after: None),
    ):
        pytest.fail("it started")


def test_a_coordinator_that_leads_says_so(settings: CoordinatorSettings) -> None:
    """A lone one leads after a moment, under the next term at each start."""
    for term in (1, 2):
        with coordinating(settings) as coordinator:
            assert eventually(lambda c=coordinator: c.status().leadership.state == "leads")
            leadership = coordinator.status().leadership
            assert leadership is not None
            assert (leadership.term, leadership.leader) == (term, "coordinator")


def test_a_stale_plan_and_notice_are_corrected(settings: CoordinatorSettings) -> None:
    """What a coordinator that was succeeded still sends does not stay on the broker."""
    with coordinating(settings), FakeAgent(settings.broker, settings.site, "pi") as pi:
        assert eventually(lambda: pi.notices)
        pi.profile(pi.notices[0].model)
        assert eventually(lambda: pi.plans)
        plan, notice = pi.plans[-1], pi.notices[-1]
        with Session(settings.broker, site=settings.site, client_id=f"{settings.site}-stale") as stale:
            stale.publish(PLAN, msgspec.structs.replace(plan, term=0, epoch=9, reason="stale"), "photos")
            stale.publish(DEPLOYMENT, msgspec.structs.replace(notice, term=0), "photos")
            assert eventually(lambda: [each.reason for each in pi.plans[-2:]] == ["stale", plan.reason])
            assert pi.plans[-1] == plan
            assert eventually(lambda: [each.term for each in pi.notices[-2:]] == [0, notice.term])


def test_telemetry_that_waited_is_stored_and_says_nothing_of_the_present(settings: CoordinatorSettings) -> None:
    """A backlog of failures an hour old is no reason to plan anew."""
    with coordinating(settings) as coordinator, FakeAgent(settings.broker, settings.site, "pi") as pi:
        assert eventually(lambda: pi.notices)
        pi.inference("old", 0.0, error="long ago", age_s=3_600.0)
        pi.inference("new", 80.0)
        assert eventually(lambda: stored_requests(settings) == {"old", "new"})
        assert coordinator.state.deployments["photos"].traffic.inferences == 1
        assert coordinator.state.deployments["photos"].last_failure is None


def stored_requests(settings: CoordinatorSettings) -> set[str]:
    with closing(sqlite3.connect(settings.store)) as connection:
        return {row[0] for row in connection.execute("SELECT request_id FROM inference")}


def test_a_miss_is_planned_around(settings: CoordinatorSettings) -> None:
    """From the origin's word over the broker to a plan without the suspect, and back when it is heard."""
    with (
        coordinating(settings) as coordinator,
        FakeAgent(settings.broker, settings.site, "pi") as pi,
        FakeAgent(settings.broker, settings.site, "pc") as pc,
    ):
        assert eventually(lambda: pi.notices)
        for agent in (pi, pc):
            agent.profile(pi.notices[0].model)
        pi.link("pc", 500.0)
        pc.link("pi", 500.0)
        assert eventually(lambda: pi.plans and "pc" in nodes_of(pi.plans[-1]))
        pi.miss("pc")
        assert eventually(lambda: nodes_of(pi.plans[-1]) == ["pi"])
        assert pi.plans[-1].reason == "pi waited 310 ms for pc, 120 ms allowed"
        # A plan is out a moment before the status tells why.
        assert eventually(lambda: "pc" in coordinator.status().deployments[0].left_out)
        patience_over = time.monotonic() + FIRST_PATIENCE_S + 0.5
        assert eventually(lambda: time.monotonic() > patience_over)
        assert nodes_of(pi.plans[-1]) == ["pi"]
        pc.energy(1, 4.0)
        assert eventually(lambda: "pc" in nodes_of(pi.plans[-1]))


def test_a_port_that_is_taken_is_an_error(settings: CoordinatorSettings) -> None:
    """Two coordinators cannot serve on one port."""
    with coordinating(settings) as coordinator:
        port = int(coordinator.url.rpartition(":")[2])
        with (
            pytest.raises(ListenError, match="Address already in use"),
            Coordinator(settings_with_http(settings, HttpSettings(port=port)), lambda before, after: None),
        ):
            pytest.fail("it started")


def settings_with_http(settings: CoordinatorSettings, http: HttpSettings) -> CoordinatorSettings:
    return CoordinatorSettings(
        site=settings.site,
        broker=settings.broker,
        store=settings.store,
        cache=settings.cache,
        http=http,
        deployments=settings.deployments,
    )
