"""A node's CURVE key pair: made at the first start, kept in a file that only its owner may read.

How the keys are used is `edge_agent.sockets`' concern, whom to admit `edge_agent.admission`'s.
"""

import contextlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq

from edge_agent.configuration import AgentSettings
from edge_agent.errors import NodeKeyError

KEY_CHARACTERS: Final = 40  # 32 bytes in ZeroMQ's Z85

_PREFIX: Final = b"splitrail-curve-secret "
_MOST_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A pair of CURVE keys in Z85, 40 characters each; the secret is left out of the `repr`."""

    public: str
    secret: str = field(repr=False)


def tensor_key(settings: AgentSettings) -> NodeKey | None:
    """The key of the node with these settings, made if there is none yet; None where its tensors run open.

    NodeKeyError if the file cannot be read or written, is malformed, or may be read by others.
    """
    if settings.tensors.security == "open":
        return None
    return load_or_make_key(settings.tensors.key_file or settings.cache / "keys" / f"{settings.node}.curve")


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
    """A new key pair, kept nowhere."""
    public, secret = zmq.curve_keypair()
    return NodeKey(public.decode("ascii"), secret.decode("ascii"))


def _load(path: Path) -> NodeKey:
    # The permissions are those of the file that is read, not of what may take its name in between.
    with path.open("rb") as source:
        mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
        content = source.read(_MOST_BYTES + 1)
    if mode & 0o077:
        raise NodeKeyError(path, f"others may read the tensor key (mode {mode:04o}): run chmod 600 on it")
    secret = content.removeprefix(_PREFIX).strip()
    with contextlib.suppress(zmq.ZMQError, UnicodeDecodeError):
        if content.startswith(_PREFIX) and len(secret) == KEY_CHARACTERS:
            return NodeKey(zmq.curve_public(secret).decode("ascii"), secret.decode("ascii"))
    raise NodeKeyError(path, "is not a tensor key: remove it, and the agent makes a new one")


def _keep(path: Path, key: NodeKey) -> None:
    """Write the whole file or none of it; one that another process made meanwhile stays."""
    written = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            sink.write(_PREFIX + key.secret.encode("ascii") + b"\n")
            sink.flush()
            os.fsync(sink.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(written, path)
    finally:
        written.unlink(missing_ok=True)
