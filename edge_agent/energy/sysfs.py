"""Reads what the kernel shows in /sys, and says in words what is wrong where it cannot be read."""

from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import MeterUnavailableError

ReadText = Callable[[Path], str]
"""Reads a small file: OSError if it cannot, ValueError if it is no text."""


def read_integer(
    path: Path, read_text: ReadText, *, permission_fix: str = "give the agent's user leave to read it"
) -> int:
    """The number in a file of a meter that is there; MeterUnavailableError, which names the file, if there is none."""
    try:
        return int(read_text(path))
    except PermissionError:
        raise MeterUnavailableError(f"{path} may not be read", fix=permission_fix, is_there=True) from None
    except OSError as error:
        reason = f"{path} cannot be read ({error.strerror or error})"
        raise MeterUnavailableError(reason, is_there=True) from None
    except ValueError:
        raise MeterUnavailableError(f"{path} shows no number", is_there=True) from None


def read_line(path: Path, read_text: ReadText) -> str | None:
    """What a file says, without white space around it; None if there is none that can be read."""
    try:
        return read_text(path).strip()
    except (OSError, ValueError):
        return None


def entries(directory: Path, pattern: str) -> list[Path]:
    """What of `directory` fits `pattern`, sorted; empty where there is no such directory or it may not be listed."""
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []
