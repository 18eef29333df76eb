"""Secret files and directories written whole or not at all: a temporary sibling, then a rename.

What is in them belongs to `broker.site_directory`.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from broker.errors import SiteError

DIRECTORY_MODE = 0o700
_TEMPORARY = ".new-"


def write_secret(path: Path, content: bytes) -> None:
    """Put `content` at `path`, for its owner alone; whoever reads at any moment finds the old or the new, whole."""
    descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _settle(path.parent)


def write_directory(path: Path, files: Mapping[str, bytes], directories: Sequence[str] = ()) -> None:
    """Make the directory `path` with these files and empty directories, by their relative names, one level deep.

    OSError where there is a directory already that holds something.
    """
    new = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=path.parent))  # mode 0700
    try:
        for name, content in files.items():
            target = new / name
            target.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            write_secret(target, content)
        for name in directories:
            (new / name).mkdir(mode=DIRECTORY_MODE)
        new.rename(path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _settle(path.parent)


def remove_directory(path: Path) -> None:
    """Take a directory away, if it is there, under another name first: nobody finds half of it."""
    if path.is_dir():
        old = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=path.parent))
        path.rename(old / path.name)
        shutil.rmtree(old)


def remove_leftovers(directory: Path) -> None:
    """Take away what writers that were killed have left half-made."""
    for left in directory.glob(f"{_TEMPORARY}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other commands out of a directory; SiteError if one is at work there."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise SiteError(f"{directory}: another `splitrail site` is at work there: wait until it is done") from None
    finally:
        os.close(descriptor)


def _settle(directory: Path) -> None:
    """Let a rename survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
