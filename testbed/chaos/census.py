"""What the processes of a site hold, as the kernel counts it: threads, descriptors, memory, mapped segments, files.

Linux only, by /proc. Whether it is too much is `testbed.chaos.checks`' part.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

PROC = Path("/proc")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
# What is meant to stay in a cache; anything else there is unfinished business.
_FINISHED = (
    ".tflite",
    ".packed",
    ".attempts",
    ".record",
    ".json",
    ".sqlite",
    ".sqlite-wal",
    ".sqlite-shm",
    ".lock",
    ".pem",
)

# A loaded segment has its own file and its model's packed weights open.
_OF_SEGMENTS = ("/segments/", "/packed/")


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """What one process holds."""

    threads: int
    descriptors: int
    """Open files, sockets and the like; segments, which come and go with the plans, are counted apart."""
    sockets: int
    """Those of the descriptors that are sockets."""
    segments: int
    """Files of segments that are mapped into memory."""
    memory_mb: float
    """Resident, in MB of 10^6 bytes."""


def holdings(pid: int) -> Holdings | None:
    """What the process holds now; None where it has ended."""
    process = PROC / str(pid)
    try:
        descriptors = [_target(link) for link in (process / "fd").iterdir()]
        mapped = {line.split()[-1] for line in (process / "maps").read_text().splitlines() if "/segments/" in line}
        return Holdings(
            threads=len(list((process / "task").iterdir())),
            descriptors=sum(not any(place in target for place in _OF_SEGMENTS) for target in descriptors),
            sockets=sum(target.startswith("socket:") for target in descriptors),
            segments=len(mapped),
            memory_mb=int((process / "statm").read_text().split()[1]) * _PAGE_MB,
        )
    except (FileNotFoundError, ProcessLookupError):
        return None


def census(pids: Mapping[str, int]) -> dict[str, Holdings]:
    """What each process holds that is still there, by name."""
    found = {name: holdings(pid) for name, pid in pids.items()}
    return {name: held for name, held in found.items() if held is not None}


def least(censuses: Iterable[Mapping[str, Holdings]]) -> dict[str, Holdings]:
    """The least of each figure over several looks: what comes and goes with each request is not held."""
    lowest: dict[str, Holdings] = {}
    for look in censuses:
        for name, held in look.items():
            known = lowest.get(name, held)
            figures = zip(msgspec.structs.astuple(known), msgspec.structs.astuple(held), strict=True)
            lowest[name] = Holdings(
                **dict(zip(Holdings.__struct_fields__, (min(pair) for pair in figures), strict=True))
            )
    return lowest


def processes_with(words: str) -> frozenset[int]:
    """The processes, other than this one, in whose command line these words stand."""
    found = set()
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            if words in command and int(process.name) != os.getpid():
                found.add(int(process.name))
    return frozenset(found)


def unfinished_files(caches: Path) -> tuple[str, ...]:
    """Files in a cache that are neither models, segments, profiles, spools nor keys, as paths below it."""
    return tuple(sorted(str(path.relative_to(caches)) for path in _files(caches) if path.suffix not in _FINISHED))


def _files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        yield from (Path(folder) / name for name in names)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
