"""A site's directory: what is in it, whom it is for, and that no crash leaves it unusable."""

import os
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from site_checks import can_sign_in, consistent, handshake

from broker import site_files
from broker.errors import SiteError
from broker.site_directory import SiteDirectory
from broker.site_files import locked
from splitrail.client_settings import ClientSettings
from splitrail.settings import load_settings


class Killed(BaseException):
    """Stands for the end of the process; nothing catches it but clean-up, which a kill would not run either."""


def test_all_is_for_its_owner_alone(site_path: Path) -> None:
    """Files 0600, directories 0700: also those that hold no secret, so that nobody has to know which do."""
    for each in [site_path, *site_path.rglob("*")]:
        assert stat.S_IMODE(each.stat().st_mode) == (0o700 if each.is_dir() else 0o600), each


def test_nothing_is_overwritten(site_path: Path) -> None:
    """A site, a node and a client that are there already are left alone."""
    before = {file: file.read_bytes() for file in site_path.rglob("*") if file.is_file()}
    with pytest.raises(SiteError, match="there already"):
        SiteDirectory.create(site_path, site="home", hosts=("h",))
    site = SiteDirectory(site_path)
    with pytest.raises(SiteError, match="has a node 'pi' already"):
        site.add_node("pi", "fog")
    with pytest.raises(SiteError, match="has a client 'alice' already"):
        site.add_node("alice", "fog")
    assert {file: file.read_bytes() for file in site_path.rglob("*") if file.is_file()} == before


def test_who_was_shut_out_may_come_back_as_a_new_one(site_path: Path) -> None:
    """With other secrets, and as something else if need be."""
    site = SiteDirectory(site_path)
    old = (site.directory_of("pi") / "password").read_text()
    site.revoke("pi")
    assert consistent(site_path)
    with pytest.raises(SiteError, match="shut out"):
        site.renew("pi")
    site.forget("pi")
    assert not (site_path / "nodes/pi").exists()
    site.add_node("pi", "fog")
    assert (site.directory_of("pi") / "password").read_text() != old
    assert can_sign_in(site_path, "pi")


@pytest.mark.parametrize("name", ["coordinator", "admin"])
def test_a_site_keeps_its_own(site_path: Path, name: str) -> None:
    """They can be given new secrets, not shut out."""
    site = SiteDirectory(site_path)
    with pytest.raises(SiteError, match="cannot do without"):
        site.revoke(name)
    old = (site.directory_of(name) / "password").read_text()
    site.renew(name)
    assert (site.directory_of(name) / "password").read_text() != old


def test_forgetting_spares_who_is_still_in(site_path: Path) -> None:
    """Only the files of one who was shut out are deleted."""
    site = SiteDirectory(site_path)
    site.forget("pi")
    assert can_sign_in(site_path, "pi")


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
    what: str, site_path: Path, kill_after: Callable[[int], None], tmp_path: Path
) -> None:
    """After a kill at every single step the site opens, others can sign in, and repeating the command completes it."""
    change = CHANGES[what]
    for writes in range(40):
        killed = Path(shutil.copytree(site_path, tmp_path / f"killed-{writes}"))
        site = SiteDirectory(killed)
        kill_after(writes)
        try:
            change(site)
            finished = True
        except Killed:
            finished = False
        kill_after(10**9)
        reopened = SiteDirectory(killed)
        assert all(can_sign_in(killed, name) for name in ("pi", "alice", "bob", "admin") if consistent(killed))
        if not finished:
            try:
                change(reopened)
            except SiteError as error:
                assert "already" in str(error)  # it had been let in when it was killed
        # Any command looks after what one before it left undone.
        SiteDirectory(killed).renew("bob")
        assert consistent(killed)
        assert not list(killed.rglob(".new-*"))
        expected = {"pi", "alice", "bob", "admin"}
        expected |= {"new"} if what.startswith("add") else set()
        expected |= {"laptop"} if what != "revoke" else set()
        assert {name for name in (*expected, "laptop") if can_sign_in(killed, name)} == expected
        handshake_error = handshake(
            ssl.create_default_context(cafile=killed / "ca.crt"), killed / "broker/server.pem", "127.0.0.1"
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


def test_two_commands_at_once_do_not_mix(site_path: Path) -> None:
    """The second is told that another is at work."""
    site = SiteDirectory(site_path)
    with locked(site_path), pytest.raises(SiteError, match="another `splitrail site` is at work"):
        site.add_client("carol")
    site.add_client("carol")


def test_changes_by_another_process_are_seen(site_path: Path) -> None:
    """The record is read anew before each change."""
    site = SiteDirectory(site_path)
    program = "from pathlib import Path; from broker.site_directory import SiteDirectory\n"
    program += f"SiteDirectory(Path({str(site_path)!r})).add_client('carol')"
    subprocess.run([sys.executable, "-c", program], check=True)
    site.add_client("dave")
    names = {member.name for member in SiteDirectory(site_path).record.admitted}
    assert {"carol", "dave"} <= names
    assert consistent(site_path)


def test_a_reader_has_settings_to_look_on_with(site_path: Path) -> None:
    """It signs in, knows the coordinator, and may come back after it was shut out."""
    site = SiteDirectory(site_path)
    site.add_reader("dashboard", discovery_prefix="hub")
    settings = load_settings(site_path / "readers/dashboard/client.yaml", ClientSettings)
    assert settings.broker.username == "dashboard"
    assert can_sign_in(site_path, "dashboard")
    assert "topic write hub/status" in (site_path / "broker/acl").read_text()
    site.renew("dashboard")
    assert can_sign_in(site_path, "dashboard")
    site.revoke("dashboard")
    site.forget("dashboard")
    assert consistent(site_path)
    assert not (site_path / "readers/dashboard").exists()
    site.add_reader("dashboard")
    assert site.record.discovery_prefix == "hub"


def test_a_node_keeps_its_plug_when_its_secrets_change(site_path: Path) -> None:
    """What it may read is part of who it is."""
    site = SiteDirectory(site_path)
    site.add_node("plugged", "edge", plug_topic="tele/pi-plug/SENSOR")
    site.renew("plugged")
    assert SiteDirectory(site_path).record.member("plugged").plug_topic == "tele/pi-plug/SENSOR"
    assert (site_path / "broker/acl").read_text().count("topic read tele/pi-plug/SENSOR\n") == 1


def test_a_node_gets_another_plug_without_new_secrets(site_path: Path) -> None:
    """Or none; nobody else has one."""
    site = SiteDirectory(site_path)
    site.set_plug("pi", "tele/pi-plug/SENSOR")
    assert "topic read tele/pi-plug/SENSOR\n" in (site_path / "broker/acl").read_text()
    assert can_sign_in(site_path, "pi")
    site.set_plug("pi", None)
    assert "tele/" not in (site_path / "broker/acl").read_text()
    with pytest.raises(SiteError, match="'alice' is a client: a plug measures a node"):
        site.set_plug("alice", "tele/pi-plug/SENSOR")
    with pytest.raises(SiteError, match="is no topic of a plug"):
        site.set_plug("pi", "#")


def test_a_directory_without_a_site_is_said(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(SiteError, match="holds no site: make one with `splitrail site init`"):
        SiteDirectory(tmp_path)


def test_nobody_but_its_owner_changes_a_site(site_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root neither: the broker, which runs as the owner, could not read what root wrote."""
    monkeypatch.setattr(os, "geteuid", lambda: site_path.stat().st_uid + 1)
    with pytest.raises(SiteError, match=f"belongs to {site_path.owner()}: run this as that user"):
        SiteDirectory(site_path).add_client("carol")
