"""What a site's record admits: names, hosts, topics and versions; the rest is refused by one sentence."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from site_checks import can_sign_in

from broker.errors import SiteError
from broker.site_directory import SiteDirectory
from broker.site_record import RESERVED, check_host, check_name


@pytest.mark.parametrize(
    "name", ["", "-x", "../x", "a/b", "a b", "a\nuser b", "x" * 65, "ä", "+", "#", *sorted(RESERVED)]
)
def test_a_name_that_nobody_can_bear_is_refused(site_path: Path, name: str) -> None:
    """Neither what could climb out of the directory or the ACL file, nor the site's own names."""
    site = SiteDirectory(site_path)
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


@pytest.mark.parametrize("content", ["", "{}", "nonsense", '{"version": 1}', "[" * 5000])
def test_a_record_that_is_none_is_said(site_path: Path, content: str) -> None:
    """One sentence with the file's name."""
    (site_path / "site.json").write_text(content)
    with pytest.raises(SiteError, match=r"site\.json is not what"):
        SiteDirectory(site_path)


def test_a_record_of_a_newer_version_is_left_alone(site_path: Path) -> None:
    """It is not read as if it were understood."""
    record = json.loads((site_path / "site.json").read_text())
    (site_path / "site.json").write_text(json.dumps({**record, "version": 3}))
    with pytest.raises(SiteError, match="newer Splitrail"):
        SiteDirectory(site_path)


def test_a_record_of_an_older_version_is_brought_up_to_date(site_path: Path) -> None:
    """Nobody is lost by it; the next change writes the new version, and rules for what that knows."""
    record = json.loads((site_path / "site.json").read_text())
    del record["discovery_prefix"]
    for member in record["members"]:
        del member["plug_topic"]
    (site_path / "site.json").write_text(json.dumps({**record, "version": 1}))
    (site_path / "broker/acl").write_text("")
    (site_path / "readers").rmdir()
    site = SiteDirectory(site_path)
    assert [member.name for member in site.record.admitted] == [member["name"] for member in record["members"]]
    site.add_reader("dashboard")
    assert can_sign_in(site_path, "dashboard")
    assert json.loads((site_path / "site.json").read_text())["version"] == 2
    assert "topic readwrite homeassistant/sensor/splitrail_home/+/config" in (site_path / "broker/acl").read_text()


@pytest.mark.parametrize(
    "topic", ["", "#", "tele/+/SENSOR", "a b", "a\ntopic readwrite #", "$SYS/x", "splitrail/v1/home/leader", "x" * 201]
)
def test_what_is_no_plugs_topic_gives_no_rights(site_path: Path, topic: str) -> None:
    """Neither wildcards nor a line of its own in the access rules, from the command or from the record."""
    site = SiteDirectory(site_path)
    with pytest.raises(SiteError, match="is no topic of a plug"):
        site.add_node("plugged", "edge", plug_topic=topic)
    record = json.loads((site_path / "site.json").read_text())
    record["members"][-1]["plug_topic"] = topic
    (site_path / "site.json").write_text(json.dumps(record))
    with pytest.raises(SiteError, match=r"site\.json is not what"):
        SiteDirectory(site_path)


@pytest.mark.parametrize("prefix", ["", "a/b", "+", "splitrail", "home assistant", "a\nb"])
def test_what_is_no_discovery_prefix_gives_no_rights(site_path: Path, prefix: str) -> None:
    """It is one level, and not the one that our own topics begin with."""
    with pytest.raises(SiteError, match="is no discovery prefix"):
        SiteDirectory(site_path).add_reader("dashboard", discovery_prefix=prefix)


def test_a_full_site_is_said_and_stays_readable(site_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member more than can be read again is not written."""
    monkeypatch.setattr("broker.site_record.MAX_MEMBERS", 6)
    site = SiteDirectory(site_path)
    with pytest.raises(SiteError, match="has 6 members, as many as it can have"):
        site.add_client("carol")
    assert SiteDirectory(site_path).record == site.record
