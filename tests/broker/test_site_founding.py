"""What a new site begins with: settings that work as they are, certificates that hold, secrets that nobody guesses."""

import hashlib
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from site_checks import handshake, salt_of

from broker.credentials import new_secret, password_digest, token_digest
from broker.site_directory import SiteDirectory
from coordinator.configuration import CoordinatorSettings
from edge_agent.configuration import AgentSettings
from splitrail.client_settings import ClientSettings
from splitrail.settings import load_settings

HOSTS = ("broker.example", "192.0.2.1", "2001:db8::1")


def test_a_nodes_settings_start_it_wherever_they_are_copied(site_path: Path, tmp_path: Path) -> None:
    """agent.yaml says who it is, how it signs in and whom it trusts, by the files beside it."""
    elsewhere = Path(shutil.copytree(site_path / "nodes/pi", tmp_path / "elsewhere"))
    settings = load_settings(elsewhere / "agent.yaml", AgentSettings)
    assert (settings.site, settings.node, settings.tier) == ("home", "pi", "edge")
    assert settings.broker.username == "pi"
    assert settings.tensors.security == "tls"
    files = (
        settings.broker.password_file,
        settings.broker.ca_file,
        settings.models.token_file,
        settings.models.ca_file,
    )
    for file in files:
        assert file is not None
        assert file.parent == elsewhere
        assert file.read_bytes()


def test_the_coordinators_settings_can_be_read(site_path: Path) -> None:
    """coordinator.yaml has everything but the deployments that the user wants, of which it has an example."""
    settings = load_settings(site_path / "coordinator/coordinator.yaml", CoordinatorSettings)
    assert settings.broker.encrypted
    assert settings.http.advertise == "https://127.0.0.1:8484"
    for file in (settings.http.certificate_file, settings.http.key_file, settings.http.tokens_file):
        assert file is not None
        assert file.is_file()


@pytest.mark.parametrize("name", ["alice", "admin"])
def test_whoever_asks_has_settings_to_ask_with(site_path: Path, name: str) -> None:
    """client.yaml leads to broker and coordinator, over TLS, in this name."""
    directory = SiteDirectory(site_path).directory_of(name)
    settings = load_settings(directory / "client.yaml", ClientSettings)
    assert settings.broker.encrypted
    assert settings.broker.username == name
    assert settings.coordinator == "https://127.0.0.1:8484"
    assert settings.token_file == directory / "token"


@pytest.mark.parametrize("name", ["null", "1e3", "0x10", "true", "12", "a.b-c_d"])
def test_names_that_look_like_something_else_stay_names(site_path: Path, name: str) -> None:
    """YAML has its own idea of some words; a node may bear them."""
    site = SiteDirectory(site_path)
    site.add_node(name, "fog")
    assert load_settings(site.directory_of(name) / "agent.yaml", AgentSettings).node == name


def test_the_servers_certificates_bear_the_hosts_and_this_machine(tmp_path: Path) -> None:
    """Signed by the site's authority, and good for what the user said and for loopback."""
    site = SiteDirectory.create(tmp_path / "site", site="home", hosts=HOSTS)
    context = ssl.create_default_context(cafile=tmp_path / "site/ca.crt")
    for server in ("broker/server.pem", "coordinator/http.pem"):
        for host in (*HOSTS, "localhost", "127.0.0.1", "::1"):
            assert handshake(context, site.path / server, host) is None
        assert "not valid for" in str(handshake(context, site.path / server, "other.example"))
    assert handshake(ssl.create_default_context(), site.path / "broker/server.pem", HOSTS[0]) is not None


def test_a_new_certificate_is_another_with_another_key(site_path: Path) -> None:
    """Hosts may be added with it; the authority stays, so that no node needs anything new."""
    before = (site_path / "broker/server.pem").read_bytes(), (site_path / "ca.crt").read_bytes()
    site = SiteDirectory(site_path)
    site.renew_server(["127.0.0.1", "new.example"])
    assert (site_path / "broker/server.pem").read_bytes() != before[0]
    assert (site_path / "ca.crt").read_bytes() == before[1]
    assert (
        handshake(
            ssl.create_default_context(cafile=site_path / "ca.crt"), site_path / "broker/server.pem", "new.example"
        )
        is None
    )
    assert SiteDirectory(site_path).record.hosts == ("127.0.0.1", "new.example")


def test_mosquitto_makes_the_same_digest_of_a_password(tmp_path: Path) -> None:
    """With the salt and the count that its own tool has chosen."""
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    password = new_secret()
    subprocess.run([tool, "-b", "-c", str(tmp_path / "passwords"), "pi", password], check=True, capture_output=True)
    theirs = (tmp_path / "passwords").read_text().strip().partition(":")[2]
    assert theirs == password_digest(password, salt_of(theirs))


def test_secrets_are_all_different(site_path: Path) -> None:
    """Each of 43 signs, no two alike; what is kept of them tells nothing."""
    secrets = [file.read_text().strip() for name in ("password", "token") for file in site_path.rglob(name)]
    assert len(set(secrets)) == len(secrets) == 11
    assert {len(secret) for secret in secrets} == {43}
    kept = [site_path / "site.json", site_path / "broker/passwords", site_path / "coordinator/tokens"]
    assert not [secret for secret in secrets for file in kept if secret in file.read_text()]
    assert token_digest("a") == hashlib.sha256(b"a").hexdigest()
