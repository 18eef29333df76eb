"""Files that settings name: secrets that others may read, and room on the disks that are written to."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from splitrail.doctor.finding import Finding

SECRET_KEYS: Final = ("password_file", "token_file", "key_file")
LEAST_FREE_MB: Final = 200.0


@dataclass(frozen=True, slots=True)
class Secret:
    """A file with a secret, and the key of the settings that names it."""

    key: str
    file: Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written, and how much of it there may be."""

    key: str
    path: Path
    bound_mb: float


def secrets_in(settings: msgspec.Struct, prefix: str = "") -> Iterator[Secret]:
    """Every file with a secret that settings name, at any depth."""
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        key = f"{prefix}{name}"
        if isinstance(value, msgspec.Struct):
            yield from secrets_in(value, f"{key}.")
        elif isinstance(value, Path) and name in SECRET_KEYS:
            yield Secret(key, value)


def secret_findings(secrets: tuple[Secret, ...]) -> Iterator[Finding]:
    """Who may read them; nothing is said of what is in them."""
    sound = 0
    for secret in secrets:
        path = secret.file.expanduser()
        subject = f"secret: {secret.key}"
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        except FileNotFoundError:
            yield Finding(subject, "problem", f"{path} is not there", f"correct {secret.key}, or copy it there")
        except PermissionError:
            yield Finding(subject, "problem", f"{path} may not be read by this user", "chown it, or run as its owner")
        else:
            if mode & stat.S_IROTH:
                says = f"everyone on this machine can read {path} (mode {mode:04o})"
                yield Finding(subject, "problem", says, f"chmod 600 {path}")
            elif mode & stat.S_IRGRP:
                yield Finding(subject, "note", f"its group can read {path} (mode {mode:04o})", f"chmod 600 {path}")
            else:
                sound += 1
    if sound:
        yield Finding("secrets", "ok", f"{sound} {'files' if sound > 1 else 'file'} for the owner alone")


def room_findings(place: Place) -> Iterator[Finding]:
    """Whether something can be written there, and enough of it."""
    subject = f"disk: {place.key}"
    path = place.path.expanduser()
    there = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    directory = there if there.is_dir() else there.parent
    if not os.access(directory, os.W_OK) or (there.is_file() and not os.access(there, os.W_OK)):
        says = f"{there} cannot be written by this user"
        yield Finding(subject, "problem", says, f"chown it, or name another {place.key}")
        return
    free_mb = shutil.disk_usage(directory).free / 1e6
    if free_mb < LEAST_FREE_MB:
        yield Finding(subject, "problem", f"{free_mb:.0f} MB free at {path}", "make room, or name another place")
    elif free_mb < place.bound_mb:
        says = f"{free_mb:.0f} MB free at {path}, which may take {place.bound_mb:g} MB"
        yield Finding(subject, "note", says, "make room, or lower the bound")
    else:
        yield Finding(subject, "ok", f"{free_mb / 1e3:.1f} GB free at {path}")
