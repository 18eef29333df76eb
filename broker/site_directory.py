"""A site's directory: authority, server certificates, and the files of broker, coordinator, nodes and clients.

site.json decides who is admitted; every other file is made before it or follows from it, so that a command that was
killed leaves a directory which the next one completes.
"""

import contextlib
import datetime
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from broker.access import Role
from broker.errors import SiteError
from broker.messages import Tier
from broker.sign_in import BrokerSettings
from broker.site_contents import (
    AUTHORITY_CERTIFICATE,
    RECORD_FILE,
    consequences,
    decoded_record,
    encoded_record,
    new_member,
)
from broker.site_files import (
    DIRECTORY_MODE,
    locked,
    remove_directory,
    remove_leftovers,
    write_directory,
    write_secret,
)
from broker.site_record import (
    SiteRecord,
    check_name,
    check_plug_topic,
    check_prefix,
    renewed,
    with_member,
    with_plug,
    without_member,
)
from broker.site_settings import agent_yaml, broker_settings, client_yaml, reader_yaml

TLS_PORT = 8883  # IANA's for MQTT over TLS
EMPTY_DIRECTORIES = ("nodes", "clients", "readers", "broker/data")
MAX_RECORD_BYTES = 20_000_000


class SiteDirectory:
    """A site in a directory. Every change is made under a lock and takes effect in one file, site.json.

    SiteError for what cannot be done; OSError where the disk or its permissions do not allow it.
    """

    def __init__(self, path: Path) -> None:
        """Open the directory that `create` made; its record is read anew before each change."""
        self._path = path.resolve()
        self._record = self._read()

    @classmethod
    def create(cls, path: Path, *, site: str, hosts: Sequence[str], port: int = TLS_PORT) -> Self:
        """Make a new site, whole or not at all; SiteError if there is something at `path` already.

        Members are told the first of `hosts`. Needs the package `cryptography`.
        """
        from broker.site_founding import files_of_new_site  # noqa: PLC0415  # only to make a site

        path = path.resolve()
        if path.exists():
            raise SiteError(f"{path} is there already: name a directory that is not there yet")
        files = files_of_new_site(path, site=site, hosts=hosts, port=port, now=datetime.datetime.now(datetime.UTC))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_directory(path, files, directories=EMPTY_DIRECTORIES)
        return cls(path)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._path

    @property
    def record(self) -> SiteRecord:
        """What is known of the site, as of the last change or of opening it."""
        return self._record

    @property
    def broker(self) -> Path:
        """The directory of the broker's files."""
        return self._path / "broker"

    def directory_of(self, name: str) -> Path:
        """Where a member's own files lie, to be copied to it."""
        member = self._record.member(name)
        match member.role:
            case "node" | "client" | "reader" as role:
                return self._path / f"{role}s" / name
            case _:
                return self._path / name

    def broker_settings(self, name: str, *, host: str | None = None) -> BrokerSettings:
        """How a member signs in; `host` where it is not the first of the site's."""
        return broker_settings(
            self.directory_of(name), host=host or self._record.hosts[0], port=self._record.port, user=name
        )

    def add_node(self, name: str, tier: Tier, *, plug_topic: str | None = None) -> None:
        """Let a node in; its files are in `nodes/<name>`. It may read its smart plug's topic, where it has one."""
        if plug_topic is not None:
            check_plug_topic(plug_topic)
        settings = agent_yaml(
            site=self._record.site, node=name, tier=tier, host=self._record.hosts[0], port=self._record.port
        )
        self._add(name, "node", {"agent.yaml": settings.encode()}, tier=tier, plug_topic=plug_topic)

    def set_plug(self, name: str, topic: str | None) -> None:
        """Let a node read another smart plug's topic, or none; its secrets stay."""
        if topic is not None:
            check_plug_topic(topic)
        with self._changing():
            self._commit(with_plug(self._record, name, topic))

    def add_client(self, name: str) -> None:
        """Let one in who asks for inferences; its files are in `clients/<name>`."""
        settings = client_yaml(site=self._record.site, client=name, host=self._record.hosts[0], port=self._record.port)
        self._add(name, "client", {"client.yaml": settings.encode()})

    def add_reader(self, name: str, *, discovery_prefix: str | None = None) -> None:
        """Let one in who only looks on; its files are in `readers/<name>`.

        `discovery_prefix` is Home Assistant's, of the whole site, where it is not as before.
        """
        prefix = self._record.discovery_prefix if discovery_prefix is None else discovery_prefix
        check_prefix(prefix)
        settings = reader_yaml(site=self._record.site, reader=name, host=self._record.hosts[0], port=self._record.port)
        self._add(name, "reader", {"client.yaml": settings.encode()}, discovery_prefix=discovery_prefix)

    def revoke(self, name: str) -> None:
        """Shut a member out, as of the broker's next look at its files; a repetition changes nothing more.

        What it signed in with stays in its directory until `forget`.
        """
        with self._changing():
            self._commit(without_member(self._record, name, datetime.datetime.now(datetime.UTC)))

    def forget(self, name: str) -> None:
        """Delete the files of one who was shut out."""
        with self._changing():
            if self._record.member(name).revoked is not None:
                remove_directory(self.directory_of(name))

    def renew(self, name: str) -> None:
        """Give a member another password and, where it has one, another token; the old ones are good for nothing."""
        with self._changing():
            member, secrets = new_member(name, self._record.member(name).role, datetime.datetime.now(datetime.UTC))
            record = renewed(self._record, name, member.password, member.token, member.since)
            directory = self.directory_of(name)
            directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            self._commit(record)
            for file, content in {**secrets, AUTHORITY_CERTIFICATE: self._authority_certificate()}.items():
                write_secret(directory / file, content)

    def renew_server(self, hosts: Sequence[str] = ()) -> None:
        """Give broker and HTTP interface new certificates and keys, for other hosts where some are given.

        Needs the package `cryptography`.
        """
        from broker.site_founding import renewed_certificates  # noqa: PLC0415  # only for certificates

        with self._changing():
            wanted, now = tuple(hosts) or self._record.hosts, datetime.datetime.now(datetime.UTC)
            files, record = renewed_certificates(self._path, self._record, wanted, now)
            for name, content in files.items():
                write_secret(self._path / name, content)
            self._commit(record)

    def _add(
        self,
        name: str,
        role: Role,
        files: dict[str, bytes],
        *,
        tier: Tier | None = None,
        plug_topic: str | None = None,
        discovery_prefix: str | None = None,
    ) -> None:
        check_name(name)
        with self._changing():
            member, secrets = new_member(name, role, datetime.datetime.now(datetime.UTC))
            record = with_member(self._record, msgspec.structs.replace(member, tier=tier, plug_topic=plug_topic))
            if discovery_prefix is not None:
                record = msgspec.structs.replace(record, discovery_prefix=discovery_prefix)
            # Before the record: a member whose secrets nobody has could not be told from one that lost them.
            parent = self._path / f"{role}s"
            parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            remove_directory(parent / name)
            write_directory(parent / name, {**files, **secrets, AUTHORITY_CERTIFICATE: self._authority_certificate()})
            self._commit(record)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        owner = self._path.stat().st_uid
        if owner != os.geteuid():
            # What root would write here, a broker that runs as the owner could not read.
            raise SiteError(f"{self._path} belongs to {_user(owner)}: run this as that user (`sudo -u {_user(owner)}`)")
        with locked(self._path):
            for directory in (self._path, *filter(Path.is_dir, self._path.rglob("*"))):
                remove_leftovers(directory)
            self._record = self._read()
            self._follow()
            yield

    def _commit(self, record: SiteRecord) -> None:
        if record != self._record:
            write_secret(self._path / RECORD_FILE, encoded_record(record))
        self._record = record
        self._follow()

    def _follow(self) -> None:
        """Write anew what differs from what the record asks for."""
        for name, content in consequences(self._record).items():
            path = self._path / name
            if not path.is_file() or path.read_bytes() != content:
                write_secret(path, content)

    def _authority_certificate(self) -> bytes:
        return (self._path / AUTHORITY_CERTIFICATE).read_bytes()

    def _read(self) -> SiteRecord:
        path = self._path / RECORD_FILE
        try:
            with path.open("rb") as file:
                content = file.read(MAX_RECORD_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise SiteError(
                f"{self._path} holds no site: make one with `splitrail site init`, or name its directory (--directory)"
            ) from None
        return decoded_record(content, str(path))


def _user(number: int) -> str:
    """A user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"
