"""How `splitrail status` and `splitrail infer` prove themselves to a site, from options, environment and file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates_for_tests import write_certificate

from broker.mosquitto import PrivateMosquitto
from broker.site_settings import client_yaml
from coordinator.configuration import HttpSettings
from coordinator.http_server import HttpServer, application
from coordinator.site import EMPTY
from coordinator.status_report import status_report
from splitrail.cli import main
from splitrail.client_settings import ClientSettings
from splitrail.settings import parse_settings

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[HttpServer]:
    """A coordinator's interface over TLS that wants a token; the token is in `token`, the authority in `server.crt`."""
    certificate, key = write_certificate(tmp_path, "127.0.0.1")
    (tmp_path / "token").write_text("secret\n")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ann {hashlib.sha256(b'secret').hexdigest()}\n")
    server = HttpServer(HttpSettings(port=0, certificate_file=certificate, key_file=key, tokens_file=tokens))
    report = status_report("lab", EMPTY, now=1.0, power=(), inferences={}, lost_telemetry=0)
    server.start(application({}, lambda: report, metrics=bytes, standstill=lambda: None, unreadiness=lambda: None))
    yield server
    server.close()


def status(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What the command prints, or its one line of complaint."""
    code = main(["status", *options])
    printed = capsys.readouterr()
    assert code == (2 if printed.err else 0)
    assert printed.err.count("\n") <= 1
    return printed.out + printed.err


def test_the_status_is_told_to_who_has_a_token(
    guarded: HttpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By options; without them it is said which one is missing."""
    where = ["--coordinator", guarded.url]
    trust = ["--ca-file", str(tmp_path / "server.crt")]
    token = ["--token-file", str(tmp_path / "token")]
    assert "site lab" in status(capsys, *where, *trust, *token)
    assert "the coordinator wants a token: give --token-file" in status(capsys, *where, *trust)
    assert "does not hold by the system's authorities" in status(capsys, *where, *token)
    (tmp_path / "token").write_text("another\n")
    assert "the coordinator refuses this token: --token-file" in status(capsys, *where, *trust, *token)
    (tmp_path / "token").unlink()
    assert "cannot be read: No such file" in status(capsys, *where, *trust, *token)


def test_the_environment_and_a_file_say_the_same(
    guarded: HttpServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths in client.yaml begin beside it; an option counts before the environment, that before the file."""
    config = tmp_path / "client.yaml"
    config.write_text(f"site: lab\ncoordinator: {guarded.url}\ntoken_file: token\nca_file: server.crt\n")
    assert "site lab" in status(capsys, "--config", str(config))
    monkeypatch.setenv("SPLITRAIL_COORDINATOR", "http://127.0.0.1:1")
    assert "no coordinator answers at http://127.0.0.1:1" in status(capsys, "--config", str(config))
    assert "site lab" in status(capsys, "--config", str(config), "--coordinator", guarded.url)
    monkeypatch.setenv("SPLITRAIL_COORDINATOR", guarded.url)
    monkeypatch.setenv("SPLITRAIL_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("SPLITRAIL_CA_FILE", str(tmp_path / "server.crt"))
    assert "site lab" in status(capsys)


def test_a_file_says_where_inferences_are_asked_for(
    mosquitto: PrivateMosquitto,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    photographs: tuple[Path, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Broker and site; options count before it."""
    monkeypatch.setattr("splitrail.client.LOOK_UP_S", 0.1)
    config = tmp_path / "client.yaml"
    config.write_text(f"site: nowhere\nbroker: {{port: {mosquitto.port}, start_timeout_s: 2}}\n")
    assert main(["infer", "photos", str(photographs[0]), "--config", str(config)]) == 2
    assert "the site 'nowhere' has no deployment 'photos'" in capsys.readouterr().err
    assert main(["infer", "photos", str(photographs[0]), "--config", str(config), "--site", "elsewhere"]) == 2
    assert "the site 'elsewhere' has no deployment 'photos'" in capsys.readouterr().err
    assert main(["infer", "photos", str(photographs[0]), "--config", str(config), "--broker", "127.0.0.1:1"]) == 2
    assert "127.0.0.1:1: " in capsys.readouterr().err


def test_what_a_site_gives_its_clients_can_be_read(tmp_path: Path) -> None:
    """The client.yaml of `splitrail site add-client` signs in over TLS and knows the coordinator."""
    text = client_yaml(site="lab", client="ann", host="2001:db8::1", port=8883)
    settings = parse_settings(text, ClientSettings, file="client.yaml", directory=tmp_path)
    assert (settings.site, settings.coordinator) == ("lab", "https://[2001:db8::1]:8484")
    assert (settings.token_file, settings.ca_file) == (tmp_path / "token", tmp_path / "ca.crt")
    assert (settings.broker.username, settings.broker.ca_file) == ("ann", tmp_path / "ca.crt")
