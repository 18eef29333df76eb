"""A small disk for an agent's spool, which can be filled: a tmpfs where we may mount one, else a bound on its files."""

import errno
import resource
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

DISK_KB = 6_000
_FILLER = "filler"


class SpoolDisk:
    """A directory for a spool, from `with` to its end; `pid` tells the process that writes there, None while none does.

    On a tmpfs the file system itself is full. Elsewhere the process may let no file grow (RLIMIT_FSIZE), its log
    neither, which to the spool is the same as a full disk: a write fails.
    """

    def __init__(self, directory: Path, pid: Callable[[], int | None]) -> None:
        self.directory = directory
        self._pid = pid
        self._mounted = False

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True)
        # As root only, and not in a container that may not mount.
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(self.directory)]
        with suppress(FileNotFoundError):
            self._mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mounted:
            subprocess.run(["umount", "-l", str(self.directory)], capture_output=True, check=False)

    @property
    def words(self) -> str:
        """How the disk is made full."""
        return f"a tmpfs of {DISK_KB / 1000:g} MB" if self._mounted else "no file may grow (RLIMIT_FSIZE)"

    def fill(self) -> None:
        """Leave not a byte."""
        if not self._mounted:
            self._limit(0)
            return
        with (self.directory / _FILLER).open("wb", buffering=0) as filler:
            for size in (65_536, 4_096, 1):
                _write_until_full(filler.write, bytes(size))

    def free(self) -> None:
        """Give the room back."""
        if self._mounted:
            (self.directory / _FILLER).unlink(missing_ok=True)
        else:
            self._limit(resource.RLIM_INFINITY)

    def _limit(self, size_bytes: int) -> None:
        pid = self._pid()
        if pid is not None:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes < 0 else size_bytes, hard))


def _write_until_full(write: Callable[[bytes], int | None], piece: bytes) -> None:
    while True:
        try:
            write(piece)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
