"""What the doctor sees of a real broker, and that nobody there notices it."""

import datetime
import gc
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from eventually import eventually
from made_site import birth_message
from paho.mqtt.client import MQTTMessage
from secured_site import SITE, make_secured_site

from broker.access import ROLES, Role
from broker.certificates import Certificate, make_authority, make_server_certificate
from broker.connection import Connection
from broker.messages import Leader, NodeStatus
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Session
from broker.sign_in import BrokerSettings
from broker.site_directory import SiteDirectory
from broker.topics import LEADER, STATUS
from splitrail.doctor.broker_access import broker_findings, expiry_findings
from splitrail.doctor.broker_probe import BrokerLook, Expiry, Trial, is_loopback_only, look_at_broker, trial_for
from splitrail.doctor.finding import Finding

pytestmark = pytest.mark.usefixtures("nothing_left")

NOW = datetime.datetime.now(datetime.UTC)
LEADING = Leader(coordinator="attic", session="s1", term=3, state="leading", url="http://attic:8484")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SiteDirectory:
    """A site, made once."""
    return make_secured_site(tmp_path_factory.mktemp("template") / "site")


@pytest.fixture
def secured(template: SiteDirectory, tmp_path: Path) -> Iterator[SiteDirectory]:
    """The site, whose broker runs."""
    with PrivateMosquitto(tmp_path / "mosquitto", site=template):
        yield template


def copied(template: SiteDirectory, tmp_path: Path) -> SiteDirectory:
    """A site of its own, for a test that changes it."""
    copy = Path(shutil.copytree(template.path, tmp_path / "copy"))
    configuration = copy / "broker/mosquitto.conf"
    configuration.write_text(configuration.read_text().replace(str(template.path), str(copy)))
    return SiteDirectory(copy)


def found(settings: BrokerSettings, role: Role = "node", name: str = "pi") -> list[Finding]:
    return list(broker_findings(look_at_broker(settings, trial_for(SITE, role, name)), settings))


def problems(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.says, finding.fix) for finding in findings if finding.verdict == "problem"]


@pytest.mark.parametrize(("role", "name"), [("node", "pi"), ("coordinator", "coordinator"), ("client", "alice")])
def test_a_member_whose_files_are_right_has_no_problem(secured: SiteDirectory, role: Role, name: str) -> None:
    """It is let in over TLS, may write and read its topics, and its certificates hold."""
    findings = found(secured.broker_settings(name), role, name)
    assert {finding.verdict for finding in findings} == {"ok"}
    said = [finding.says for finding in findings]
    assert any(f"lets us in over TLS, as {name}" in each for each in said)
    assert any("of our topics can be written, and come back where we read" in each for each in said)
    assert sum("holds until" in each for each in said) == 2


def test_an_open_broker_is_told_from_a_secured_one(mosquitto: PrivateMosquitto) -> None:
    """On loopback it is no problem."""
    (reached, access) = found(mosquitto.settings)
    assert "lets us in without TLS, without a name" in reached.says
    assert access.verdict == "ok"


def test_a_wrong_password_is_named_with_its_fix(secured: SiteDirectory) -> None:
    """And where to see whether the user was shut out."""
    settings = secured.broker_settings("pi")
    wrong = msgspec.structs.replace(settings, password_file=secured.directory_of("laptop") / "password")
    ((says, fix),) = problems(found(wrong))
    assert says.endswith("the broker refuses the user 'pi' or its password")
    assert "correct broker.username and broker.password_file" in fix
    assert "`splitrail site list` shows whether pi was revoked" in fix


def test_who_was_revoked_is_refused(template: SiteDirectory, tmp_path: Path) -> None:
    """With the password that once was right."""
    site = copied(template, tmp_path)
    settings = site.broker_settings("pi")
    kept = tmp_path / "kept"
    kept.write_bytes((site.directory_of("pi") / "password").read_bytes())
    site.revoke("pi")
    with PrivateMosquitto(tmp_path / "mosquitto", site=site):
        ((says, fix),) = problems(found(msgspec.structs.replace(settings, password_file=kept)))
    assert "refuses the user 'pi'" in says
    assert "revoked" in fix


def test_no_name_where_one_is_needed(secured: SiteDirectory) -> None:
    """Mosquitto 2 admits nobody without one, unless it is told to."""
    settings = msgspec.structs.replace(secured.broker_settings("pi"), username=None, password_file=None)
    ((says, fix),) = problems(found(settings))
    assert says.endswith("the broker admits no anonymous clients")
    assert "set broker.username and broker.password_file" in fix


def test_plain_on_a_port_of_tls_and_the_other_way_round(template: SiteDirectory, tmp_path: Path) -> None:
    """Each is told by what the other side does."""
    settings = template.broker_settings("pi")
    with PrivateMosquitto(tmp_path / "secured", site=template):
        ((says, fix),) = problems(found(BrokerSettings(port=settings.port)))
    assert says.endswith("something listens there but hangs up")
    assert "One that expects TLS needs broker.ca_file here" in fix
    with PrivateMosquitto(tmp_path / "open", port=settings.port):
        ((says, fix),) = problems(found(settings))
    assert says.endswith("something listens there but does not speak TLS")
    assert "a TLS listener usually has 8883" in fix


def test_nobody_listens() -> None:
    """On this machine; of another one Mosquitto's default is named too, by the same explanation."""
    ((says, fix),) = problems(found(BrokerSettings(port=free_port())))
    assert says.endswith("no MQTT broker listens there")
    assert "start Mosquitto" in fix


def test_who_takes_the_connection_and_says_nothing_is_left() -> None:
    """As another service may do; with TLS as without. Else this test would never end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ((says, _),) = problems(found(BrokerSettings(port=port)))
        assert says.endswith("something listens there but does not answer as an MQTT broker")
        ((says, _),) = problems(found(BrokerSettings(port=port, tls=True)))
        assert "does not speak TLS" in says


def test_garbage_is_no_broker() -> None:
    """Whatever is answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 50)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            assert len(problems(found(BrokerSettings(port=server.getsockname()[1])))) == 1
        finally:
            thread.join()


def with_acl(site: SiteDirectory, change: str, into: str = "") -> None:
    acl = site.broker / "acl"
    text = acl.read_text()
    assert change in text
    acl.write_text(text.replace(change, into))


def test_a_topic_that_may_not_be_written_is_named(template: SiteDirectory, tmp_path: Path) -> None:
    """As after an upgrade, while the broker has the access file of the version before."""
    site = copied(template, tmp_path)
    with_acl(site, f"topic write splitrail/v1/{SITE}/nodes/pi/machine\n")
    with PrivateMosquitto(tmp_path / "mosquitto", site=site):
        ((says, fix),) = problems(found(site.broker_settings("pi")))
    assert says == f"the broker does not let us write splitrail/v1/{SITE}/nodes/pi/machine"
    assert "`splitrail site renew --server` writes them anew" in fix


def test_a_topic_that_may_not_be_read_is_named(template: SiteDirectory, tmp_path: Path) -> None:
    """Though the broker takes the subscription."""
    site = copied(template, tmp_path)
    with_acl(site, f"topic read splitrail/v1/{SITE}/nodes/pi/question\n")
    with PrivateMosquitto(tmp_path / "mosquitto", site=site):
        ((says, _),) = problems(found(site.broker_settings("pi")))
    assert says == f"the broker does not let us read splitrail/v1/{SITE}/nodes/pi/question"


def test_a_name_that_is_not_the_user_s_is_found(secured: SiteDirectory) -> None:
    """The topics of a node are its user's alone."""
    ((says, fix), *_) = problems(found(secured.broker_settings("laptop"), name="pi"))
    assert "nodes/pi/" in says
    assert fix.startswith("sign in under the name that this member bears")


def test_a_certificate_that_ends_soon_is_noted(template: SiteDirectory, tmp_path: Path) -> None:
    """Two months ahead."""
    site = copied(template, tmp_path)
    authority = Certificate(
        (site.path / "ca.crt").read_bytes(), (site.path / "ca.key").read_bytes(), site.record.authority_expires
    )
    made = NOW - datetime.timedelta(days=800)
    old = make_authority("other", made)
    server = make_server_certificate(old, ("127.0.0.1",), made)
    assert authority.certificate != old.certificate
    (site.broker / "server.pem").write_bytes(server.certificate + server.key)
    (tmp_path / "other.crt").write_bytes(old.certificate)
    with PrivateMosquitto(tmp_path / "mosquitto", site=site):
        findings = found(msgspec.structs.replace(site.broker_settings("pi"), ca_file=tmp_path / "other.crt"))
    (note,) = [finding for finding in findings if finding.verdict == "note"]
    assert note.says.startswith("the broker's certificate ends on ")
    assert note.fix == "splitrail site renew --server"


def test_a_certificate_that_has_ended_is_a_problem() -> None:
    """As one of HTTP may, which nobody has looked at before."""
    (finding,) = expiry_findings(Expiry("the certificate for HTTP", NOW - datetime.timedelta(days=1)), NOW)
    assert finding.verdict == "problem"


def test_who_leads_and_what_the_node_said_is_read(mosquitto: PrivateMosquitto, site: str) -> None:
    """From what the broker keeps; what makes no sense there is as if it were not there."""
    trial = trial_for(site, "node", "pi")
    assert look_at_broker(mosquitto.settings, trial).leader(site) is None
    with Session(mosquitto.settings, site=site, client_id=f"{site}-session") as session:
        session.publish(LEADER, LEADING)
        session.publish(STATUS, birth_message("pi", "s1"), "pi")
        look = BrokerLook()

        def both() -> bool:
            nonlocal look
            look = look_at_broker(mosquitto.settings, trial)
            return look.leader(site) is not None and look.status(site, "pi") is not None

        assert eventually(both)
        assert look.leader(site) == LEADING
        status = look.status(site, "pi")
        assert isinstance(status, NodeStatus)
        assert status.session == "s1"
    assert BrokerLook(words=((LEADER.address(site), b"nonsense"),)).leader(site) is None


def test_a_look_closes_what_it_opened_by_itself(mosquitto: PrivateMosquitto, site: str) -> None:
    """Not only once the garbage is collected."""
    gc.disable()
    try:
        before = psutil.Process().num_fds()
        assert look_at_broker(mosquitto.settings, trial_for(site, "node", "pi")).failure == ""
        assert psutil.Process().num_fds() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_kept_and_nothing_is_said(mosquitto: PrivateMosquitto, site: str, role: Role) -> None:
    """All that others can hear of it is empty and not retained, and nobody is put off by it."""
    heard: list[MQTTMessage] = []
    connection = Connection(
        mosquitto.settings,
        client_id=f"{site}-listener",
        will=None,
        on_connected=lambda: connection.subscribe(f"splitrail/v1/{site}/#", qos=0),
        on_message=heard.append,
    )
    connection.start()
    with Session(mosquitto.settings, site=site, client_id=f"{site}-session") as session:
        session.publish(LEADER, LEADING)
        session.on(STATUS, lambda incoming: None)
        assert eventually(lambda: len(heard) == 1)
        trial = trial_for(site, role, "pi")
        look = look_at_broker(mosquitto.settings, trial)
        assert eventually(lambda: len(heard) == 1 + len(trial.writes))
        assert all(not message.payload and not message.retain for message in heard[1:])
        assert (look.tried, look.refused, look.unheard, look.unanswered) == (len(trial.writes), (), (), ())
        assert session.connected
        assert session.dropped.malformed == 0
        assert session.dropped.unknown == 0
        # What the broker keeps is as it was.
        assert look_at_broker(mosquitto.settings, trial).leader(site) == LEADING
    connection.close()


def test_what_others_read_too_is_left_alone() -> None:
    """A dashboard might not pass over an empty message."""
    writes = trial_for("lab", "node", "pi").writes
    assert not [address for address in writes if address.endswith(("/status", "/energy")) or "/inferences/" in address]
    assert "splitrail/v1/lab/nodes/pi/machine" in writes
    assert all("/pi" in address or "/replies/" in address for address in writes)


def test_a_broker_that_listens_here_alone_is_noted() -> None:
    """To a coordinator, whose nodes are elsewhere; one that listens everywhere is not."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        assert not is_loopback_only(server.getsockname()[1])
    settings = BrokerSettings(port=1883)
    look = BrokerLook(tried=1)
    (_, note, _) = broker_findings(look, settings, loopback_only=True)
    assert note.verdict == "note"
    assert "as Mosquitto 2 does without a `listener` line" in note.says


def test_what_signing_in_lays_open_is_noted() -> None:
    """As the sessions themselves warn of."""
    settings = BrokerSettings(host="192.0.2.1", username="pi")
    (_, note) = broker_findings(BrokerLook(), settings)
    assert note.says == "the password travels readable for anyone on the way"
    assert note.fix == "connect over TLS (broker.ca_file)"


def test_a_file_that_cannot_be_used_is_a_failure(tmp_path: Path) -> None:
    """A password that is not there, an authority that is none: found before anything is sent."""
    ((says, _),) = problems(found(BrokerSettings(username="pi", password_file=tmp_path / "none")))
    assert "cannot read broker.password_file" in says
    (tmp_path / "ca.crt").write_text("nonsense")
    look = look_at_broker(BrokerSettings(ca_file=tmp_path / "ca.crt"), Trial((), frozenset(), ()))
    assert "holds no certificate" in look.failure
