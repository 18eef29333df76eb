"""A node's tensor key: a secret and the certificate that it signs itself, made at the first start, kept for its owner.

How they are used is `edge_agent.handshakes`' concern, whom to admit `edge_agent.admission`'s.
"""

import base64
import contextlib
import os
import re
import secrets
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_agent.configuration import AgentSettings
from edge_agent.errors import NodeKeyError

_MOST_BYTES: Final = 4_000
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,3000}-----END CERTIFICATE-----")
_MEMORY_FILE: Final = "/proc/self/fd/{}"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A node's certificate, which others are told, and its secret, which is left out of the `repr`."""

    public: str
    """The certificate, DER in base64."""
    pem: str = field(repr=False)
    """The secret and the certificate."""

    def show(self, context: ssl.SSLContext) -> None:
        """Let connections of this context prove to be this node's. ssl.SSLError if the two do not belong together."""
        # OpenSSL takes them from a file only: this one touches no disk.
        descriptor = os.memfd_create("tensor-key", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as memory:
            memory.write(self.pem.encode("ascii"))
            memory.flush()
            context.load_cert_chain(_MEMORY_FILE.format(descriptor), password="")  # never to ask at a terminal


def tensor_key(settings: AgentSettings) -> NodeKey | None:
    """The key of the node with these settings, made if there is none yet; None where its tensors run open.

    NodeKeyError if the file cannot be read or written, is malformed, or may be read by others.
    """
    if settings.tensors.security == "open":
        return None
    return load_or_make_key(key_file(settings))


def key_file(settings: AgentSettings) -> Path:
    """Where the key of this node lies, or will."""
    return settings.tensors.key_file or settings.cache / "keys" / f"{settings.node}.pem"


def load_or_make_key(path: Path) -> NodeKey:
    """The key in `path`; if there is no such file, a new key that is kept there from now on. NodeKeyError as above."""
    path = path.expanduser()
    try:
        with contextlib.suppress(FileNotFoundError):
            return _load(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep(path, make_key())
        return _load(path)
    except OSError as error:
        if isinstance(error, NodeKeyError):
            raise
        raise NodeKeyError(path, f"the tensor key cannot be read or made there: {error.strerror}") from None


def make_key() -> NodeKey:
    """A new key, kept nowhere."""
    from edge_agent.new_certificate import new_certificate  # noqa: PLC0415  # its library is for the first start only

    return _key_of(new_certificate())


def _key_of(pem: str) -> NodeKey:
    certificate = _CERTIFICATE.search(pem)
    if certificate is None:
        raise ValueError("there is no certificate in it")
    der = ssl.PEM_cert_to_DER_cert(certificate[0])
    return NodeKey(base64.b64encode(der).decode("ascii"), pem)


def _load(path: Path) -> NodeKey:
    # The permissions are those of the file that is read, not of what may take its name in between.
    with path.open("rb") as source:
        mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
        content = source.read(_MOST_BYTES + 1)
    if mode & 0o077:
        raise NodeKeyError(path, f"others may read the tensor key (mode {mode:04o}): run chmod 600 on it")
    with contextlib.suppress(ValueError, ssl.SSLError):
        if len(content) <= _MOST_BYTES:
            key = _key_of(content.decode("ascii"))
            key.show(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            return key
    raise NodeKeyError(path, "is not a tensor key: remove it, and the agent makes a new one")


def _keep(path: Path, key: NodeKey) -> None:
    """Write the whole file or none of it; one that another process made meanwhile stays."""
    written = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(key.pem.encode("ascii"))
            sink.flush()
            os.fsync(sink.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(written, path)
    finally:
        written.unlink(missing_ok=True)
