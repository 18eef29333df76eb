"""The CPU seconds of processes and of their threads, as the kernel counts them."""

import os
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def process_cpu_s(pid: int) -> float:
    """The CPU seconds of a process so far, by ticks of 10 ms; OSError once it is gone."""
    return _cpu_s(Path(f"/proc/{pid}/stat"))


def thread_cpu_s(pid: int) -> dict[int, float]:
    """The CPU seconds of each thread of a process so far, by its number; OSError once the process is gone."""
    found: dict[int, float] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            # Nanoseconds on a processor, then waiting for one, then turns.
            found[int(thread.name)] = int((thread / "schedstat").read_text().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return found


def queued_s(pid: int) -> float:
    """How long the threads of a process have waited for a processor so far, in sum: others held them all."""
    found = 0.0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += int((thread / "schedstat").read_text().split()[1]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return found


def thread_wakes(pid: int) -> int:
    """How often the threads of a process have waited for something so far, and so were woken."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            lines = (thread / "status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        found += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return found


def _cpu_s(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
