"""The content-addressed cache of model files and of what is made from them, shared safely by several processes.

A file is handed out only if its sha256 is its name. Fetching over HTTP is `models.fetch`, cutting is `models.slicer`.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from models.errors import CacheError
from models.file_records import (
    RECORD,
    Fingerprint,
    Record,
    fingerprint,
    fingerprint_of,
    read_record,
    remove_record,
    write_record,
)
from splitrail import __version__

_SHA256_FORM = re.compile(r"[0-9a-f]{64}")
_STALE_TEMPORARY_S = 3600.0
ATTEMPTS = ".attempts"
"""The suffix of the marks that trying to pack a model leaves where it ends the process."""
_KEPT = (".tflite", ".packed", ATTEMPTS, RECORD)


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in the cache: the sha256 of its content (64 hexadecimal digits), where it lies and its size."""

    sha256: str
    path: Path
    size_bytes: int


class _Entry(NamedTuple):
    """A file that `prune` may remove."""

    used_at_ns: int
    size_bytes: int
    sha256: str
    path: Path


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, read in pieces; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ModelCache:
    """Models, segments and packed weights under one directory, which is made where it is missing.

    Every method may be called from any thread, and by several processes on the same directory; CacheError says
    what of the directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._models = directory / "models"
        self._segments = directory / "segments"
        self._packed = directory / "packed"
        self._partial = directory / "partial"
        self._verified: dict[str, Fingerprint] = {}
        self._lock = threading.Lock()
        for folder in (self._models, self._segments, self._packed, self._partial):
            with _reported(folder, "make the directory"):
                folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: Path) -> CachedModel:
        """Put the file at `path` in the cache, as a hard link where the file system allows and a copy otherwise."""
        with _reported(path, "read the model"), path.open("rb") as source:
            before = fingerprint(os.fstat(source.fileno()))
            known = self._held_as(before)
            if known is not None:
                return CachedModel(known.stem, known, before.size_bytes)
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
            held = self.get(sha256)
            if held is None:
                held = self._models / f"{sha256}.tflite"
                temporary = self._temporary(sha256)
                try:
                    _link_or_copy(path.resolve(), source, temporary)
                    after = fingerprint(os.fstat(source.fileno()))
                    if after != before:
                        raise CacheError(f"{path} changed while it was read; try again when it is complete")
                    temporary.replace(held)
                finally:
                    # Renaming one hard link over another of the same file leaves both.
                    temporary.unlink(missing_ok=True)
                self._take_in(sha256, held)
            return CachedModel(sha256, held, before.size_bytes)

    def get(self, sha256: str) -> Path | None:
        """The model of this content, or None; a file that does not match is removed, never returned."""
        path = self._models / f"{_checked(sha256)}.tflite"
        with _reported(path, "read the model"):
            try:
                found = fingerprint(path.stat())
                with self._lock:
                    known = self._verified.get(sha256) == found
                # Hashing takes seconds for a large model on a small machine: an earlier run's look counts too.
                known = known or read_record(path) == Record(found, path.stat().st_ctime_ns)
                if not known and file_sha256(path) != sha256:
                    path.unlink(missing_ok=True)
                    return None
            except FileNotFoundError:
                return None
        self._remember(sha256, path, found)
        return path

    def take(self, path: Path, sha256: str) -> Path | None:
        """Move a file of the cache's own file system in as the model of this content; None if its content differs."""
        held = self._models / f"{_checked(sha256)}.tflite"
        with _reported(path, "read the model"):
            if file_sha256(path) != sha256:
                return None
            path.replace(held)
            self._take_in(sha256, held)
        return held

    def segment_path(self, sha256: str, start: int, stop: int, variant: str = "") -> Path:
        """Where the segment [start, stop) of a model is kept, whether or not it is there yet; its directory exists.

        `variant`, a word, tells apart segments of the same ops. Another version of Splitrail has other paths, for it
        may cut differently.
        """
        variant = f".{variant}" if variant else ""
        return _kept(self._segments / _checked(sha256) / f"{start}-{stop}{variant}.{__version__}.tflite")

    def packed_path(self, sha256: str, conditions: str) -> Path:
        """Where the weights of a model are kept as a runtime packed them under these conditions; as `segment_path`."""
        readable = re.sub(r"[^A-Za-z0-9.]+", "_", conditions)
        return _kept(self._packed / _checked(sha256) / f"{readable}.{__version__}.packed")

    @contextlib.contextmanager
    def partial(self, sha256: str) -> Iterator[FileIO]:
        """The unfinished download of a model, open for reading and writing, for one thread of one process at a time.

        The file's `name` is its path. What is in it stays for a later attempt, unless it is moved or removed.
        """
        path = self._partial / _checked(sha256)
        while True:
            with _reported(path, "open the unfinished download"):
                # Unbuffered, so that a killed process leaves what it had received.
                file = path.open("a+b", buffering=0)
                fcntl.flock(file, fcntl.LOCK_EX)
            with file:
                # Whoever held the lock before may have moved or removed the file that we waited for.
                if _is_at(path, file):
                    yield file
                    return

    def free_bytes(self) -> int:
        """The bytes that the cache's file system can still take."""
        with _reported(self._partial, "measure the free space"):
            return shutil.disk_usage(self._partial).free

    def prune(self, max_bytes: int, keep: Collection[str] = ()) -> int:
        """Remove the least recently used files until at most `max_bytes` are held; the bytes that remain.

        Models in `keep` (sha256), their segments, and downloads in progress stay, even above the bound.
        """
        self._remove_stale_temporaries()
        entries = sorted(self._entries())
        held_bytes = sum(entry.size_bytes for entry in entries)
        for entry in entries:
            if held_bytes <= max_bytes:
                break
            if entry.sha256 in keep:
                continue
            with _reported(entry.path, "remove the file"):
                if _remove_unlocked(entry.path):
                    remove_record(entry.path)
                    held_bytes -= entry.size_bytes
        return held_bytes

    def _entries(self) -> Iterator[_Entry]:
        for path in [
            *self._models.glob("*.tflite"),
            *self._segments.glob("*/*.tflite"),
            *self._packed.glob("*/*.packed"),
            *self._partial.iterdir(),
        ]:
            sha256 = path.parent.name if path.parent.parent in (self._segments, self._packed) else path.stem
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                yield _Entry(max(status.st_atime_ns, status.st_mtime_ns), status.st_size, sha256, path)

    def _temporary(self, sha256: str) -> Path:
        return self._models / f".{sha256}.{secrets.token_hex(8)}.tmp"

    def _remove_stale_temporaries(self) -> None:
        """Remove what a killed process left beside the models, the segments and the packed weights."""
        for path in [*self._models.iterdir(), *self._segments.glob("*/*"), *self._packed.glob("*/*")]:
            with contextlib.suppress(FileNotFoundError):
                if path.suffix not in _KEPT and time.time() - path.stat().st_ctime > _STALE_TEMPORARY_S:
                    path.unlink()

    def _held_as(self, found: Fingerprint) -> Path | None:
        """The model that is this very file under another name, if it lies as it did when it was found right."""
        for path in self._models.glob("*.tflite"):
            with contextlib.suppress(FileNotFoundError):
                if fingerprint_of(path) == found and read_record(path) == Record(found, path.stat().st_ctime_ns):
                    self._remember(path.stem, path, found)
                    return path
        return None

    def _take_in(self, sha256: str, path: Path) -> None:
        # A process that prunes may have removed it again: then the next `get` finds nothing.
        with contextlib.suppress(FileNotFoundError):
            self._remember(sha256, path, fingerprint_of(path))

    def _remember(self, sha256: str, path: Path, found: Fingerprint) -> None:
        """A file that was right as `found` tells is used now."""
        with self._lock:
            self._verified[sha256] = found
        _mark_used(path)
        # A process that prunes may have removed it again; and without a record the next run hashes the file.
        with contextlib.suppress(OSError):
            now = path.stat()
            if fingerprint(now) == found:
                write_record(path, Record(found, now.st_ctime_ns))


@contextlib.contextmanager
def _reported(path: Path, attempt: str) -> Iterator[None]:
    try:
        yield
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(f"cannot {attempt} {path}: {error.strerror or error}") from error


def _kept(path: Path) -> Path:
    """The same path, whose directory is there now."""
    with _reported(path.parent, "make the directory"):
        path.parent.mkdir(exist_ok=True)
    _mark_used(path)
    return path


def _checked(sha256: str) -> str:
    """The same digest; one that is none would be a path of someone's choosing."""
    if not _SHA256_FORM.fullmatch(sha256):
        raise CacheError(f"{sha256!r} is not a sha256, which has 64 hexadecimal digits in lower case")
    return sha256


def _is_at(path: Path, file: FileIO) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _link_or_copy(path: Path, source: BinaryIO, target: Path) -> None:
    try:
        os.link(path, target)
        if target.stat().st_ino == os.fstat(source.fileno()).st_ino:
            return
        target.unlink()
    except OSError:
        # Another file system, one without links, or a file of another user.
        target.unlink(missing_ok=True)
    source.seek(0)
    with target.open("xb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


def _mark_used(path: Path) -> None:
    """Set the access time, which file systems mounted `noatime` or `relatime` leave alone, and keep the other."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _remove_unlocked(path: Path) -> bool:
    """Remove a file unless someone holds its lock, as a download in progress does."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True
