"""The weights of models as XNNPACK packed them, kept in the cache: packed once, and trusted while they lie as written.

How they are packed and read is models.compiled's business.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.cache import ATTEMPTS, ModelCache
from models.compiled import pack_weights
from models.errors import CacheError
from models.file_records import (
    Record,
    fingerprint_of,
    read_record,
    remove_record,
    this_boot,
    write_record,
)

MOST_ATTEMPTS: Final = 2
"""A model whose packing ended the process so often is not tried again; a power cut may have been one of them."""
CLOSING_S: Final = 5.0
"""What ending a node waits for at most until a disk has taken what was packed; it is packed anew otherwise."""


class PackedWeights:
    """The packed weights in a cache, for one runtime on one kind of machine, which `conditions` names.

    `find` may be called from any thread, the rest from one.
    """

    def __init__(self, cache: ModelCache, conditions: str) -> None:
        self._cache = cache
        self._conditions = conditions
        self._keeping: list[threading.Thread] = []

    def find(self, sha256: str) -> Path | None:
        """The packed weights of the model with this sha256, if they are here as they were written. CacheError."""
        path = self._cache.packed_path(sha256, self._conditions)
        try:
            # LiteRT ends the process on a file that is broken.
            lying = fingerprint_of(path)
            return path if read_record(path) in {Record(lying), Record(lying, boot=this_boot())} else None
        except OSError:
            return None

    def make(self, sha256: str, whole: Path, weight_bytes: int) -> Path | None:
        """Pack the weights of a model from the segment `whole` of all its ops.

        None where they cannot be shared so, where the disk has no room for twice their size, and where trying has
        ended the process before. CacheError where the cache cannot be written, ModelError where the segment cannot be
        loaded.
        """
        path = self._cache.packed_path(sha256, self._conditions)
        if self._cache.free_bytes() < 2 * weight_bytes:
            return None
        try:
            with _attempt(path) as is_worth_it:
                found = self.find(sha256)  # another process may have packed it while this one waited
                written = _packed_anew(whole, path) if found is None and is_worth_it else None
        except OSError as error:
            raise CacheError(f"cannot keep the packed weights {path}: {error.strerror or error}") from error
        if written is None:
            return found
        # An SD card may take half a minute, for which no plan should wait.
        thread = threading.Thread(target=_keep, args=(path, written), name="packed weights", daemon=True)
        self._keeping = [*(other for other in self._keeping if other.is_alive()), thread]
        thread.start()
        return path

    def discard(self, sha256: str) -> None:
        """Trust these packed weights no more; segments that read them go on."""
        with contextlib.suppress(OSError):
            remove_record(self._cache.packed_path(sha256, self._conditions))

    def close(self) -> None:
        """Wait a little until later runs can trust what was packed in this one."""
        for thread in self._keeping:
            thread.join(CLOSING_S)


@contextlib.contextmanager
def _attempt(path: Path) -> Iterator[bool]:
    """Whether to try; a process that ends meanwhile leaves a mark. Other processes wait for their turn."""
    with path.with_suffix(ATTEMPTS).open("a+b") as marks:
        fcntl.flock(marks, fcntl.LOCK_EX)
        marks.seek(0)
        if len(marks.read()) >= MOST_ATTEMPTS:
            yield False
            return
        marks.write(b".")
        marks.flush()
        try:
            yield True
        finally:
            marks.truncate(0)


def _packed_anew(whole: Path, path: Path) -> Record | None:
    """Pack into the file at `path` and say how it lies; None where the weights cannot be shared."""
    unfinished = path.with_suffix(".packing")
    unfinished.unlink(missing_ok=True)  # of a process that was killed; LiteRT would read it
    try:
        if not pack_weights(whole, unfinished):
            return None
        written = Record(fingerprint_of(unfinished), boot=this_boot())
        unfinished.replace(path)
        write_record(path, written)
        return written
    finally:
        unfinished.unlink(missing_ok=True)


def _keep(path: Path, written: Record) -> None:
    """Let runs after a restart of the system trust a file once the disk has it; a crash before leaves nothing."""
    # A disk that fails, or a cache that was pruned meanwhile: the next run packs anew.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if read_record(path) == written:  # and nobody has discarded it
            write_record(path, Record(written.fingerprint))
