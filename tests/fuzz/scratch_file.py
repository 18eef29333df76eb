"""One file in a private directory, for parsers that take a path."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

MEMORY = Path("/dev/shm")
"""A file system without a disk: what is parsed is written and read thousands of times."""


@cache
def scratch(name: str) -> Path:
    """The path of a file of this name, in a directory that goes with the process."""
    directory = Path(tempfile.mkdtemp(prefix="splitrail-fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory / name


def written(name: str, data: bytes) -> Path:
    """The same file with this content."""
    path = scratch(name)
    path.write_bytes(data)
    return path
