"""One thread that does jobs, the most urgent first and then the oldest; what a job is, is its owner's concern."""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

log = logging.getLogger("splitrail.agent")

MOST_JOBS = 512


class ClosingError(Exception):
    """The thread is to end: the job under way is given up where it stands."""


@dataclass(frozen=True, slots=True)
class _Job:
    due_s: float
    rank: tuple[int, int]
    run: Callable[[], None]


class Jobs:
    """A bounded set of jobs, one for each key: a job that has not begun gives way to a newer one of its key.

    A job must not raise, except ClosingError out of `go_on`, which it calls now and then.
    """

    def __init__(self, name: str) -> None:
        self._jobs: dict[Hashable, _Job] = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def add(
        self, key: Hashable, urgency: int, run: Callable[[], None], delay_s: float = 0.0, *, is_retry: bool = False
    ) -> None:
        """Do `run` once it is due; the least `urgency` comes first. Beyond MOST_JOBS it is dropped with a warning.

        A retry is of what was asked before all that waits: it gives way to a job of its key.
        """
        with self._changed:
            if is_retry and key in self._jobs:
                return
            if key not in self._jobs and len(self._jobs) >= MOST_JOBS:
                log.warning("%d jobs wait already: %s is dropped", MOST_JOBS, key)
                return
            self._jobs[key] = _Job(time.monotonic() + delay_s, (urgency, next(self._numbers)), run)
            self._changed.notify()

    def go_on(self) -> None:
        """Raise ClosingError if the thread is to end."""
        if self._closing:
            raise ClosingError

    def close(self) -> None:
        """Give up the job under way, drop those that wait, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _next_job(self) -> _Job | None:
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                due = [(job.rank, key) for key, job in self._jobs.items() if job.due_s <= now_s]
                if due:
                    return self._jobs.pop(min(due, key=lambda each: each[0])[1])
                self._changed.wait(min((job.due_s for job in self._jobs.values()), default=now_s + 3600.0) - now_s)
            return None

    def _work(self) -> None:
        with contextlib.suppress(ClosingError):
            while (job := self._next_job()) is not None:
                job.run()
