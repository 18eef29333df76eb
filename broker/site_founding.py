"""What a new site begins with: authority, servers' certificates, coordinator, admin and record; and new certificates.

Made in memory, and by the package `cryptography`, which nothing else about a site needs.
"""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from broker.access import Role
from broker.certificates import Certificate, make_authority, make_server_certificate
from broker.errors import SiteError
from broker.mosquitto_configuration import shipped_configuration, site_configuration
from broker.site_contents import (
    AUTHORITY_CERTIFICATE,
    AUTHORITY_KEY,
    BROKER_CERTIFICATE,
    HTTP_CERTIFICATE,
    RECORD_FILE,
    consequences,
    encoded_record,
    new_member,
)
from broker.site_record import ADMIN, COORDINATOR, SiteRecord, certified_hosts, check_name, with_member
from broker.site_settings import client_yaml, coordinator_yaml


def files_of_new_site(
    path: Path, *, site: str, hosts: Sequence[str], port: int, now: datetime.datetime
) -> dict[str, bytes]:
    """All files of a site that is to lie at `path`, by their names there; SiteError for a name or host that none bears.

    Members are told the first of `hosts`.
    """
    check_name(site)
    names = certified_hosts(hosts)
    authority = make_authority(site, now)
    certificates, expires = _server_certificates(authority, names, now)
    record = SiteRecord(
        site=site,
        hosts=tuple(hosts),
        port=port,
        authority_expires=authority.expires,
        server_expires=expires,
        members=(),
    )
    broker = path / "broker"
    configuration = site_configuration(shipped_configuration(), port, broker, root=os.geteuid() == 0)
    files = {
        AUTHORITY_CERTIFICATE: authority.certificate,
        AUTHORITY_KEY: authority.key,
        "broker/mosquitto.conf": configuration.encode(),
        "coordinator/coordinator.yaml": coordinator_yaml(site=site, host=hosts[0], port=port).encode(),
        "admin/client.yaml": client_yaml(site=site, client=ADMIN, host=hosts[0], port=port).encode(),
        **certificates,
    }
    roles: tuple[Role, ...] = (COORDINATOR, ADMIN)
    for name in roles:
        member, secrets = new_member(name, name, now)
        record = with_member(record, member)
        files |= {f"{name}/{file}": content for file, content in secrets.items()}
        files[f"{name}/{AUTHORITY_CERTIFICATE}"] = authority.certificate
    return {**files, **consequences(record), RECORD_FILE: encoded_record(record)}


def renewed_certificates(
    path: Path, record: SiteRecord, hosts: tuple[str, ...], now: datetime.datetime
) -> tuple[dict[str, bytes], SiteRecord]:
    """The servers' new files, signed by the authority of the site at `path`, and the record of a site of these hosts.

    SiteError for a host that no certificate bears, or an authority that cannot sign; OSError where it is not there.
    """
    names = certified_hosts(hosts)
    certificate, key = ((path / file).read_bytes() for file in (AUTHORITY_CERTIFICATE, AUTHORITY_KEY))
    try:
        files, expires = _server_certificates(Certificate(certificate, key, record.authority_expires), names, now)
    except ValueError as error:
        raise SiteError(f"{path}: ca.crt and ca.key cannot sign: {error}") from None
    return files, msgspec.structs.replace(record, hosts=hosts, server_expires=expires)


def _server_certificates(
    authority: Certificate, names: Sequence[str], now: datetime.datetime
) -> tuple[dict[str, bytes], datetime.datetime]:
    """A certificate and key for each server, by their files' names, and until when they hold."""
    made = {file: make_server_certificate(authority, names, now) for file in (BROKER_CERTIFICATE, HTTP_CERTIFICATE)}
    return {file: each.certificate + each.key for file, each in made.items()}, made[BROKER_CERTIFICATE].expires
