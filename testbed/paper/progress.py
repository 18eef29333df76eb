"""How an experiment tells of its progress: a bar in a terminal, lines elsewhere; always to the error output."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from testbed.paper.campaign import run_words
from testbed.paper.grid import duration_words
from testbed.paper.records import RunKey

PLAIN_COLUMNS = 120
PLAIN_INTERVAL_S = 5.0
LONG_STEP_S = 1.0


class ProgressScreen:
    """The lines and the bar. Nothing of it goes to the standard output, which is the figures'."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        if not self._console.is_terminal:
            self._console = Console(stderr=True, highlight=False, no_color=True, width=PLAIN_COLUMNS)
        self._bar: Progress | None = None
        self._last_plain_s = -PLAIN_INTERVAL_S

    def say(self, words: str) -> None:
        """A line that stays."""
        self._console.print(words, soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def step(self, words: str) -> Iterator[None]:
        """A step that may take more than a second: it is named at once, and its time is said."""
        start_s = time.monotonic()
        self.say(f"{words} ...")
        with self._console.status(words) if self._console.is_terminal else contextlib.nullcontext():
            yield
        took_s = time.monotonic() - start_s
        if took_s >= LONG_STEP_S:
            self.say(f"{words}: done in {took_s:.1f} s")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts, `now` draws a bar in a terminal; elsewhere it writes a line every few seconds."""
        if not self._console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self._console, transient=True) as bar:
            bar.add_task("")
            self._bar = bar
            try:
                yield
            finally:
                self._bar = None

    def now(self, key: RunKey, done: int, total: int, left_s: float) -> None:
        """A run begins, the one after `done` of `total`; all that are left take about `left_s`."""
        words = f"{run_words(key)}; about {duration_words(left_s)} left"
        if self._bar is not None:
            [task] = self._bar.task_ids
            self._bar.update(task, total=total, completed=done, description=words)
        elif time.monotonic() - self._last_plain_s >= PLAIN_INTERVAL_S:
            self._last_plain_s = time.monotonic()
            self.say(f"run {done + 1} of {total}, {key.mode}: {words}")
