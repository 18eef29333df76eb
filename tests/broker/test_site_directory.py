"""A site's directory: what is in it, whom it is for, and that no crash leaves it unusable."""

import base64
import hashlib
import json
import os
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secured_site import make_secured_site

from broker import site_files
from broker.credentials import new_secret, password_digest, token_digest
from broker.errors import SiteError
from broker.site_directory import SiteDirectory
from broker.site_files import locked
from broker.site_record import RESERVED, check_host, check_name
from coordinator.configuration import CoordinatorSettings
from edge_agent.configuration import AgentSettings
from splitrail.client_settings import ClientSettings
from splitrail.settings import load_settings

HOSTS = ("broker.example", "192.0.2.1", "2001:db8::1")


class Killed(BaseException):
    """Stands for the end of the process; nothing catches it but clean-up, which a kill would not run either."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with two nodes and two clients, to be copied."""
    path = tmp_path_factory.mktemp("template") / "site"
    make_secured_site(path)
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(template, tmp_path / "site"))


def consistent(path: Path) -> bool:
    """Whether broker and coordinator admit just whom the record admits."""
    admitted = {member.name for member in SiteDirectory(path).record.admitted}
    passwords = {line.partition(":")[0] for line in (path / "broker/passwords").read_text().splitlines()}
    stanzas = {
        line.removeprefix("user ")
        for line in (path / "broker/acl").read_text().splitlines()
        if line.startswith("user ")
    }
    lines = (path / "coordinator/tokens").read_text().splitlines()
    tokens = {line.split(" ")[0] for line in lines if not line.startswith("#")}
    return admitted == passwords == stanzas == tokens | {"coordinator"}


def can_sign_in(path: Path, name: str) -> bool:
    """Whether the secrets in a member's directory are those that broker and coordinator know."""
    site = SiteDirectory(path)
    directory = site.directory_of(name)
    if not directory.is_dir():
        return False
    lines = dict(line.split(":", 1) for line in (path / "broker/passwords").read_text().splitlines())
    password = (directory / "password").read_text().strip()
    digest = lines.get(name, "")
    token = (directory / "token").read_text().strip()
    return (
        bool(digest)
        and digest == password_digest(password, salt_of(digest))
        and f"{name} {hashlib.sha256(token.encode()).hexdigest()}" in (path / "coordinator/tokens").read_text()
    )


def salt_of(digest: str) -> bytes:
    return base64.b64decode(digest.split("$")[3])


def test_all_is_for_its_owner_alone(path: Path) -> None:
    """Files 0600, directories 0700: also those that hold no secret, so that nobody has to know which do."""
    for each in [path, *path.rglob("*")]:
        assert stat.S_IMODE(each.stat().st_mode) == (0o700 if each.is_dir() else 0o600), each


def test_a_nodes_settings_start_it_wherever_they_are_copied(path: Path, tmp_path: Path) -> None:
    """agent.yaml says who it is, how it signs in and whom it trusts, by the files beside it."""
    elsewhere = Path(shutil.copytree(path / "nodes/pi", tmp_path / "elsewhere"))
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


def test_the_coordinators_settings_can_be_read(path: Path) -> None:
    """coordinator.yaml has everything but the deployments that the user wants, of which it has an example."""
    settings = load_settings(path / "coordinator/coordinator.yaml", CoordinatorSettings)
    assert settings.broker.encrypted
    assert settings.http.advertise == "https://127.0.0.1:8484"
    for file in (settings.http.certificate_file, settings.http.key_file, settings.http.tokens_file):
        assert file is not None
        assert file.is_file()


@pytest.mark.parametrize("name", ["alice", "admin"])
def test_whoever_asks_has_settings_to_ask_with(path: Path, name: str) -> None:
    """client.yaml leads to broker and coordinator, over TLS, in this name."""
    directory = SiteDirectory(path).directory_of(name)
    settings = load_settings(directory / "client.yaml", ClientSettings)
    assert settings.broker.encrypted
    assert settings.broker.username == name
    assert settings.coordinator == "https://127.0.0.1:8484"
    assert settings.token_file == directory / "token"


@pytest.mark.parametrize("name", ["null", "1e3", "0x10", "true", "12", "a.b-c_d"])
def test_names_that_look_like_something_else_stay_names(path: Path, name: str) -> None:
    """YAML has its own idea of some words; a node may bear them."""
    site = SiteDirectory(path)
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


def handshake(context: ssl.SSLContext, server: Path, host: str) -> ssl.SSLError | None:
    """What a client with this context has against a server with this certificate, in memory."""
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(server)
    towards_server, towards_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = context.wrap_bio(towards_client, towards_server, server_hostname=host)
    server_side = served.wrap_bio(towards_server, towards_client, server_side=True)
    for _ in range(4):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error
    return None


def test_a_new_certificate_is_another_with_another_key(path: Path) -> None:
    """Hosts may be added with it; the authority stays, so that no node needs anything new."""
    before = (path / "broker/server.pem").read_bytes(), (path / "ca.crt").read_bytes()
    site = SiteDirectory(path)
    site.renew_server(["127.0.0.1", "new.example"])
    assert (path / "broker/server.pem").read_bytes() != before[0]
    assert (path / "ca.crt").read_bytes() == before[1]
    assert (
        handshake(ssl.create_default_context(cafile=path / "ca.crt"), path / "broker/server.pem", "new.example") is None
    )
    assert SiteDirectory(path).record.hosts == ("127.0.0.1", "new.example")


def test_mosquitto_makes_the_same_digest_of_a_password(tmp_path: Path) -> None:
    """With the salt and the count that its own tool has chosen."""
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    password = new_secret()
    subprocess.run([tool, "-b", "-c", str(tmp_path / "passwords"), "pi", password], check=True, capture_output=True)
    theirs = (tmp_path / "passwords").read_text().strip().partition(":")[2]
    assert theirs == password_digest(password, salt_of(theirs))


def test_secrets_are_all_different(path: Path) -> None:
    """Each of 43 signs, no two alike; what is kept of them tells nothing."""
    secrets = [file.read_text().strip() for name in ("password", "token") for file in path.rglob(name)]
    assert len(set(secrets)) == len(secrets) == 11
    assert {len(secret) for secret in secrets} == {43}
    kept = [path / "site.json", path / "broker/passwords", path / "coordinator/tokens"]
    assert not [secret for secret in secrets for file in kept if secret in file.read_text()]
    assert token_digest("a") == hashlib.sha256(b"a").hexdigest()


def test_nothing_is_overwritten(path: Path) -> None:
    """A site, a node and a client that are there already are left alone."""
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(SiteError, match="there already"):
        SiteDirectory.create(path, site="home", hosts=("h",))
    site = SiteDirectory(path)
    with pytest.raises(SiteError, match="has a node 'pi' already"):
        site.add_node("pi", "fog")
    with pytest.raises(SiteError, match="has a client 'alice' already"):
        site.add_node("alice", "fog")
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "name", ["", "-x", "../x", "a/b", "a b", "a\nuser b", "x" * 65, "ä", "+", "#", *sorted(RESERVED)]
)
def test_a_name_that_nobody_can_bear_is_refused(path: Path, name: str) -> None:
    """Neither what could climb out of the directory or the ACL file, nor the site's own names."""
    site = SiteDirectory(path)
    for add in (lambda: site.add_node(name, "edge"), lambda: site.add_client(name)):
        with pytest.raises(SiteError):
            add()


@given(st.text())
def test_only_names_and_hosts_come_through(text: str) -> None:
    """Whatever is typed: what is let through has no separator, quote or line end of any file that it is written to."""
    for check in (check_name, check_host):
        try:
            check(text)
        except SiteError:
            continue
        assert not set(text) & set("/\\ \n\r\t\0\"'#+$*")


@pytest.mark.parametrize(
    "host", ["", "h h", "-h", "h-", "a..b", "*.example", "1.2.3", "1.2.3.4.5", "h:1", "http://h", "a/b", "fe80::1%\n"]
)
def test_a_host_that_no_certificate_can_bear_is_refused(tmp_path: Path, host: str) -> None:
    """Before anything is made."""
    with pytest.raises(SiteError, match="is no host"):
        SiteDirectory.create(tmp_path / "site", site="home", hosts=(host,))
    assert not any(tmp_path.iterdir())


def test_who_was_shut_out_may_come_back_as_a_new_one(path: Path) -> None:
    """With other secrets, and as something else if need be."""
    site = SiteDirectory(path)
    old = (site.directory_of("pi") / "password").read_text()
    site.revoke("pi")
    assert consistent(path)
    with pytest.raises(SiteError, match="shut out"):
        site.renew("pi")
    site.forget("pi")
    assert not (path / "nodes/pi").exists()
    site.add_node("pi", "fog")
    assert (site.directory_of("pi") / "password").read_text() != old
    assert can_sign_in(path, "pi")


@pytest.mark.parametrize("name", ["coordinator", "admin"])
def test_a_site_keeps_its_own(path: Path, name: str) -> None:
    """They can be given new secrets, not shut out."""
    site = SiteDirectory(path)
    with pytest.raises(SiteError, match="cannot do without"):
        site.revoke(name)
    old = (site.directory_of(name) / "password").read_text()
    site.renew(name)
    assert (site.directory_of(name) / "password").read_text() != old


def test_forgetting_spares_who_is_still_in(path: Path) -> None:
    """Only the files of one who was shut out are deleted."""
    site = SiteDirectory(path)
    site.forget("pi")
    assert can_sign_in(path, "pi")


CHANGES: dict[str, Callable[[SiteDirectory], None]] = {
    "add a node": lambda site: site.add_node("new", "cloud"),
    "add a client": lambda site: site.add_client("new"),
    "revoke": lambda site: site.revoke("laptop"),
    "renew": lambda site: site.renew("laptop"),
    "renew the servers": lambda site: site.renew_server(["127.0.0.1", "other.example"]),
}


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Call with n: the n-th write to the directory from now on does not happen any more, nor anything after it."""
    left = [10**9]

    def counted(act: Callable[..., object]) -> Callable[..., object]:
        def acted(*arguments: object, **keywords: object) -> object:
            if left[0] <= 0:
                raise Killed
            left[0] -= 1
            return act(*arguments, **keywords)

        return acted

    monkeypatch.setattr(site_files.tempfile, "mkstemp", counted(site_files.tempfile.mkstemp))
    monkeypatch.setattr(site_files.tempfile, "mkdtemp", counted(site_files.tempfile.mkdtemp))
    for act in ("rename", "replace", "unlink", "mkdir"):
        monkeypatch.setattr(Path, act, counted(getattr(Path, act)))
    monkeypatch.setattr(site_files.shutil, "rmtree", counted(site_files.shutil.rmtree))

    def arm(writes: int) -> None:
        left[0] = writes

    yield arm
    arm(10**9)


@pytest.mark.parametrize("what", CHANGES)
def test_a_command_that_is_killed_anywhere_is_made_good_by_the_next(
    what: str, path: Path, kill_after: Callable[[int], None], tmp_path: Path
) -> None:
    """After a kill at every single step the site opens, others can sign in, and repeating the command completes it."""
    change = CHANGES[what]
    for writes in range(40):
        site_path = Path(shutil.copytree(path, tmp_path / f"killed-{writes}"))
        site = SiteDirectory(site_path)
        kill_after(writes)
        try:
            change(site)
            finished = True
        except Killed:
            finished = False
        kill_after(10**9)
        reopened = SiteDirectory(site_path)
        assert all(can_sign_in(site_path, name) for name in ("pi", "alice", "bob", "admin") if consistent(site_path))
        if not finished:
            try:
                change(reopened)
            except SiteError as error:
                assert "already" in str(error)  # it had been let in when it was killed
        # Any command looks after what one before it left undone.
        SiteDirectory(site_path).renew("bob")
        assert consistent(site_path)
        assert not list(site_path.rglob(".new-*"))
        expected = {"pi", "alice", "bob", "admin"}
        expected |= {"new"} if what.startswith("add") else set()
        expected |= {"laptop"} if what != "revoke" else set()
        assert {name for name in (*expected, "laptop") if can_sign_in(site_path, name)} == expected
        handshake_error = handshake(
            ssl.create_default_context(cafile=site_path / "ca.crt"), site_path / "broker/server.pem", "127.0.0.1"
        )
        assert handshake_error is None
        if finished:
            return
    pytest.fail("it was never finished")


def test_a_site_that_is_killed_in_the_making_is_not_there(tmp_path: Path, kill_after: Callable[[int], None]) -> None:
    """Either the whole of it or nothing under its name, so that making it can be repeated."""
    for writes in range(0, 60, 4):
        path = tmp_path / str(writes) / "site"
        path.parent.mkdir()
        kill_after(writes)
        try:
            SiteDirectory.create(path, site="home", hosts=("h",))
        except Killed:
            kill_after(10**9)
            if not path.exists():
                SiteDirectory.create(path, site="home", hosts=("h",))
        kill_after(10**9)
        assert consistent(path)
        SiteDirectory(path).add_node("pi", "edge")
        assert can_sign_in(path, "pi")


def test_two_commands_at_once_do_not_mix(path: Path) -> None:
    """The second is told that another is at work."""
    site = SiteDirectory(path)
    with locked(path), pytest.raises(SiteError, match="another `splitrail site` is at work"):
        site.add_client("carol")
    site.add_client("carol")


def test_changes_by_another_process_are_seen(path: Path) -> None:
    """The record is read anew before each change."""
    site = SiteDirectory(path)
    program = "from pathlib import Path; from broker.site_directory import SiteDirectory\n"
    program += f"SiteDirectory(Path({str(path)!r})).add_client('carol')"
    subprocess.run([sys.executable, "-c", program], check=True)
    site.add_client("dave")
    names = {member.name for member in SiteDirectory(path).record.admitted}
    assert {"carol", "dave"} <= names
    assert consistent(path)


@pytest.mark.parametrize("content", ["", "{}", "nonsense", '{"version": 1}', "[" * 5000])
def test_a_record_that_is_none_is_said(path: Path, content: str) -> None:
    """One sentence with the file's name."""
    (path / "site.json").write_text(content)
    with pytest.raises(SiteError, match=r"site\.json is not what"):
        SiteDirectory(path)


def test_a_record_of_a_newer_version_is_left_alone(path: Path) -> None:
    """It is not read as if it were understood."""
    record = json.loads((path / "site.json").read_text())
    (path / "site.json").write_text(json.dumps({**record, "version": 3}))
    with pytest.raises(SiteError, match="newer Splitrail"):
        SiteDirectory(path)


def test_a_record_of_an_older_version_is_brought_up_to_date(path: Path) -> None:
    """Nobody is lost by it; the next change writes the new version, and rules for what that knows."""
    record = json.loads((path / "site.json").read_text())
    del record["discovery_prefix"]
    for member in record["members"]:
        del member["plug_topic"]
    (path / "site.json").write_text(json.dumps({**record, "version": 1}))
    (path / "broker/acl").write_text("")
    (path / "readers").rmdir()
    site = SiteDirectory(path)
    assert [member.name for member in site.record.admitted] == [member["name"] for member in record["members"]]
    site.add_reader("dashboard")
    assert can_sign_in(path, "dashboard")
    assert json.loads((path / "site.json").read_text())["version"] == 2
    assert "topic readwrite homeassistant/sensor/splitrail_home/+/config" in (path / "broker/acl").read_text()


def test_a_reader_has_settings_to_look_on_with(path: Path) -> None:
    """It signs in, knows the coordinator, and may come back after it was shut out."""
    site = SiteDirectory(path)
    site.add_reader("dashboard", discovery_prefix="hub")
    settings = load_settings(path / "readers/dashboard/client.yaml", ClientSettings)
    assert settings.broker.username == "dashboard"
    assert can_sign_in(path, "dashboard")
    assert "topic write hub/status" in (path / "broker/acl").read_text()
    site.renew("dashboard")
    assert can_sign_in(path, "dashboard")
    site.revoke("dashboard")
    site.forget("dashboard")
    assert consistent(path)
    assert not (path / "readers/dashboard").exists()
    site.add_reader("dashboard")
    assert site.record.discovery_prefix == "hub"


def test_a_node_keeps_its_plug_when_its_secrets_change(path: Path) -> None:
    """What it may read is part of who it is."""
    site = SiteDirectory(path)
    site.add_node("plugged", "edge", plug_topic="tele/pi-plug/SENSOR")
    site.renew("plugged")
    assert SiteDirectory(path).record.member("plugged").plug_topic == "tele/pi-plug/SENSOR"
    assert (path / "broker/acl").read_text().count("topic read tele/pi-plug/SENSOR\n") == 1


def test_a_node_gets_another_plug_without_new_secrets(path: Path) -> None:
    """Or none; nobody else has one."""
    site = SiteDirectory(path)
    site.set_plug("pi", "tele/pi-plug/SENSOR")
    assert "topic read tele/pi-plug/SENSOR\n" in (path / "broker/acl").read_text()
    assert can_sign_in(path, "pi")
    site.set_plug("pi", None)
    assert "tele/" not in (path / "broker/acl").read_text()
    with pytest.raises(SiteError, match="'alice' is a client: a plug measures a node"):
        site.set_plug("alice", "tele/pi-plug/SENSOR")
    with pytest.raises(SiteError, match="is no topic of a plug"):
        site.set_plug("pi", "#")


@pytest.mark.parametrize(
    "topic", ["", "#", "tele/+/SENSOR", "a b", "a\ntopic readwrite #", "$SYS/x", "splitrail/v1/home/leader", "x" * 201]
)
def test_what_is_no_plugs_topic_gives_no_rights(path: Path, topic: str) -> None:
    """Neither wildcards nor a line of its own in the access rules, from the command or from the record."""
    site = SiteDirectory(path)
    with pytest.raises(SiteError, match="is no topic of a plug"):
        site.add_node("plugged", "edge", plug_topic=topic)
    record = json.loads((path / "site.json").read_text())
    record["members"][-1]["plug_topic"] = topic
    (path / "site.json").write_text(json.dumps(record))
    with pytest.raises(SiteError, match=r"site\.json is not what"):
        SiteDirectory(path)


@pytest.mark.parametrize("prefix", ["", "a/b", "+", "splitrail", "home assistant", "a\nb"])
def test_what_is_no_discovery_prefix_gives_no_rights(path: Path, prefix: str) -> None:
    """It is one level, and not the one that our own topics begin with."""
    with pytest.raises(SiteError, match="is no discovery prefix"):
        SiteDirectory(path).add_reader("dashboard", discovery_prefix=prefix)


def test_a_directory_without_a_site_is_said(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(SiteError, match="holds no site: make one with `splitrail site init`"):
        SiteDirectory(tmp_path)


def test_a_full_site_is_said_and_stays_readable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member more than can be read again is not written."""
    monkeypatch.setattr("broker.site_record.MAX_MEMBERS", 6)
    site = SiteDirectory(path)
    with pytest.raises(SiteError, match="has 6 members, as many as it can have"):
        site.add_client("carol")
    assert SiteDirectory(path).record == site.record


def test_nobody_but_its_owner_changes_a_site(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root neither: the broker, which runs as the owner, could not read what root wrote."""
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SiteError, match=f"belongs to {path.owner()}: run this as that user"):
        SiteDirectory(path).add_client("carol")
