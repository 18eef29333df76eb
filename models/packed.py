"""The weights of models as XNNPACK packed them, kept in the cache: packed once, and trusted while they lie as written.

How they are packed and read is models.compiled's business.
"""

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.cache import ATTEMPTS, ModelCache
from models.compiled import pack_weights
from models.errors import CacheError
from models.file_records import Fingerprint, Record, fingerprint_of, read_record, remove_record, write_record

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
        self._made: dict[str, Fingerprint] = {}
        self._keeping: list[threading.Thread] = []

    def find(self, sha256: str) -> Path | None:
        """The packed weights of the model with this sha256, if they are here as they were written. CacheError."""
        path = self._cache.packed_path(sha256, self._conditions)
        try:
            # LiteRT ends the process on a file that is broken.
            lying = fingerprint_of(path)
            return path if self._made.get(sha256) == lying or read_record(path) == Record(lying) else None
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
        unfinished = path.with_name(f".{secrets.token_hex(8)}.packing")
        try:
            with _attempt(path) as is_worth_it:
                found = self.find(sha256)  # another process may have packed it while this one waited
                if found is not None or not is_worth_it or not pack_weights(whole, unfinished):
                    return found
            self._made[sha256] = fingerprint_of(unfinished)
            unfinished.replace(path)
        except OSError as error:
            raise CacheError(f"cannot keep the packed weights {path}: {error.strerror or error}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        # An SD card may take half a minute, for which no plan should wait.
        thread = threading.Thread(target=_keep, args=(path, self._made[sha256]), name="packed weights", daemon=True)
        self._keeping = [*(other for other in self._keeping if other.is_alive()), thread]
        thread.start()
        return path

    def discard(self, sha256: str) -> None:
        """Trust these packed weights no more; segments that read them go on."""
        self._made.pop(sha256, None)
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


def _keep(path: Path, written: Fingerprint) -> None:
    """Let later runs trust a file once the disk has it: a crash before that leaves nothing that is trusted."""
    # A disk that fails, or a cache that was pruned meanwhile: the next run packs anew.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fingerprint_of(path) == written:
            write_record(path, Record(written))
