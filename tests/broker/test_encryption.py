"""TLS to the broker: what is checked, and each way in which it fails as a sentence that helps."""

import datetime
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from eventually import eventually
from messages_to_send import REQUEST
from secured_site import SITE, make_secured_site

from broker.certificates import make_authority, make_server_certificate
from broker.errors import ConnectionFailedError, SignInRefusedError
from broker.messages import DeploymentNotice, InferRequest, NodeStatus
from broker.mosquitto import PrivateMosquitto
from broker.session import Incoming, Session
from broker.sign_in import BrokerSettings, exposures
from broker.site_directory import SiteDirectory
from broker.topics import DEPLOYMENT, INFER, STATUS

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SiteDirectory:
    """A site, made once."""
    return make_secured_site(tmp_path_factory.mktemp("template") / "site")


@pytest.fixture
def secured(template: SiteDirectory, tmp_path: Path) -> Iterator[SiteDirectory]:
    """The site, whose broker runs."""
    with PrivateMosquitto(tmp_path / "mosquitto", site=template):
        yield template


def reason_of_failure(settings: BrokerSettings, start_timeout_s: float = 0.0) -> str:
    """Why a session with these settings cannot start; 0 waits for ever, so that only a lasting failure ends it."""
    settings = msgspec.structs.replace(settings, start_timeout_s=start_timeout_s)
    with pytest.raises(ConnectionFailedError) as caught:
        Session(settings, site=SITE, client_id="client").start()
    return caught.value.reason


def serve_with(
    site: SiteDirectory, tmp_path: Path, hosts: tuple[str, ...], made: datetime.datetime
) -> tuple[SiteDirectory, BrokerSettings]:
    """The site with a certificate of another authority, made at some time; how `pi` would sign in there."""
    authority = make_authority("other", made)
    server = make_server_certificate(authority, hosts, made)
    (tmp_path / "other.crt").write_bytes(authority.certificate)
    copy = Path(shutil.copytree(site.path, tmp_path / "copy"))
    (copy / "broker/server.pem").write_bytes(server.certificate + server.key)
    configuration = copy / "broker/mosquitto.conf"
    configuration.write_text(configuration.read_text().replace(str(site.path), str(copy)))
    served = SiteDirectory(copy)
    return served, msgspec.structs.replace(served.broker_settings("pi"), ca_file=tmp_path / "other.crt")


def test_a_large_message_comes_through_whole(secured: SiteDirectory) -> None:
    """Across many TLS records, both ways, without waiting for the next byte from the network."""
    image = os.urandom(8_000_000)
    arrived: list[Incoming[InferRequest]] = []
    node = Session(secured.broker_settings("pi"), site=SITE, client_id="pi")
    node.on(INFER, arrived.append)
    with node, Session(secured.broker_settings("alice"), site=SITE, client_id="alice") as client:
        assert client.publish(INFER, msgspec.structs.replace(REQUEST, image=image), "photos")
        assert eventually(lambda: arrived, 20)
        assert arrived[0].message.image == image


def test_a_burst_of_messages_comes_through(secured: SiteDirectory, template: SiteDirectory) -> None:
    """Several messages in one TLS record are all read, though the socket has nothing more to say."""
    heard: list[str] = []
    model = {"sha256": "0" * 64, "name": "m", "size_bytes": 1, "ops": 1, "url": "http://h"}
    node = Session(secured.broker_settings("pi"), site=SITE, client_id="pi")
    node.on(DEPLOYMENT, lambda incoming: heard.append(incoming.message.deployment))
    with node, Session(secured.broker_settings("coordinator"), site=SITE, client_id="coordinator") as coordinator:
        for number in range(500):
            notice = msgspec.convert({"deployment": f"d{number}", "model": model, "origin": "pi"}, DeploymentNotice)
            coordinator.publish(DEPLOYMENT, notice, notice.deployment)
        assert eventually(lambda: len(set(heard)) == 500)


def test_a_wrong_password_is_refused_over_tls(secured: SiteDirectory) -> None:
    """As another exception than a broker that is not there, so that one is told from the other."""
    settings = secured.broker_settings("pi")
    wrong = msgspec.structs.replace(settings, password_file=secured.directory_of("laptop") / "password")
    with pytest.raises(SignInRefusedError, match="refuses the user 'pi' or its password"):
        Session(wrong, site=SITE, client_id="client").start()
    nobody = msgspec.structs.replace(settings, username=None, password_file=None)
    with pytest.raises(SignInRefusedError, match="admits no anonymous clients"):
        Session(nobody, site=SITE, client_id="client").start()


def test_an_unknown_authority_ends_the_start(secured: SiteDirectory, tmp_path: Path) -> None:
    """A certificate that somebody else signed is refused, and before any password was sent."""
    other = tmp_path / "other.crt"
    other.write_bytes(make_authority("home", NOW).certificate)
    settings = secured.broker_settings("pi")
    said = reason_of_failure(msgspec.structs.replace(settings, ca_file=other))
    assert "not signed by an authority that is trusted here" in said
    assert "broker.ca_file must be the ca.crt of the site" in said
    assert "not signed by" in reason_of_failure(msgspec.structs.replace(settings, ca_file=None, tls=True))


@pytest.mark.parametrize(
    ("hosts", "made", "said"),
    [
        (("other.example",), NOW, "does not bear the name 127.0.0.1: correct broker.host"),
        (("192.0.2.1",), NOW, "does not bear the name 127.0.0.1: correct broker.host"),
        (("127.0.0.1",), NOW - datetime.timedelta(days=826), "has expired: `splitrail site renew --server`"),
    ],
)
def test_a_certificate_that_will_not_do_ends_the_start(
    template: SiteDirectory, tmp_path: Path, hosts: tuple[str, ...], made: datetime.datetime, said: str
) -> None:
    """Another host's, or an old one, though the right authority signed it: no waiting mends that."""
    served, settings = serve_with(template, tmp_path, hosts, made)
    with PrivateMosquitto(tmp_path / "mosquitto", site=served):
        assert said in reason_of_failure(settings)


def test_a_certificate_of_tomorrow_may_yet_do(
    template: SiteDirectory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A Pi without a clock of its own starts in the past: it tries again until the clock is right."""
    served, settings = serve_with(template, tmp_path, ("127.0.0.1",), NOW + datetime.timedelta(days=3))
    with PrivateMosquitto(tmp_path / "mosquitto", site=served):
        assert "is this machine's clock right?" in reason_of_failure(settings, start_timeout_s=0.5)
    assert "trying again" in caplog.text


def test_a_broker_without_tls_is_told_from_one_with(template: SiteDirectory, tmp_path: Path) -> None:
    """Whoever expects TLS of a broker that has none is told so, and the other way round."""
    settings = template.broker_settings("pi")
    with PrivateMosquitto(tmp_path / "open", port=settings.port):
        assert "does not speak TLS: correct broker.port" in reason_of_failure(settings, start_timeout_s=0.5)
    plain = BrokerSettings(port=settings.port)
    with PrivateMosquitto(tmp_path / "secured", site=template):
        assert "One that expects TLS needs broker.ca_file here" in reason_of_failure(plain, start_timeout_s=0.5)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot read broker.ca_file"), ("no certificate", "holds no certificate")]
)
def test_a_file_of_no_authority_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    """Missing or something else: found before anything is sent."""
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    reason = reason_of_failure(BrokerSettings(ca_file=file))
    assert said in reason
    assert str(file) in reason


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (BrokerSettings(), None),
        (BrokerSettings(host="localhost", username="pi"), None),
        (BrokerSettings(host="::1"), None),
        (BrokerSettings(host="broker.example", username="pi"), "the password travels readable"),
        (BrokerSettings(host="192.0.2.1"), "under a name (`splitrail site` makes what that takes)"),
        (BrokerSettings(host="192.0.2.1", tls=True), "may admit anyone"),
        (BrokerSettings(host="192.0.2.1", ca_file=Path("ca.crt"), username="pi"), None),
    ],
)
def test_what_lies_open_is_said_unless_it_stays_on_this_machine(settings: BrokerSettings, said: str | None) -> None:
    """A password that others can read on its way, or none at all."""
    found = exposures(settings)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_an_open_password_is_warned_about_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the start, however often the connection is tried; and a password file that others can read as well."""
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o644)
    with caplog.at_level(logging.WARNING, "splitrail.broker"):
        reason_of_failure(
            BrokerSettings(host="no.such.host.invalid", username="pi", password_file=password), start_timeout_s=0.5
        )
    assert caplog.text.count("the password travels readable") == 1
    assert caplog.text.count("everyone on this machine can read the password") == 1
    assert "secret" not in caplog.text


def test_a_message_that_the_broker_refuses_is_said_once(
    secured: SiteDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    """The session goes on; whoever may not say it finds it in the log."""
    with Session(secured.broker_settings("alice"), site=SITE, client_id="alice") as client:
        for _ in range(3):
            client.publish(STATUS, NodeStatus(node="pi", session="s1", state="offline"), "pi")
        assert eventually(lambda: "refuses a message of the user 'alice' (Not authorized)" in caplog.text)
        assert client.connected
    assert caplog.text.count("refuses a message") == 1


def test_a_renewed_password_is_taken_without_a_restart(template: SiteDirectory, tmp_path: Path) -> None:
    """Once its file is there, the next attempt signs in with it."""
    copy = Path(shutil.copytree(template.path, tmp_path / "copy"))
    configuration = copy / "broker/mosquitto.conf"
    configuration.write_text(configuration.read_text().replace(str(template.path), str(copy)))
    site = SiteDirectory(copy)
    with (
        PrivateMosquitto(tmp_path / "mosquitto", site=site) as broker,
        Session(site.broker_settings("pi"), site=SITE, client_id="pi") as node,
    ):
        connections: list[None] = []
        node.on_connected(lambda: connections.append(None))
        site.renew("pi")
        broker.reload()
        assert eventually(lambda: connections and node.connected)
