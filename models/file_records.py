"""How a file looked when it was last known to be right, kept beside it, so that it need not be looked through again.

What makes a file right is its owner's business.
"""

import os
import secrets
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

RECORD: Final = ".record"
"""The suffix of records, in place of their files'."""


class Fingerprint(NamedTuple):
    """What changes when a file is rewritten; taken instead of its hash once that has been checked."""

    inode: int
    size_bytes: int
    modified_ns: int


class Record(NamedTuple):
    """What is kept beside a file that was found right; `changed_ns` is its ctime, which nobody sets, or 0.

    `boot` is `this_boot` where no disk need have the file yet, else empty.
    """

    fingerprint: Fingerprint
    changed_ns: int = 0
    boot: str = ""


@cache
def this_boot() -> str:
    """Names the time since the system was started, for which a file is as it was written though no disk has it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(8)  # then it is this process that knows


def fingerprint(status: os.stat_result) -> Fingerprint:
    """The fingerprint of a file with this status."""
    return Fingerprint(status.st_ino, status.st_size, status.st_mtime_ns)


def fingerprint_of(path: Path) -> Fingerprint:
    """The fingerprint of a file as it lies now; OSError where there is none."""
    return fingerprint(path.stat())


def read_record(path: Path) -> Record | None:
    """The record of a file, if there is one."""
    try:
        return msgspec.json.decode(_record_of(path).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Keep the record of a file: after a crash there is the old one or the new one. OSError where it cannot be."""
    unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        unfinished.write_bytes(msgspec.json.encode(record))
        unfinished.replace(_record_of(path))
    finally:
        unfinished.unlink(missing_ok=True)


def remove_record(path: Path) -> None:
    """Forget what was known of a file. OSError where that cannot be."""
    _record_of(path).unlink(missing_ok=True)


def _record_of(path: Path) -> Path:
    return path.with_suffix(RECORD)
