"""Who may ask the coordinator over HTTP: the file of tokens, and the door that it keeps.

The file has lines of `name sha256-of-token`; whoever makes tokens writes it, and this reads it anew when it changes.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from coordinator.errors import TokensError

MAX_FILE_BYTES = 1_000_000
MAX_TOKEN_BYTES = 1_000
LOOK_INTERVAL_S = 1.0
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_LINE = re.compile(r"(\S+)[ \t]+([0-9a-f]{64})")

log = logging.getLogger("splitrail.coordinator")


class _Fingerprint(NamedTuple):
    inode: int
    size_bytes: int
    modified_ns: int


class Tokens:
    """The tokens that open the door, by the sha256 of each; for one thread. TokensError if the file cannot be used.

    A file that cannot be used later on opens the door to nobody, until it can be again.
    """

    def __init__(self, path: Path, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock_s = clock_s
        self._looked_s = clock_s()
        self._fingerprint = _fingerprint(path)
        self._names = _read(path)

    def holder(self, token: str) -> str | None:
        """The name that this token was given to, or None; it takes as long for any token."""
        self._look()
        asked = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for digest, name in self._names.items():
            if hmac.compare_digest(digest, asked):
                found = name
        return found

    def names(self) -> frozenset[str] | None:
        """Everybody who was given a token; None while the file cannot be used."""
        self._look()
        return frozenset(self._names.values()) or None

    def _look(self) -> None:
        now_s = self._clock_s()
        if now_s - self._looked_s < LOOK_INTERVAL_S:
            return
        self._looked_s = now_s
        fingerprint = _fingerprint(self._path)
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        try:
            self._names = _read(self._path)
        except TokensError as error:
            self._names = {}
            log.warning("%s; nobody is let in meanwhile", error)


class Door:
    """Lets in, to everything but OPEN_PATHS, only requests with `Authorization: Bearer` and a token that is known."""

    def __init__(self, inside: ASGIApp, tokens: Tokens) -> None:
        self._inside = inside
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, with one line, or pass the request on."""
        if scope["path"] in OPEN_PATHS or self._is_known(scope):
            await self._inside(scope, receive, send)
            return
        refusal = PlainTextResponse(
            "this coordinator wants a token that it knows: `Authorization: Bearer TOKEN`\n",
            status_code=401,
            headers={"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].decode("latin-1").partition(" ")
        token = token.strip()
        return (
            scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN_BYTES and self._tokens.holder(token) is not None
        )


def _fingerprint(path: Path) -> _Fingerprint | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns)


def _read(path: Path) -> dict[str, str]:
    """Names by the digest of their token."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokensError(f"http.tokens_file {path} cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise TokensError(f"http.tokens_file {path} has more than {MAX_FILE_BYTES} bytes: it is no file of tokens")
    names: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        entry = line.partition("#")[0].strip()
        match = _LINE.fullmatch(entry)
        if entry and match is None:
            raise TokensError(
                f"{path}:{number}: not a token's line; it must be a name, a space and the token's sha256 in hexadecimal"
            )
        if match is not None:
            names[match[2]] = match[1]
    return names
