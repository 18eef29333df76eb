"""Shutting a node out of a running broker: at once, for good, and forgotten by everybody."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from eventually import eventually
from messages_to_send import ANNOUNCEMENT, energy
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from secured_site import SITE, make_secured_site

from broker.connection import Connection
from broker.errors import ConnectionFailedError, SignInRefusedError, SiteError
from broker.messages import EnergyReading, LinkReading, NodeLoad, NodeStatus, SpoolReport
from broker.mosquitto import PrivateMosquitto
from broker.presence import agent_client_id, last_will, new_session_id
from broker.session import Incoming, Session
from broker.site_broker import await_exclusion, clear_traces, reload_broker, save_broker
from broker.site_directory import SiteDirectory
from broker.topics import ENERGY, LINK, LOAD, SPOOL, STATUS


@pytest.fixture
def secured(tmp_path: Path) -> SiteDirectory:
    """A site whose broker does not run yet."""
    return make_secured_site(tmp_path / "site")


@pytest.fixture
def running(secured: SiteDirectory, tmp_path: Path) -> Iterator[PrivateMosquitto]:
    """Its broker."""
    with PrivateMosquitto(tmp_path / "mosquitto", site=secured) as broker:
        yield broker


class Member:
    """A session of a member, what it has heard, and how often it was connected."""

    def __init__(self, site: SiteDirectory, name: str, client_id: str) -> None:
        self.session_id = new_session_id()
        will = last_will(name, self.session_id) if site.record.member(name).role == "node" else None
        self.session = Session(site.broker_settings(name), site=SITE, client_id=client_id, last_will=will)
        self.statuses: list[Incoming[NodeStatus]] = []
        self.readings: list[EnergyReading] = []
        self.connections = 0
        self.session.on(STATUS, self.statuses.append)
        self.session.on(ENERGY, lambda incoming: self.readings.append(incoming.message))
        self.session.on_connected(self._count)

    def _count(self) -> None:
        self.connections += 1

    def states_of(self, node: str) -> list[tuple[str, str]]:
        return [(each.message.session, each.message.state) for each in self.statuses if each.message.node == node]


def be_born(member: Member, name: str) -> None:
    birth = NodeStatus(node=name, session=member.session_id, state="online", announcement=ANNOUNCEMENT)
    member.session.publish(STATUS, birth, name)


def test_a_revoked_node_is_out_within_a_moment_and_the_others_stay(
    secured: SiteDirectory, running: PrivateMosquitto
) -> None:
    """It can neither say nor hear anything any more nor come back; its death is told to everybody, new ones too."""
    pi, laptop, coordinator = (Member(secured, name, name) for name in ("pi", "laptop", "coordinator"))
    with pi.session, laptop.session, coordinator.session:
        be_born(pi, "pi")
        be_born(laptop, "laptop")
        reading = LinkReading(
            src="pi", dst="laptop", at=1.0, rtt_ms=1.0, rtt_ms_std=0.0, mbps=1.0, mbps_std=0.0, method="probe"
        )
        pi.session.publish(LINK, reading, "pi", "laptop")
        laptop.session.publish(LINK, msgspec.structs.replace(reading, src="laptop", dst="pi"), "laptop", "pi")
        load = NodeLoad(node="pi", session=pi.session_id, at=1.0, load=0.5, load_std=0.0)
        pi.session.publish(LOAD, load, "pi")
        spool = SpoolReport(node="pi", session=pi.session_id, waiting=0, waiting_bytes=0, dropped=0)
        pi.session.publish(SPOOL, spool, "pi")
        pi.session.publish(ENERGY, energy(1), "pi")
        assert eventually(lambda: coordinator.readings)
        assert eventually(lambda: laptop.states_of("pi") == [(pi.session_id, "online")])

        secured.revoke("pi")
        assert reload_broker(secured)
        await_exclusion(secured, "pi")
        assert eventually(lambda: not pi.session.connected)
        assert clear_traces(secured, "pi") == 5  # its status, load, spool and link, and the link to it
        heard = len(pi.statuses)
        pi.session.publish(ENERGY, energy(2), "pi")
        be_born(laptop, "laptop")
        assert eventually(lambda: laptop.states_of("pi") == [(pi.session_id, "online"), (pi.session_id, "offline")])
        assert eventually(lambda: coordinator.states_of("pi")[-1] == (pi.session_id, "offline"))

        with pytest.raises(SignInRefusedError, match="refuses the user 'pi'"):
            Session(secured.broker_settings("pi"), site=SITE, client_id="again").start()
        assert not pi.session.connected
        assert len(pi.statuses) == heard
        assert [reading.sequence for reading in coordinator.readings] == [1]
        assert (laptop.connections, coordinator.connections) == (1, 1)

        late = Member(secured, "admin", "late")
        left: list[object] = []
        for topic in (LINK, LOAD, SPOOL):
            late.session.on(topic, left.append)
        with late.session:
            assert eventually(lambda: late.states_of("pi"))
            assert late.states_of("pi") == [(pi.session_id, "offline")]
            assert not left
    assert (secured.broker / "mosquitto.pid").read_text().strip() == str(running.pid)


def test_a_revocation_outlives_the_broker(secured: SiteDirectory, running: PrivateMosquitto) -> None:
    """It is in the files, so a restart does not let the node back in; its own traces do not come back either."""
    pi = Member(secured, "pi", "pi")
    with pi.session:
        be_born(pi, "pi")
        secured.revoke("pi")
        running.restart()
        await_exclusion(secured, "pi")
        assert clear_traces(secured, "pi") <= 1


def test_a_revoked_node_is_not_born_again_by_a_broker_that_was_killed(
    secured: SiteDirectory, running: PrivateMosquitto
) -> None:
    """Its birth, with the key that lets it in at its peers, is gone from the broker's disk too."""
    pi = Member(secured, "pi", "pi")
    with pi.session:
        be_born(pi, "pi")
        assert eventually(lambda: pi.states_of("pi"))
        assert save_broker(secured)
        secured.revoke("pi")
        assert reload_broker(secured)
        await_exclusion(secured, "pi")
        clear_traces(secured, "pi")
        assert save_broker(secured)
        running.kill()
        running.start()
    late = Member(secured, "admin", "late")
    with late.session:
        assert eventually(lambda: late.states_of("pi"))
        assert late.states_of("pi") == [(pi.session_id, "offline")]


def test_what_the_broker_keeps_for_a_revoked_node_is_dropped(secured: SiteDirectory, running: PrivateMosquitto) -> None:
    """Its session does not wait for it: Mosquitto would end it again at each reload, and crash when it runs out."""
    session_id = new_session_id()
    client_id = agent_client_id("pi", session_id)
    with Session(secured.broker_settings("pi"), site=SITE, client_id=client_id) as session:
        session.publish(STATUS, NodeStatus(node="pi", session=session_id, state="online"), "pi")
        secured.revoke("pi")
        assert reload_broker(secured)
        await_exclusion(secured, "pi")
        assert eventually(lambda: not session.connected)
        clear_traces(secured, "pi")
        assert not has_session(secured, client_id)


def has_session(site: SiteDirectory, client_id: str) -> bool:
    """Whether the broker holds a session under this identifier; it holds none any more then."""
    settings = site.broker_settings("admin")
    assert settings.password_file is not None
    found: list[bool] = []
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
    client.tls_set(str(settings.ca_file))
    client.username_pw_set("admin", settings.password_file.read_text().strip())
    client.on_connect = lambda _client, _data, flags, _reason, _properties: found.append(flags.session_present)
    client.connect(settings.host, settings.port, clean_start=False)
    client.loop_start()
    assert eventually(lambda: found)
    client.disconnect()
    client.loop_stop()
    return found[0]


def test_what_makes_no_sense_as_a_status_is_cleared(secured: SiteDirectory, running: PrivateMosquitto) -> None:
    """A node that left something else where its status belongs leaves nothing."""
    with Session(secured.broker_settings("pi"), site=SITE, client_id="pi") as session:
        session._connection.publish(STATUS.address(SITE, "pi"), b"nonsense", qos=1, retain=True)
    assert clear_traces(secured, "pi") == 1
    assert clear_traces(secured, "pi") == 0


def test_a_peer_that_goes_on_measuring_does_not_hide_what_is_cleared(
    secured: SiteDirectory, running: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next reading of the link to the node comes behind the clearing of the one before, and ahead of the last."""
    links = [LINK.address(SITE, peer, "pi") for peer in ("laptop", "pc")]
    measured_again: list[str] = []
    heard: list[tuple[str, bytes]] = []
    peers = Connection(
        secured.broker_settings("admin"),
        client_id="peers",
        will=None,
        on_connected=lambda: peers.subscribe(LINK.filter(SITE), qos=1),
        on_message=lambda message: heard.append((message.topic, bytes(message.payload))),
    )

    def measure(address: str) -> None:
        heard.clear()
        peers.publish(address, b"{}", qos=1, retain=True)
        assert eventually(lambda: (address, b"{}") in heard)

    class Measured(Connection):
        def publish(self, address: str, payload: bytes, **options: Any) -> bool:
            accepted = super().publish(address, payload, **options)
            if address in links and not measured_again:
                measured_again.append(address)
                assert eventually(lambda: (address, b"") in heard)
                measure(address)
            return accepted

    peers.start()
    try:
        for address in links:
            measure(address)
        monkeypatch.setattr("broker.site_broker.Connection", Measured)
        assert clear_traces(secured, "pi") == len(links)
    finally:
        peers.close()


def test_a_broker_that_was_not_told_is_noticed(
    secured: SiteDirectory, running: PrivateMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the running broker still lets the node in, that is an error which says what to do."""
    monkeypatch.setattr("broker.site_broker.RELOAD_TIMEOUT_S", 0.2)
    secured.revoke("pi")
    with pytest.raises(SiteError, match=r"still lets 'pi' in.*send it SIGHUP"):
        await_exclusion(secured, "pi")
    running.reload()
    await_exclusion(secured, "pi")


def test_without_a_broker_there_is_nobody_to_tell(secured: SiteDirectory) -> None:
    """No pid file, or one that a broker left behind: no process is signalled."""
    assert not reload_broker(secured)
    assert not save_broker(secured)
    (secured.broker / "mosquitto.pid").write_text(f"{os.getpid()}\n")
    assert not reload_broker(secured)
    with pytest.raises(ConnectionFailedError, match="no MQTT broker listens there"):
        await_exclusion(secured, "pi")


def test_only_a_mosquitto_is_signalled(secured: SiteDirectory) -> None:
    """SIGHUP ends most other programs: a wrong --pid is refused."""
    with pytest.raises(SiteError, match=f"process {os.getpid()} is no Mosquitto"):
        reload_broker(secured, os.getpid())


def test_a_member_with_new_secrets_needs_them(secured: SiteDirectory, running: PrivateMosquitto) -> None:
    """After a renewal the old password is good for nothing, and the new one is."""
    old = secured.broker_settings("pi")
    kept = secured.path / "old"
    kept.write_bytes((secured.directory_of("pi") / "password").read_bytes())
    secured.renew("pi")
    assert reload_broker(secured)

    def old_is_refused() -> bool:
        try:
            with Session(msgspec.structs.replace(old, password_file=kept), site=SITE, client_id="old"):
                return False
        except SignInRefusedError:
            return True

    assert eventually(old_is_refused)
    with Session(secured.broker_settings("pi"), site=SITE, client_id="pi") as session:
        assert session.connected


def test_new_server_certificates_take_effect_at_a_reload(secured: SiteDirectory, running: PrivateMosquitto) -> None:
    """For another name too, without a restart; who is connected stays."""
    with Session(secured.broker_settings("laptop"), site=SITE, client_id="laptop") as laptop:
        other = secured.broker_settings("pi", host="127.0.0.2")
        secured.renew_server(["127.0.0.1", "other.example"])
        assert reload_broker(secured)
        with Session(secured.broker_settings("pi"), site=SITE, client_id="pi") as session:
            assert session.connected
        with pytest.raises(ConnectionFailedError):
            Session(msgspec.structs.replace(other, start_timeout_s=0.5), site=SITE, client_id="pi").start()
        assert laptop.connected


def test_a_directory_may_have_any_name(tmp_path: Path) -> None:
    """Also one with spaces: the broker finds its files there."""
    site = make_secured_site(tmp_path / "my site" / "at home")
    with (
        PrivateMosquitto(tmp_path / "mosquitto", site=site),
        Session(site.broker_settings("pi"), site=SITE, client_id="pi") as session,
    ):
        assert session.connected
        assert reload_broker(site)
