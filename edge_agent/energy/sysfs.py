"""Reads what the kernel of a machine shows in /sys, and says in words what is wrong where it cannot be read."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_agent.errors import MeterUnavailableError

_MOST: Final = 2**63  # the kernel's own numbers are no longer


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
