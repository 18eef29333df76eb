"""Reads what the kernel of a machine shows in /sys, and says in words what is wrong where it cannot be read."""

import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.errors import MeterUnavailableError

_MOST: Final = 2**63  # the kernel's own numbers are no longer
_MOST_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Host:
    """The machine whose meters are looked for: where its files lie, how they are read, and its clock."""

    root: Path = Path("/")
    """Where /sys and /proc lie."""
    longest_gap_s: float = 10.0
    """The longest time between two samples of a power that is filled in."""
    read_text: Callable[[Path], str] = Path.read_text
    clock_s: Callable[[], float] = time.monotonic

    def number(self, path: Path, *, permission_fix: str = "give the agent's user leave to read it") -> int:
        """The number in a file of a meter that is there; MeterUnavailableError, naming the file, if it has none."""
        try:
            number = int(self.read_text(path))
        except PermissionError:
            raise MeterUnavailableError(f"{path} may not be read", fix=permission_fix, is_there=True) from None
        except OSError as error:
            reason = f"{path} cannot be read ({error.strerror or error})"
            raise MeterUnavailableError(reason, is_there=True) from None
        except ValueError:
            raise MeterUnavailableError(f"{path} shows no number", is_there=True) from None
        if abs(number) >= _MOST:
            raise MeterUnavailableError(f"{path} shows a number of {len(str(abs(number)))} digits", is_there=True)
        return number

    def number_or_none(self, path: Path) -> int | None:
        """The number in a file that may be missing."""
        try:
            return self.number(path)
        except MeterUnavailableError:
            return None

    def line(self, path: Path) -> str | None:
        """What a file says, without white space around it; None if there is none that can be read."""
        try:
            return self.read_text(path).strip()
        except (OSError, ValueError):
            return None

    def entries(self, pattern: str) -> list[Path]:
        """The paths below the root that fit `pattern`, sorted; none where a directory is missing or forbidden."""
        try:
            return sorted(self.root.glob(pattern))
        except OSError:
            return []


class KeptNumber:
    """A number that is read before and after every stage: its file stays open, for opening takes ten times as long."""

    def __init__(self, host: Host, path: Path, *, permission_fix: str) -> None:
        """Nothing is opened before the first reading."""
        self._host, self._path, self._permission_fix = host, path, permission_fix
        self._descriptor: int | None = None

    def read(self) -> int:
        """The number now; MeterUnavailableError as `Host.number`."""
        if self._descriptor is not None:
            with suppress(OSError, ValueError):
                # What was taken away while it is open still shows its last number.
                is_there = os.fstat(self._descriptor).st_nlink > 0
                number = int(os.pread(self._descriptor, _MOST_DIGITS, 0))
                if is_there and abs(number) < _MOST:
                    return number
        # In the words of one who opens it, if it cannot be read.
        number = self._host.number(self._path, permission_fix=self._permission_fix)
        if self._descriptor is None:
            with suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                weakref.finalize(self, os.close, self._descriptor)
        return number
