"""The weights of models as XNNPACK packed them, kept in the cache: packed once, and trusted while they lie as written.

How they are packed and read is models.compiled's business.
"""

import contextlib
import os
import secrets
from pathlib import Path

from models.cache import ModelCache, Record, fingerprint_of, read_record, remove_record, write_record
from models.compiled import pack_weights
from models.errors import CacheError


class PackedWeights:
    """The packed weights in a cache, for one runtime on one kind of machine, which `conditions` names.

    `find` may be called from any thread, the rest from one.
    """

    def __init__(self, cache: ModelCache, conditions: str) -> None:
        self._cache = cache
        self._conditions = conditions

    def find(self, sha256: str) -> Path | None:
        """The packed weights of the model with this sha256, if they are here as they were written. CacheError."""
        path = self._cache.packed_path(sha256, self._conditions)
        try:
            # LiteRT ends the process on a file that is broken.
            return path if read_record(path) == Record(fingerprint_of(path)) else None
        except OSError:
            return None

    def make(self, sha256: str, whole: Path, weight_bytes: int) -> Path | None:
        """Pack the weights of a model from the segment `whole` of all its ops.

        None where they cannot be shared so, or the disk has no room for twice their size. CacheError where the cache
        cannot be written, ModelError where the segment cannot be loaded.
        """
        path = self._cache.packed_path(sha256, self._conditions)
        if self._cache.free_bytes() < 2 * weight_bytes:
            return None
        unfinished = path.with_name(f".{secrets.token_hex(8)}.packing")
        try:
            if not pack_weights(whole, unfinished):
                return None
            _to_disk(unfinished)
            written = fingerprint_of(unfinished)
            unfinished.replace(path)
            # The record comes last, so that a crash leaves nothing that is trusted; several processes may do the same.
            write_record(path, Record(written))
        except OSError as error:
            raise CacheError(f"cannot keep the packed weights {path}: {error.strerror or error}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        return path

    def discard(self, sha256: str) -> None:
        """Trust these packed weights no more; segments that read them go on."""
        with contextlib.suppress(OSError):
            remove_record(self._cache.packed_path(sha256, self._conditions))


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
