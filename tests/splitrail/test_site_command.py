"""`splitrail site`: a site is made, lived in and left by commands alone, against a real broker."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from broker.errors import SignInRefusedError
from broker.mosquitto import PrivateMosquitto, free_port
from broker.session import Session
from broker.site_directory import SiteDirectory
from splitrail.cli import main

SPLITRAIL = [sys.executable, "-m", "splitrail"]


def site(*arguments: str) -> int:
    """Run `splitrail site` in this process."""
    return main(["site", *arguments])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a node and a client."""
    path = tmp_path_factory.mktemp("template") / "site"
    assert site("init", str(path), "--site", "home", "--host", "127.0.0.1", "--port", str(free_port())) == 0
    assert site("add-node", "pi", "--tier", "edge", "--directory", str(path)) == 0
    assert site("add-client", "alice", "--directory", str(path)) == 0
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """A copy of it, whose broker finds its files."""
    copy = Path(shutil.copytree(template, tmp_path / "site"))
    configuration = copy / "broker/mosquitto.conf"
    configuration.write_text(configuration.read_text().replace(str(template), str(copy)))
    return copy


def test_a_new_site_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The broker, a node, the coordinator; each line can be typed as it stands."""
    assert site("init", str(tmp_path / "site"), "--site", "home", "--host", "broker.local") == 0
    said = capsys.readouterr().out
    assert f"mosquitto -c {tmp_path}/site/broker/mosquitto.conf" in said
    assert "splitrail site add-node pi --tier edge --directory" in said
    assert f"splitrail coordinator --config {tmp_path}/site/coordinator/coordinator.yaml" in said


def test_the_umask_does_not_matter(tmp_path: Path) -> None:
    """Under a umask that lets everybody read, nobody else can."""
    command = [*SPLITRAIL, "site", "init", str(tmp_path / "site"), "--site", "home", "--host", "h"]
    subprocess.run(command, check=True, umask=0, capture_output=True)
    for each in [tmp_path / "site", *(tmp_path / "site").rglob("*")]:
        assert stat.S_IMODE(each.stat().st_mode) & 0o077 == 0


def test_the_list_tells_no_secrets(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is in, since when, and until when the certificates hold; as a table and as JSON."""
    assert site("list", "--directory", str(path)) == 0
    table = capsys.readouterr().out
    assert site("list", "--json", "--directory", str(path)) == 0
    listing = json.loads(capsys.readouterr().out)
    assert [(member["name"], member["role"], member["tier"]) for member in listing["members"]] == [
        ("coordinator", "coordinator", None),
        ("admin", "admin", None),
        ("pi", "node", "edge"),
        ("alice", "client", None),
    ]
    for text in (table, json.dumps(listing)):
        assert "$7$" not in text
        assert listing["server_expires"][:10] in text


def test_a_certificate_that_runs_out_is_warned_about_early(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two months before, at every command; a new one ends that."""
    record = json.loads((path / "site.json").read_text())
    (path / "site.json").write_text(json.dumps({**record, "server_expires": "2026-01-01T00:00:00Z"}))
    assert site("list", "--directory", str(path)) == 0
    assert "expires on 2026-01-01: make a new one with `splitrail site renew --server`" in capsys.readouterr().err
    assert site("renew", "--server", "--directory", str(path)) == 0
    assert capsys.readouterr().err == ""


def test_a_node_is_let_in_and_shut_out_while_the_broker_runs(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither needs a restart; what the node signed in with is deleted with it."""
    with PrivateMosquitto(tmp_path / "mosquitto", site=SiteDirectory(path)):
        assert site("add-node", "laptop", "--tier", "fog", "--directory", str(path)) == 0
        assert "no broker of this site runs here" not in capsys.readouterr().out
        opened = SiteDirectory(path)
        settings = opened.broker_settings("laptop")
        with Session(settings, site="home", client_id="laptop") as session:
            assert session.connected
        shutil.copytree(opened.directory_of("laptop"), tmp_path / "laptop")
        assert site("revoke", "laptop", "--directory", str(path)) == 0
        said = capsys.readouterr().out
        assert "laptop is shut out: the broker refuses what it signed in with" in said
        assert not (path / "nodes/laptop").exists()
        kept = {"password_file": tmp_path / "laptop/password", "ca_file": tmp_path / "laptop/ca.crt"}
        with pytest.raises(SignInRefusedError):
            Session(msgspec.structs.replace(settings, **kept), site="home", client_id="laptop").start()
        assert site("revoke", "laptop", "--directory", str(path)) == 0
        assert "has no password to try the broker with" in capsys.readouterr().out
        with Session(opened.broker_settings("pi"), site="home", client_id="pi") as session:
            assert session.connected


def test_one_who_looks_on_reads_and_changes_nothing(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is let in and shut out like the others; the list shows it, and who reads a plug."""
    with PrivateMosquitto(tmp_path / "mosquitto", site=SiteDirectory(path)):
        assert site("add-reader", "dashboard", "--directory", str(path)) == 0
        assert f"with what is in {path}/readers/dashboard" in capsys.readouterr().out
        plug = ("--plug-topic", "tele/pi-plug/SENSOR")
        assert site("add-node", "laptop", "--tier", "fog", *plug, "--directory", str(path)) == 0
        with Session(SiteDirectory(path).broker_settings("dashboard"), site="home", client_id="dashboard") as session:
            assert session.connected
        capsys.readouterr()
        assert site("list", "--directory", str(path)) == 0
        assert "reads the plug tele/pi-plug/SENSOR" in capsys.readouterr().out
        assert site("set-plug", "laptop", "--directory", str(path)) == 0
        assert site("set-plug", "pi", "shelly/status/switch:0", "--directory", str(path)) == 0
        assert capsys.readouterr().out.splitlines() == [
            "laptop reads no plug any more",
            "pi reads its plug at shelly/status/switch:0; name it in its agent.yaml",
        ]
        assert site("revoke", "dashboard", "--directory", str(path)) == 0
        assert "dashboard is shut out: the broker refuses" in capsys.readouterr().out
        assert not (path / "readers/dashboard").exists()


def test_a_revocation_without_a_broker_is_to_be_repeated(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files shut the node out already; the command says that it has not taken effect, and does not succeed."""
    assert site("revoke", "pi", "--directory", str(path)) == 2
    said = capsys.readouterr().err
    assert said.startswith("splitrail: pi is shut out by the site's files, but no broker could be told: 127.0.0.1:")
    assert said.endswith("repeat this once it runs\n")
    assert said.count("\n") == 1
    with PrivateMosquitto(tmp_path / "mosquitto", site=SiteDirectory(path)):
        assert site("revoke", "pi", "--directory", str(path)) == 0
    assert not (path / "nodes/pi").exists()


def test_the_current_directory_will_do(path: Path) -> None:
    """Within the site's directory nothing else has to be named."""
    script = shutil.which("splitrail", path=str(Path(sys.executable).parent))
    assert script is not None
    subprocess.run([script, "site", "add-node", "laptop", "--tier", "fog"], cwd=path, check=True, capture_output=True)
    assert (path / "nodes/laptop/agent.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add-node", "pi", "--tier", "edge"], "has a node 'pi' already"),
        (["add-node", "admin", "--tier", "edge"], "the name 'admin' is the site's own"),
        (["add-node", "a/b", "--tier", "edge"], "'a/b' is no name"),
        (["add-client", "pi"], "has a node 'pi' already"),
        (["revoke", "nobody"], "nobody at the site 'home' is called 'nobody'; there are: pi, alice"),
        (["revoke", "coordinator"], "cannot do without its coordinator"),
        (["renew"], "say whose secrets are renewed, NAME, or --server"),
        (["renew", "pi", "--server"], "say whose secrets are renewed, NAME, or --server"),
        (["renew", "pi", "--host", "h"], "--host belongs to --server"),
        (["renew", "--server", "--host", "h h"], "'h h' is no host"),
        (["revoke", "pi", "--pid", str(os.getpid())], "is no Mosquitto"),
    ],
)
def test_a_mistake_is_one_line(path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    """What is wrong, and what would be right; exit code 2."""
    assert site(*arguments, "--directory", str(path)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("splitrail: ")
    assert error.count("\n") == 1


def test_a_site_is_made_once_and_found_where_it_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second one in its place is refused; another directory holds none."""
    assert site("init", str(path), "--site", "home", "--host", "h") == 2
    assert "is there already" in capsys.readouterr().err
    assert site("list", "--directory", str(path.parent)) == 2
    assert "holds no site" in capsys.readouterr().err


def test_files_that_were_taken_away_are_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A site whose authority's key is gone cannot make certificates, and says which file it misses."""
    (path / "ca.key").unlink()
    assert site("renew", "--server", "--directory", str(path)) == 2
    assert f"{path}/ca.key: No such file or directory" in capsys.readouterr().err
    (path / "ca.key").write_text("nonsense")
    assert site("renew", "--server", "--directory", str(path)) == 2
    assert "ca.crt and ca.key cannot sign" in capsys.readouterr().err
