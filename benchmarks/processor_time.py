"""The CPU seconds of processes and of their threads, as the kernel counts them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def process_cpu_s(pid: int) -> float:
    """The CPU seconds of a process so far, by ticks of 10 ms; OSError once it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def thread_cpu_s(pid: int) -> dict[int, float]:
    """The CPU seconds of each thread of a process so far, by its number; OSError once the process is gone."""
    return {number: int(text.split()[0]) / 1e9 for number, text in _of_threads(pid, "schedstat")}


def queued_s(pid: int) -> float:
    """How long the threads of a process have waited for a processor so far, in sum: others held them all."""
    return sum(int(text.split()[1]) / 1e9 for _, text in _of_threads(pid, "schedstat"))


def thread_wakes(pid: int) -> int:
    """How often the threads of a process have waited for something so far, and so were woken."""
    lines = (line for _, text in _of_threads(pid, "status") for line in text.splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def _of_threads(pid: int, file: str) -> Iterator[tuple[int, str]]:
    """A file of each thread, by its number; schedstat has the ns on a processor, then waiting for one, then turns."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            yield int(thread.name), (thread / file).read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
