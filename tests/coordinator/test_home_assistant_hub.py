"""Entities that are announced over a real Mosquitto, to a Home Assistant that is a reader of a locked site."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from eventually import eventually
from fake_fleet import FakeAgent, coordinating
from made_site import birth_message, declared, folded, received
from messages_to_count import plan, reading
from secured_site import SITE, make_secured_site

from broker.messages import EnergyReading
from broker.mosquitto import PrivateMosquitto
from broker.session import Session
from broker.site_broker import reload_broker
from broker.site_directory import SiteDirectory
from coordinator import home_assistant_hub
from coordinator.configuration import CoordinatorSettings, DeploymentSettings, HomeAssistantSettings, HttpSettings
from coordinator.home_assistant_hub import HomeAssistantHub
from coordinator.http_tokens import Tokens
from coordinator.site import State

pytestmark = pytest.mark.usefixtures("nothing_left")

STATE = folded([declared(), *received(birth_message("pi"), birth_message("laptop"), plan(3))])
ENTITIES = {"pi: Agent", "laptop: Agent", "photos: Latency", "photos: Split"}
WANTED = HomeAssistantSettings()
METERED = ENTITIES | {"pi: Power, measured (rapl, board)", "pi: Energy, measured (rapl, board)"}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the next look."""
    monkeypatch.setattr(home_assistant_hub, "LOOK_S", 0.0)


@pytest.fixture
def site(tmp_path: Path) -> SiteDirectory:
    """A locked site with a reader for Home Assistant; its broker does not run yet."""
    made = make_secured_site(tmp_path / "site")
    made.add_reader("hub")
    return made


@pytest.fixture
def broker(site: SiteDirectory, tmp_path: Path) -> Iterator[PrivateMosquitto]:
    """Its broker."""
    with PrivateMosquitto(tmp_path / "mosquitto", site=site) as running:
        yield running


class HomeAssistant:
    """What a Home Assistant has heard: every discovery message, and the entities that there are by the last of each."""

    def __init__(self, site: SiteDirectory) -> None:
        self.heard: list[str] = []
        self.there: dict[str, bytes] = {}
        self._session = Session(site.broker_settings("hub"), site=SITE, client_id="home-assistant")
        self._session.on_foreign("homeassistant/#", self._hear)
        # Past the session, which leaves out the empty message by which an entity is removed.
        client = self._session._connection._client
        client.on_message = lambda _client, _data, raw: self._hear(raw.topic, bytes(raw.payload))

    def __enter__(self) -> "HomeAssistant":
        self._session.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def be_born(self) -> None:
        self._session.publish_foreign("homeassistant/status", b"online", retain=False)

    @property
    def entities(self) -> set[str]:
        told = (json.loads(payload) for payload in list(self.there.values()))
        return {f"{each['device']['name']}: {each['name']}" for each in told}

    def _hear(self, topic: str, payload: bytes) -> None:
        if not topic.endswith("/config"):
            return
        self.heard.append(topic)
        if payload:
            self.there[topic] = payload
        else:
            self.there.pop(topic, None)


class Announcer:
    """A coordinator's session and hub, which look at the site again and again on a thread."""

    def __init__(
        self,
        site: SiteDirectory,
        settings: HomeAssistantSettings | None = WANTED,
        readings: Iterable[EnergyReading] = (),
    ) -> None:
        self.state: State = STATE
        self.session = Session(site.broker_settings("coordinator"), site=SITE, client_id="coordinator")
        tokens = Tokens(site.path / "coordinator/tokens")
        self.readings = readings
        self.hub = HomeAssistantHub(self.session, SITE, settings, members=tokens.names, readings=lambda: self.readings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.hub.follow(self.state)

    def __enter__(self) -> "Announcer":
        self.session.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.session.close()


@pytest.mark.usefixtures("broker")
def test_entities_are_announced_and_kept_for_who_comes_later(site: SiteDirectory) -> None:
    """Each once, as long as nothing changes."""
    with HomeAssistant(site) as hub, Announcer(site, readings=[reading("pi", "rapl")]):
        assert eventually(lambda: hub.entities == METERED)
        assert len(hub.heard) == len(METERED)
    with HomeAssistant(site) as later:
        assert eventually(lambda: later.entities == METERED)


@pytest.mark.usefixtures("broker")
def test_they_are_sent_again_at_the_birth_of_the_hub(site: SiteDirectory) -> None:
    """It may have started with another broker's memory than ours."""
    with HomeAssistant(site) as hub, Announcer(site):
        assert eventually(lambda: hub.entities == ENTITIES)
        hub.heard.clear()
        hub.be_born()
        assert eventually(lambda: len(hub.heard) == len(ENTITIES))
        assert len(set(hub.heard)) == len(ENTITIES)


def test_they_are_sent_again_at_every_connection(site: SiteDirectory, broker: PrivateMosquitto) -> None:
    """A broker that was killed may have forgotten them."""
    with Announcer(site), HomeAssistant(site) as hub:
        assert eventually(lambda: hub.entities == ENTITIES)
        hub.heard.clear()
        broker.kill()
        (site.broker / "data/mosquitto.db").unlink(missing_ok=True)
        broker.start()
        assert eventually(lambda: set(hub.heard) == hub.there.keys(), 60.0)


def test_a_node_that_is_shut_out_vanishes(site: SiteDirectory, broker: PrivateMosquitto) -> None:
    """With its meters; the others stay as they are."""
    with HomeAssistant(site) as hub, Announcer(site, readings=[reading("pi", "rapl")]):
        assert eventually(lambda: hub.entities == METERED)
        site.revoke("pi")
        assert reload_broker(site)
        assert eventually(lambda: hub.entities == {name for name in ENTITIES if not name.startswith("pi:")})


@pytest.mark.usefixtures("broker")
def test_what_an_earlier_run_announced_is_cleared_by_the_next(site: SiteDirectory) -> None:
    """A node that was shut out meanwhile, and everything once the option is turned off."""
    with Announcer(site), HomeAssistant(site) as hub:
        assert eventually(lambda: hub.entities == ENTITIES)
    site.revoke("laptop")
    with Announcer(site), HomeAssistant(site) as hub:
        assert eventually(lambda: hub.entities == ENTITIES - {"laptop: Agent"})
    with HomeAssistant(site) as hub:
        assert eventually(lambda: hub.entities == ENTITIES - {"laptop: Agent"})
        with Announcer(site, settings=None):
            assert eventually(lambda: not hub.entities)


@pytest.mark.usefixtures("broker")
def test_a_large_site_is_announced_in_portions(site: SiteDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each leaves room for plans among what waits for the broker; in the end all is told."""
    monkeypatch.setattr(home_assistant_hub, "LOOK_S", 3_600.0)
    monkeypatch.setattr(home_assistant_hub, "MOST_AT_ONCE", 1)
    with HomeAssistant(site) as hub, Announcer(site, readings=[reading("pi", "rapl")]):
        assert eventually(lambda: hub.entities == METERED)
        assert len(hub.heard) == len(METERED)


@pytest.mark.usefixtures("broker")
def test_a_meter_that_falls_silent_is_moved_aside_until_it_speaks(
    site: SiteDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays announced, on a topic without messages."""
    monkeypatch.setattr(home_assistant_hub, "SETTLED_S", 0.0)
    with HomeAssistant(site) as hub, Announcer(site, readings=[reading("pi", "rapl")]) as announcer:

        def topics_of_meters() -> set[str]:
            told = [json.loads(payload) for payload in list(hub.there.values())]
            return {each["state_topic"] for each in told if "expire_after" in each}

        spoken = {f"splitrail/v1/{SITE}/nodes/pi/energy"}
        assert eventually(lambda: hub.entities == METERED and topics_of_meters() == spoken)
        announcer.readings = []
        assert eventually(lambda: not topics_of_meters() & spoken)
        assert hub.entities == METERED
        announcer.readings = [reading("pi", "rapl")]
        assert eventually(lambda: topics_of_meters() == spoken)


@pytest.mark.usefixtures("broker")
def test_what_changes_is_announced_anew(site: SiteDirectory) -> None:
    """And nothing else."""
    with HomeAssistant(site) as hub, Announcer(site) as announcer:
        assert eventually(lambda: hub.entities == ENTITIES)
        hub.heard.clear()
        birth = birth_message("pi", "s2")
        assert birth.announcement is not None
        emulated = msgspec.structs.replace(birth.announcement, emulated="a slower machine")
        announcer.state = folded(received(msgspec.structs.replace(birth, announcement=emulated)), STATE)
        assert eventually(lambda: "photos: Latency, emulated" in hub.entities)
        assert eventually(lambda: len(set(hub.heard)) == 3)  # the node's, and the deployment's two


def test_a_running_coordinator_announces_its_site(
    site: SiteDirectory, broker: PrivateMosquitto, tmp_path: Path, zoo_model: Callable[..., Path]
) -> None:
    """From what its nodes say, while it leads."""
    settings = CoordinatorSettings(
        site=SITE,
        broker=site.broker_settings("coordinator"),
        store=tmp_path / "telemetry.sqlite",
        cache=tmp_path / "cache",
        http=HttpSettings(port=0, tokens_file=site.path / "coordinator/tokens"),
        home_assistant=HomeAssistantSettings(),
        deployments=(DeploymentSettings(name="photos", model=zoo_model("mobilenetv2"), origin="pi"),),
    )
    with contextlib.ExitStack() as opened:
        hub = opened.enter_context(HomeAssistant(site))
        opened.enter_context(coordinating(settings))
        pi = opened.enter_context(FakeAgent(site.broker_settings("pi"), SITE, "pi"))
        assert eventually(lambda: hub.entities == {"pi: Agent", "photos: Latency", "photos: Split"})
        pi.energy(1, 3.0)
        assert eventually(lambda: "pi: Power, modelled (model, board)" in hub.entities)
