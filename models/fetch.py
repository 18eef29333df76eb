"""Downloads a model over HTTP into the cache: resumed after a break, bounded by its announced size, verified by sha256.

What the file holds, and who may use it, is left to `models.cache`.
"""

import contextlib
import http.client
import random
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from models.cache import ModelCache
from models.errors import CacheError, FetchError
from models.model_server import ServerAccess
from splitrail import __version__

_CHUNK_BYTES = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL_CONTENT = 206

OPEN = ServerAccess()
"""A server that wants no token and has a certificate of the system's authorities, or none."""

Progress = Callable[[int, int], None]
"""Told the bytes that are there and the bytes in all; what it raises ends the download, which may be resumed."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a broken download is taken up again, after a random wait that may double each time (full jitter).

    An attempt that brought `renewing_bytes` starts the count anew, so that a poor link still gets a large model.
    """

    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 8.0
    renewing_bytes: int = 1_000_000

    def wait_s(self, failures: int) -> float:
        """A random wait before the attempt that follows so many failures."""
        longest_s = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (failures - 1))
        return random.uniform(0.0, longest_s)


@dataclass(frozen=True, slots=True)
class _Download:
    """What is fetched, and how much of it there must be."""

    url: str
    sha256: str
    size_bytes: int
    timeout_s: float
    progress: Progress | None
    access: ServerAccess


class _BrokenOffError(Exception):
    """The download broke off; what has arrived is kept for the next attempt."""


class _StartAgainError(_BrokenOffError):
    """What has arrived is of no use; the next attempt starts from the first byte."""


def fetch_model(
    url: str,
    sha256: str,
    size_bytes: int,
    cache: ModelCache,
    *,
    progress: Progress | None = None,
    access: ServerAccess = OPEN,
    timeout_s: float = 10.0,
    retries: Retries | None = None,
) -> Path:
    """The cached model of this sha256, downloaded from `url` if the cache lacks it.

    `timeout_s` bounds each wait for the server, not the whole download; `access` is how we stand towards it. FetchError
    says why the server's model cannot be had or is not the one that was promised, ServerAccessError what is wrong with
    the token or the authority, CacheError why the model cannot be kept.
    """
    held = cache.get(sha256)
    if held is not None:
        return held
    _check_url(url)
    download = _Download(url, sha256, size_bytes, timeout_s, progress, access)
    with cache.partial(sha256) as partial:
        # Another process may have fetched it while this one waited for its turn.
        held = cache.get(sha256)
        if held is not None:
            Path(partial.name).unlink(missing_ok=True)
            return held
        return _fetch_into(partial, download, cache, retries or Retries())


def _fetch_into(partial: FileIO, download: _Download, cache: ModelCache, retries: Retries) -> Path:
    failures = 0
    while True:
        arrived_before = _arrived(partial)
        try:
            return _attempt(partial, download, cache)
        except _BrokenOffError as broken:
            if isinstance(broken, _StartAgainError):
                partial.truncate(0)
            failures += 1
            if _arrived(partial) - arrived_before >= retries.renewing_bytes:
                failures = 1
            if failures >= retries.attempts:
                kept = f"{_arrived(partial)} of {download.size_bytes} bytes are kept for another try"
                raise FetchError(download.url, f"{broken}, at the last of {failures} attempts; {kept}") from broken
            time.sleep(retries.wait_s(failures))


def _attempt(partial: FileIO, download: _Download, cache: ModelCache) -> Path:
    """One request for what is missing; the verified file, _BrokenOffError to try again, or another error for good."""
    offset = _arrived(partial)
    if offset > download.size_bytes:
        partial.truncate(0)
        offset = 0
    missing_bytes = download.size_bytes - offset
    free_bytes = cache.free_bytes()
    if missing_bytes > free_bytes:
        raise CacheError(
            f"{download.url} needs {missing_bytes} bytes more, and the file system of {partial.name} has {free_bytes}"
        )
    resumed = offset > 0
    if missing_bytes:
        with _requested(download, offset) as response:
            resumed = resumed and response.status == _PARTIAL_CONTENT
            if not resumed:
                partial.truncate(0)
            _receive(response, partial, download)
    path = Path(partial.name)
    verified = cache.take(path, download.sha256)
    if verified is not None:
        return verified
    if resumed:
        raise _StartAgainError("what had arrived earlier did not fit")
    path.unlink(missing_ok=True)
    raise FetchError(download.url, f"its content does not have the sha256 {download.sha256} that was promised")


@contextlib.contextmanager
def _requested(download: _Download, offset: int) -> Iterator[http.client.HTTPResponse]:
    """The response to a request for everything from `offset` on, checked to start there or at the first byte."""
    headers = {"User-Agent": f"splitrail/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    access = download.access
    request, opener = access.request(download.url, headers), access.opener(download.url)
    try:
        response = opener.open(request, timeout=download.timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_NOT_SATISFIABLE and offset:
            raise _StartAgainError("the server refused to resume") from error
        reason = f"the server answered {error.code} {error.reason}"
        if error.code == _UNAUTHORIZED or (error.code == _FORBIDDEN and access.token_file is not None):
            raise FetchError(download.url, access.refusal(download.url)) from error
        if error.code in _TRANSIENT_STATUS:
            raise _BrokenOffError(reason) from error
        raise FetchError(download.url, reason) from error
    except FetchError:
        raise
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise FetchError(download.url, access.distrust(cause)) from error
        if isinstance(cause, http.client.InvalidURL):
            raise FetchError(download.url, str(cause)) from error
        raise _BrokenOffError(_describe(cause)) from error
    with response:
        _check_extent(response, download, offset)
        yield response


def _check_extent(response: http.client.HTTPResponse, download: _Download, offset: int) -> None:
    if response.status == _PARTIAL_CONTENT:
        extent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not offset or extent is None or int(extent[1]) != offset:
            raise _StartAgainError("the server sent another range than was asked for")
        announced = None if extent[2] == "*" else int(extent[2])
    elif response.status == http.client.OK:
        announced = response.length
    else:
        raise FetchError(download.url, f"the server answered {response.status} {response.reason}")
    if announced is not None and announced != download.size_bytes:
        raise FetchError(download.url, f"the server has {announced} bytes, where {download.size_bytes} were promised")


def _receive(response: http.client.HTTPResponse, partial: FileIO, download: _Download) -> None:
    """Append the body to `partial`, never beyond the promised size."""
    arrived = _arrived(partial)
    while True:
        try:
            # One byte more than is missing, so that a body that is too long shows.
            chunk = response.read1(min(_CHUNK_BYTES, download.size_bytes - arrived + 1))
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenOffError(_describe(error)) from error
        if arrived + len(chunk) > download.size_bytes:
            Path(partial.name).unlink(missing_ok=True)
            raise FetchError(download.url, f"the server sends more than the {download.size_bytes} bytes promised")
        if not chunk:
            break
        _append(partial, chunk)
        arrived += len(chunk)
        if download.progress is not None:
            download.progress(arrived, download.size_bytes)
    if arrived < download.size_bytes:
        raise _BrokenOffError(f"the connection ended after {arrived} of {download.size_bytes} bytes")


def _append(partial: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[partial.write(rest) :]
    except OSError as error:
        raise CacheError(f"cannot write {partial.name}: {error.strerror or error}") from error


def _arrived(partial: FileIO) -> int:
    return partial.seek(0, 2)


def _describe(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise FetchError(url, "its address must begin with http:// or https:// and name a host")
