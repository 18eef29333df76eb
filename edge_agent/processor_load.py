"""How much of what an inference needs of this machine's processor others take, by what the kernel counts.

When to look and what to tell of it is `edge_agent.load_readings`' part.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

SHORTEST_WINDOW_S = 0.05  # the kernel counts processor time in ticks of 10 ms on many machines
FULL = 0.95
"""From this share of the cores on, others may want more than there is, and the threads that queue are counted too."""
_LOADAVG = Path("/proc/loadavg")


@dataclass(frozen=True, slots=True)
class Usage:
    """Cumulative seconds up to a moment: of the clock, of the cores that we may use, and of ourselves.

    `busy_s` is the time that those cores were taken by anyone, summed over them; `own_s` is this process's processor
    time, `wanted_s` the time by the clock that its inferences took. `runnable` counts the threads of the machine that
    run or queue at the moment itself, the one that looks among them.
    """

    at_s: float
    busy_s: float
    own_s: float
    wanted_s: float
    runnable: int


def load_between(before: Usage, after: Usage, *, cores: int, threads: int) -> float:
    """The load (0 to below 1) of the time between two looks, for inferences of `threads` threads on `cores` cores."""
    passed_s = after.at_s - before.at_s
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    duty = min(1.0, max(0.0, (after.wanted_s - before.wanted_s) / passed_s))
    others_runnable = after.runnable - 1 - duty * threads
    return processor_load(others_s / passed_s, others_runnable, duty, cores=cores, threads=threads)


def processor_load(others_cores: float, others_runnable: float, duty: float, *, cores: int, threads: int) -> float:
    """The load by which compute is stretched, 1/(1-load), where others use `others_cores` cores' worth.

    `duty` is the share of the time in which we computed ourselves. The model is a fair scheduler: of k threads of
    others beside our t on c cores, we get t if t + k <= c and c*t/(t+k) otherwise; without others we get min(t, c).
    Usage tells k as long as it leaves something free; of full cores `others_runnable`, the threads of others that run
    or queue at a moment, tells how many more there are. Priorities, a container's quota, shared caches, the clock rate,
    and threads that are bound to other cores than ours are not seen; stage times see them.
    """
    wanted = _wanted_by_others(min(max(0.0, others_cores), cores), duty, cores, threads)
    if wanted >= FULL * cores:
        wanted = max(wanted, others_runnable)
    return max(0.0, 1.0 - max(cores, threads) / (threads + wanted))


def _wanted_by_others(used: float, duty: float, cores: int, threads: int) -> float:
    """The threads k of others, at most `cores`, whose usage would be `used`, since beside us they get less."""
    if used <= cores - threads:
        return used
    # duty * c*k/(t+k) + (1-duty) * k = used, solved for k in the form that also holds where duty is 1.
    slope = duty * cores + (1.0 - duty) * threads - used
    root = slope + math.sqrt(slope * slope + 4.0 * (1.0 - duty) * used * threads)
    return cores if root <= 0.0 else min(float(cores), 2.0 * used * threads / root)


class ProcessorWatch:
    """Looks at this machine's processor.

    `threads` gives how many an inference takes, `wanted_s` the cumulative seconds that inferences took.
    """

    def __init__(self, threads: Callable[[], int], wanted_s: Callable[[], float]) -> None:
        self._threads = threads
        self._wanted_s = wanted_s
        self._cores = frozenset(os.sched_getaffinity(0))
        self._process = psutil.Process()
        self._last = self._look()

    def load(self) -> float | None:
        """The load since the last call, 0 to below 1; None if that is too short ago to tell."""
        now = self._look()
        if now.at_s - self._last.at_s < SHORTEST_WINDOW_S:
            return None
        before, self._last = self._last, now
        return load_between(before, now, cores=len(self._cores), threads=self._threads())

    def _look(self) -> Usage:
        own = self._process.cpu_times()
        per_core = psutil.cpu_times(percpu=True)
        return Usage(
            at_s=time.monotonic(),
            busy_s=sum(_busy_s(times) for core, times in enumerate(per_core) if core in self._cores),
            own_s=own.user + own.system,
            wanted_s=self._wanted_s(),
            runnable=_runnable(),
        )


def _runnable() -> int:
    """The fourth field of /proc/loadavg is `runnable/all` threads, of this moment and not an average: proc(5)."""
    return int(_LOADAVG.read_text(encoding="ascii").split()[3].partition("/")[0])


def _busy_s(times: "psutil._pslinux.scputimes") -> float:
    """Seconds that a core was taken; time stolen by a hypervisor is as lost to us as that of other processes."""
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
