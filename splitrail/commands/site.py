"""`splitrail site`: who is let in at a site. Makes its authority, certificates, passwords, tokens and access rules.

A thin shell around `broker.site_directory` and `broker.site_broker`.
"""

import argparse
import datetime
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec
from rich.console import Console
from rich.table import Table

from broker.discovery import DEFAULT_PREFIX
from broker.errors import ConnectionFailedError, SiteError
from broker.messages import Tier
from broker.site_broker import await_exclusion, clear_traces, reload_broker, save_broker
from broker.site_directory import TLS_PORT, SiteDirectory
from broker.site_record import COORDINATOR, Member, SiteRecord, expiry_warnings
from splitrail.log_lines import log_to_stderr
from splitrail.option_types import whole_number

EXAMPLE = "splitrail site init workshop --site home --host broker.local --host 192.168.1.10"

HIGHEST_PORT = 65_535
HIGHEST_PID = 2**22  # Linux's own bound


class ListedMember(msgspec.Struct, frozen=True, kw_only=True):
    """One who may sign in, or was shut out; nothing of its secrets."""

    name: str
    role: str
    tier: str | None
    plug_topic: str | None
    since: datetime.datetime
    revoked: datetime.datetime | None


class SiteListing(msgspec.Struct, frozen=True, kw_only=True):
    """What `splitrail site list` shows of a site."""

    site: str
    directory: str
    hosts: tuple[str, ...]
    port: int
    authority_expires: datetime.datetime
    server_expires: datetime.datetime
    members: tuple[ListedMember, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, summary: str, act: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        action = actions.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            formatter_class=parser.formatter_class,
        )
        action.set_defaults(act=act)
        return action

    init = add("init", "make a new site: authority, certificates, and the broker's and coordinator's files", _init)
    init.add_argument("path", type=Path, metavar="DIRECTORY", help="where; it must not be there yet")
    init.add_argument("--site", required=True, metavar="NAME", help="the name of the site")
    _add_hosts(init, required=True)
    init.add_argument(
        "--port", type=whole_number(1, HIGHEST_PORT), default=TLS_PORT, metavar="N", help=f"the broker's ({TLS_PORT})"
    )
    node = add("add-node", "let a node in: makes the directory nodes/NAME, to be copied to it", _add_node)
    node.add_argument("name", metavar="NAME", help="the node's name, unique at the site")
    node.add_argument("--tier", required=True, choices=get_args(Tier), help="where it stands")
    node.add_argument(
        "--plug-topic",
        metavar="TOPIC",
        help="let it read the smart plug that measures it, by the topic of the plug's readings on this broker, such as "
        "tele/pi-plug/SENSOR",
    )
    plug = add("set-plug", "let a node that is in read another smart plug, or none; its secrets stay", _set_plug)
    plug.add_argument("name", metavar="NAME", help="the node")
    plug.add_argument(
        "topic", metavar="TOPIC", nargs="?", help="of the plug's readings; without it the node reads none"
    )
    client = add("add-client", "let one in who asks for inferences: makes the directory clients/NAME", _add_client)
    client.add_argument("name", metavar="NAME", help="its name, unique at the site")
    reader = add(
        "add-reader",
        "let one in who only looks on (Home Assistant, dashboards, Prometheus, mosquitto_sub): makes the directory "
        "readers/NAME",
        _add_reader,
    )
    reader.add_argument("name", metavar="NAME", help="its name, unique at the site")
    reader.add_argument(
        "--discovery-prefix",
        metavar="PREFIX",
        help="first level of Home Assistant's discovery topics, of the whole site, where it is not as before "
        f"({DEFAULT_PREFIX})",
    )
    reader.epilog = (
        "It reads all of the site's topics but what clients ask and are answered, and all under PREFIX/, and writes "
        "PREFIX/status alone; over HTTP it reads the status, /metrics and the models."
    )
    revoke = add("revoke", "shut a node, client or reader out at once, and clear what it left on the broker", _revoke)
    revoke.add_argument("name", metavar="NAME", help="who")
    renew = add("renew", "make new secrets for a member, or new certificates for the servers", _renew)
    renew.add_argument("name", nargs="?", metavar="NAME", help="whose password and token")
    renew.add_argument("--server", action="store_true", help="the certificates of broker and HTTP interface instead")
    _add_hosts(renew, required=False)
    listing = add("list", "show who is let in, and until when the certificates hold", _list)
    listing.add_argument("--json", action="store_true", help="print it as JSON")
    for action in (node, plug, client, reader, revoke, renew, listing):
        action.add_argument(
            "--directory", type=Path, default=Path(), metavar="DIR", help="the site's directory (the current one)"
        )
    for action in (node, plug, client, reader, revoke, renew):
        action.add_argument(
            "--pid",
            type=whole_number(1, HIGHEST_PID),
            metavar="N",
            help="the broker's process, where it has not written broker/mosquitto.pid",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; 0 once it is done."""
    log_to_stderr(logging.ERROR, "splitrail: %(message)s")
    try:
        arguments.act(arguments)
    except (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise SiteError(f"{error.filename}: {error.strerror}: the site's directory is not as it was made") from None
    return 0


def _add_hosts(action: argparse.ArgumentParser, *, required: bool) -> None:
    action.add_argument(
        "--host",
        action="append",
        default=[],
        required=required,
        metavar="HOST",
        help="a name or address of broker and coordinator that their certificates bear; may be repeated, and members "
        "are told the first",
    )


def _init(arguments: argparse.Namespace) -> None:
    site = SiteDirectory.create(arguments.path, site=arguments.site, hosts=arguments.host, port=arguments.port)
    directory, configuration, settings = (
        shlex.quote(str(path))
        for path in (site.path, site.broker / "mosquitto.conf", site.path / COORDINATOR / "coordinator.yaml")
    )
    print(f"site {site.record.site} is in {directory}; ca.key and every password there are secrets")
    print(f"start its broker:      mosquitto -c {configuration}")
    print(f"let a node in:         splitrail site add-node pi --tier edge --directory {directory}")
    print(f"start its coordinator: splitrail coordinator --config {settings}")
    print("                       (put your deployments into it first)")


def _add_node(arguments: argparse.Namespace) -> None:
    site = SiteDirectory(arguments.directory)
    site.add_node(arguments.name, arguments.tier, plug_topic=arguments.plug_topic)
    directory = site.directory_of(arguments.name)
    print(f"copy {directory} to {arguments.name} (scp -rp), and start there: splitrail agent --config agent.yaml")
    _conclude(site, arguments.pid)


def _set_plug(arguments: argparse.Namespace) -> None:
    site = SiteDirectory(arguments.directory)
    site.set_plug(arguments.name, arguments.topic)
    what = (
        "no plug any more" if arguments.topic is None else f"its plug at {arguments.topic}; name it in its agent.yaml"
    )
    print(f"{arguments.name} reads {what}")
    _conclude(site, arguments.pid)


def _add_client(arguments: argparse.Namespace) -> None:
    site = SiteDirectory(arguments.directory)
    site.add_client(arguments.name)
    directory = site.directory_of(arguments.name)
    print(
        f"give {arguments.name} the directory {directory}, to use as: "
        "splitrail infer DEPLOYMENT IMAGE --config client.yaml"
    )
    _conclude(site, arguments.pid)


def _add_reader(arguments: argparse.Namespace) -> None:
    site = SiteDirectory(arguments.directory)
    site.add_reader(arguments.name, discovery_prefix=arguments.discovery_prefix)
    directory, record = site.directory_of(arguments.name), site.record
    print(f"{arguments.name} signs in at {record.hosts[0]}:{record.port} with what is in {directory}: password, ca.crt")
    print("and reads the coordinator's /metrics and status with its token; it can change nothing")
    _conclude(site, arguments.pid)


def _revoke(arguments: argparse.Namespace) -> None:
    site = SiteDirectory(arguments.directory)
    name = arguments.name
    site.revoke(name)
    reload_broker(site, arguments.pid)
    try:
        _take_effect(site, name, arguments.pid)
    except ConnectionFailedError as error:
        raise SiteError(
            f"{name} is shut out by the site's files, but no broker could be told: {error}; repeat this once it runs"
        ) from None
    site.forget(name)
    _warn(site.record)


def _take_effect(site: SiteDirectory, name: str, pid: int | None) -> None:
    """See to it that the broker refuses who was shut out, and that everybody forgets the node."""
    if (site.directory_of(name) / "password").is_file():
        await_exclusion(site, name)
        print(f"{name} is shut out: the broker refuses what it signed in with")
    else:
        print(f"{name} is shut out by the files; {site.directory_of(name)} has no password to try the broker with")
    if site.record.member(name).role == "node":
        cleared = clear_traces(site, name)
        print(f"its death is published; topics that it had left on the broker: {cleared}")
        if not save_broker(site, pid):
            print("the broker, which runs elsewhere, writes that down within a minute, and at once at a SIGUSR1")


def _renew(arguments: argparse.Namespace) -> None:
    if arguments.server == (arguments.name is not None):
        raise SiteError("say whose secrets are renewed, NAME, or --server for the servers' certificates")
    if arguments.host and not arguments.server:
        raise SiteError("--host belongs to --server: a password bears no host")
    site = SiteDirectory(arguments.directory)
    if arguments.server:
        site.renew_server(arguments.host)
        print(f"new certificates for {', '.join(site.record.hosts)}; restart the coordinator, which reads its own anew")
    else:
        site.renew(arguments.name)
        directory = site.directory_of(arguments.name)
        print(f"{arguments.name} signs in with what is in {directory} once it is copied to where it runs; no restart")
    _conclude(site, arguments.pid)


def _list(arguments: argparse.Namespace) -> None:
    site = SiteDirectory(arguments.directory)
    listing = _listing(site)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(listing), indent=2).decode())
        return
    print(f"site {listing.site}, broker {', '.join(listing.hosts)}, port {listing.port}")
    print(
        f"certificates hold until {listing.server_expires:%Y-%m-%d}, "
        f"their authority until {listing.authority_expires:%Y-%m-%d}"
    )
    table = Table("name", "role", "tier", "since", "", box=None, padding=(0, 2, 0, 0))
    for member in listing.members:
        plug = "" if member.plug_topic is None else f"reads the plug {member.plug_topic}"
        state = plug if member.revoked is None else f"shut out {member.revoked:%Y-%m-%d}"
        table.add_row(member.name, member.role, member.tier or "", f"{member.since:%Y-%m-%d}", state)
    Console().print(table)
    _warn(site.record)


def _listing(site: SiteDirectory) -> SiteListing:
    record = site.record
    return SiteListing(
        site=record.site,
        directory=str(site.path),
        hosts=record.hosts,
        port=record.port,
        authority_expires=record.authority_expires,
        server_expires=record.server_expires,
        members=tuple(_listed(member) for member in record.members),
    )


def _listed(member: Member) -> ListedMember:
    return ListedMember(
        name=member.name,
        role=member.role,
        tier=member.tier,
        plug_topic=member.plug_topic,
        since=member.since,
        revoked=member.revoked,
    )


def _conclude(site: SiteDirectory, pid: int | None) -> None:
    """Tell the broker of a change, or say that it has to be told."""
    if not reload_broker(site, pid):
        print(
            "no broker of this site runs here: it reads the change when it starts; "
            f"one elsewhere needs the files of {site.broker} and a SIGHUP"
        )
    _warn(site.record)


def _warn(record: SiteRecord) -> None:
    for warning in expiry_warnings(record, datetime.datetime.now(datetime.UTC)):
        print(f"splitrail: {warning}", file=sys.stderr)
