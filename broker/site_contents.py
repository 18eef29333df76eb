"""What the files of a site hold: its record, those that follow from that, and what a member signs in with.

Made and read in memory; where they lie, and in which order they are written, is `broker.site_directory`'s.
"""

import datetime

import msgspec

from broker.access import Role
from broker.credentials import new_secret, password_digest, token_digest
from broker.errors import SiteError
from broker.site_record import (
    COORDINATOR,
    RECORD_VERSION,
    Member,
    SiteRecord,
    access_file,
    passwords_file,
    tokens_file,
)

RECORD_FILE = "site.json"
AUTHORITY_CERTIFICATE = "ca.crt"
AUTHORITY_KEY = "ca.key"
BROKER_CERTIFICATE = "broker/server.pem"
HTTP_CERTIFICATE = "coordinator/http.pem"


def encoded_record(record: SiteRecord) -> bytes:
    """The content of site.json."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decoded_record(content: bytes, where: str) -> SiteRecord:
    """The record in the content of `where`; SiteError if it is none, or a newer Splitrail's."""
    try:
        record = msgspec.json.decode(content, type=SiteRecord)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SiteError(f"{where} is not what `splitrail site` wrote: {error}") from None
    if record.version > RECORD_VERSION:
        raise SiteError(f"{where} was written by a newer Splitrail (version {record.version}): use that one")
    # What an older Splitrail wrote lacks only what has a neutral value.
    return msgspec.structs.replace(record, version=RECORD_VERSION)


def consequences(record: SiteRecord) -> dict[str, bytes]:
    """The files that follow from the record, by their names in the site's directory."""
    files = {
        "broker/passwords": passwords_file(record),
        "broker/acl": access_file(record),
        "coordinator/tokens": tokens_file(record),
    }
    return {name: text.encode() for name, text in files.items()}


def new_member(name: str, role: Role, now: datetime.datetime) -> tuple[Member, dict[str, bytes]]:
    """A member with fresh secrets: what the record keeps of them, and the files that hold them."""
    password = new_secret()
    token = None if role == COORDINATOR else new_secret()
    member = Member(
        name=name,
        role=role,
        password=password_digest(password),
        token=None if token is None else token_digest(token),
        since=now,
    )
    files = {"password": f"{password}\n".encode()}
    if token is not None:
        files["token"] = f"{token}\n".encode()
    return member, files
