"""What is known of a site: who belongs to it, with which digests, and until when its certificates hold.

Pure values and the three files that are made of them; where they lie belongs to `broker.site_directory`.
"""

import contextlib
import datetime
import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from broker.access import Role, User, acl_file
from broker.discovery import DEFAULT_PREFIX, PREFIX_FORM, Prefix
from broker.errors import SiteError
from broker.messages import Name, Tier
from broker.topics import ROOT

RECORD_VERSION = 2
MAX_MEMBERS = 5_000  # of whose tokens the file stays below the 1 MB that the coordinator reads
COORDINATOR: Final = "coordinator"
ADMIN: Final = "admin"
# Tools on the broker's own machine reach it by these, whatever else it is called.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# The level of the topics under which nameless clients get their replies is nobody's to bear.
RESERVED = frozenset({COORDINATOR, ADMIN, "anonymous"})
EARLY_WARNING = datetime.timedelta(days=60)

_PLUG_TOPIC_FORM: Final = rf"^(?!{ROOT}/)[^\s#+$\x00][^\s#+\x00]{{0,199}}\Z"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One who may sign in, or who once could."""

    name: Name
    role: Role
    tier: Tier | None = None
    """Where a node stands; None for everybody else."""
    plug_topic: Annotated[str, Meta(pattern=_PLUG_TOPIC_FORM)] | None = None
    """Where the smart plug that measures a node says what it reads."""
    password: str
    """Its digest, as Mosquitto keeps it."""
    token: str | None = None
    """The digest of the token for the coordinator's HTTP interface; None for the coordinator itself."""
    since: datetime.datetime
    """When its password and token were made."""
    revoked: datetime.datetime | None = None


class SiteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of site.json, from which the broker's and the coordinator's files are made."""

    version: Annotated[int, Meta(ge=1)] = RECORD_VERSION
    site: Name
    hosts: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)]
    """Names and addresses that the servers' certificates bear; members are told the first."""
    port: Annotated[int, Meta(ge=1, le=65_535)]
    """Where the broker listens."""
    discovery_prefix: Prefix = DEFAULT_PREFIX
    """First level of the topics by which a Home Assistant on this broker discovers entities."""
    authority_expires: datetime.datetime
    server_expires: datetime.datetime
    members: Annotated[tuple[Member, ...], Meta(max_length=MAX_MEMBERS)]

    def member(self, name: str) -> Member:
        """Who bears this name, shut out or not; SiteError if nobody does."""
        for member in self.members:
            if member.name == name:
                return member
        there = ", ".join(member.name for member in self.members if member.name not in RESERVED) or "none yet"
        raise SiteError(f"nobody at the site {self.site!r} is called {name!r}; there are: {there}")

    @property
    def admitted(self) -> tuple[Member, ...]:
        """Those who may sign in."""
        return tuple(member for member in self.members if member.revoked is None)


def check_name(name: str) -> None:
    """SiteError unless a site, a node or a client can bear this name."""
    if _NAME.fullmatch(name) is None:
        raise SiteError(
            f"{name!r} is no name: write 1 to 64 letters, digits, `_`, `.` and `-`, a letter or digit first"
        )


def check_plug_topic(topic: str) -> None:
    """SiteError unless a node can be let read this topic of another system."""
    if re.match(_PLUG_TOPIC_FORM, topic) is None:
        raise SiteError(
            f"{topic!r} is no topic of a plug: write it whole, such as tele/pi-plug/SENSOR, without spaces, `+` and `#`"
        )


def check_prefix(prefix: str) -> None:
    """SiteError unless Home Assistant can discover by it."""
    if re.match(PREFIX_FORM, prefix) is None:
        raise SiteError(f"{prefix!r} is no discovery prefix: write one level, such as {DEFAULT_PREFIX}")


def check_host(host: str) -> None:
    """SiteError unless a certificate can bear this name or address."""
    with contextlib.suppress(ValueError):
        if getattr(ipaddress.ip_address(host), "scope_id", None) is None:
            return
    if _HOST.fullmatch(host) is None or ".." in host or host.replace(".", "").isdigit():
        raise SiteError(f"{host!r} is no host: give a name such as broker.local or an address such as 192.168.1.10")


def certified_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """All that a certificate of the servers at `hosts` bears; SiteError for what it cannot."""
    for host in hosts:
        check_host(host)
    return tuple(dict.fromkeys((*hosts, *LOCAL_HOSTS)))


def with_member(record: SiteRecord, member: Member) -> SiteRecord:
    """The record with a new member; one that was shut out may come back under its name, as a new one."""
    if member.name in RESERVED and member.role != member.name:
        raise SiteError(f"the name {member.name!r} is the site's own: choose another")
    for other in record.members:
        if other.name == member.name and other.revoked is None:
            raise SiteError(
                f"the site {record.site!r} has a {other.role} {member.name!r} already: "
                f"choose another name, or give it new secrets with `splitrail site renew {member.name}`"
            )
    others = tuple(other for other in record.members if other.name != member.name)
    if len(others) >= MAX_MEMBERS:
        raise SiteError(
            f"the site {record.site!r} has {MAX_MEMBERS} members, as many as it can have: make another site"
        )
    return msgspec.structs.replace(record, members=(*others, member))


def without_member(record: SiteRecord, name: str, now: datetime.datetime) -> SiteRecord:
    """The record with a node, client or reader shut out; unchanged if it is already."""
    member = record.member(name)
    if member.role in (COORDINATOR, ADMIN):
        raise SiteError(f"a site cannot do without its {name}: give it new secrets with `splitrail site renew {name}`")
    if member.revoked is not None:
        return record
    return _replaced(record, msgspec.structs.replace(member, revoked=now))


def with_plug(record: SiteRecord, name: str, topic: str | None) -> SiteRecord:
    """The record with another smart plug for a node, or with none."""
    member = record.member(name)
    if member.role != "node":
        raise SiteError(f"{name!r} is a {member.role}: a plug measures a node")
    return _replaced(record, msgspec.structs.replace(member, plug_topic=topic))


def renewed(record: SiteRecord, name: str, password: str, token: str | None, now: datetime.datetime) -> SiteRecord:
    """The record with other digests for a member; SiteError if it was shut out."""
    member = record.member(name)
    if member.revoked is not None:
        raise SiteError(f"{name!r} was shut out: let it back in with `splitrail site add-{member.role} {name}`")
    return _replaced(record, msgspec.structs.replace(member, password=password, token=token, since=now))


def passwords_file(record: SiteRecord) -> str:
    """Mosquitto's password file."""
    return "".join(f"{member.name}:{member.password}\n" for member in record.admitted)


def access_file(record: SiteRecord) -> str:
    """Mosquitto's ACL file."""
    users = [User(member.name, member.role, member.plug_topic) for member in record.admitted]
    return acl_file(record.site, users, record.discovery_prefix)


def tokens_file(record: SiteRecord) -> str:
    """The coordinator's file of tokens: a name and the sha256 of its token in each line."""
    head = "# Made by `splitrail site`, which writes it anew at every change: name and sha256 of its token.\n"
    return head + "".join(f"{member.name} {member.token}\n" for member in record.admitted if member.token is not None)


def expiry_warnings(record: SiteRecord, now: datetime.datetime) -> tuple[str, ...]:
    """A sentence for each certificate that expires within 60 days, or has."""
    found = []
    if record.server_expires - now < EARLY_WARNING:
        found.append(
            f"the servers' certificate expires on {record.server_expires:%Y-%m-%d}: "
            "make a new one with `splitrail site renew --server`"
        )
    if record.authority_expires - now < EARLY_WARNING:
        found.append(
            f"the authority expires on {record.authority_expires:%Y-%m-%d}: make a new site with `splitrail site init` "
            "and bring every node its new files"
        )
    return tuple(found)


def _replaced(record: SiteRecord, member: Member) -> SiteRecord:
    members = tuple(member if other.name == member.name else other for other in record.members)
    return msgspec.structs.replace(record, members=members)
