"""Checks that a test leaves nothing running or open: no thread, child process, socket or file of its own."""

import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eventually import eventually

__all__ = ["nothing_left"]

# The library's own, kept for good by whoever first used it.
KEPT_BY_PYTHON = ("/dev/", "/proc/", "/sys/")


@dataclass(frozen=True)
class Held:
    """What this process holds: threads, Python's and libraries', children, and descriptors by what they lead to."""

    threads: frozenset[str]
    native_threads: int
    children: frozenset[str]
    descriptors: frozenset[tuple[str, str]]


def held() -> Held:
    """What is held now."""
    gc.collect()
    return Held(
        frozenset(f"{thread.name} ({thread.ident})" for thread in threading.enumerate()),
        len(list(Path("/proc/self/task").iterdir())),
        frozenset(pid for task in Path("/proc/self/task").iterdir() for pid in _children(task)),
        frozenset(_descriptors()),
    )


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except OSError:
        return []


def _descriptors() -> Iterator[tuple[str, str]]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the one by which the directory was read
        if not target.startswith(KEPT_BY_PYTHON):
            yield entry.name, target


def left(before: Held) -> str:
    """What is held beyond what was held before, in words; empty if nothing is."""
    now = held()
    leaks = [f"the thread {name}" for name in now.threads - before.threads]
    if now.native_threads > before.native_threads:
        leaks.append(f"{now.native_threads - before.native_threads} threads in all")
    leaks += [f"the process {pid}" for pid in now.children - before.children]
    leaks += [f"the descriptor {number} of {target}" for number, target in now.descriptors - before.descriptors]
    return "; ".join(sorted(leaks))


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails the test if, some seconds after its end, it holds more than before it."""
    before = held()
    yield
    assert eventually(lambda: not left(before), 10.0), f"left behind: {left(before)}"
