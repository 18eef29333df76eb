"""What is asked of a site's files: whom they admit, with which secrets, and whether its certificates hold."""

import base64
import hashlib
import ssl
from pathlib import Path

from broker.credentials import password_digest
from broker.site_directory import SiteDirectory


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
