"""A spool whose disk may fail: used as long as it can be, let go of when it is damaged, and opened again later.

What fails is counted among the `edge_agent.telemetry_losses`, and raised to nobody.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from edge_agent.errors import SpoolError, SpoolFailedError
from edge_agent.spool import Kept
from edge_agent.spooling import Held
from edge_agent.telemetry_losses import Losses

RETRY_S = 5.0


class SpoolFile(Protocol):
    """A spool that is open; `edge_agent.spool.Spool` is the one in a file."""

    was_damaged: bool

    @property
    def held_bytes(self) -> int:
        """What waits, in bytes."""

    def held(self) -> tuple[Held, ...]:
        """What it holds of each run, the oldest first."""

    def append(self, first: int, messages: Sequence[Kept]) -> tuple[Held, ...]:
        """Keep messages of this run, all or none; what had to go for them."""

    def read(self, session: str, first: int, last: int) -> tuple[tuple[int, Kept], ...]:
        """The messages of a run from one number to another."""

    def delete(self, session: str, through: int) -> None:
        """Forget a run up to a number."""

    def tidy(self) -> None:
        """Do what waits for the disk, while nobody else waits."""

    def begin_anew(self) -> None:
        """Forget everything, which needs no room."""

    def close(self) -> None:
        """Let go of it."""


class MendingSpool:
    """Times are of the node's monotonic clock, in s; closed until `open`."""

    def __init__(self, open_spool: Callable[[], SpoolFile], losses: Losses) -> None:
        """`open_spool` raises SpoolFailedError while the disk fails, SpoolError where the file cannot be a spool."""
        self._open_spool, self._losses = open_spool, losses
        self._file: SpoolFile | None = None
        self._next_opening_s = -math.inf
        self._failure = "it is not open"

    @property
    def is_open(self) -> bool:
        """Whether it can be used now."""
        return self._file is not None

    @property
    def was_damaged(self) -> bool:
        """Whether what it had held was lost when it was opened."""
        return self._file is not None and self._file.was_damaged

    @property
    def held_bytes(self) -> int:
        """What waits, in bytes; 0 while it is closed."""
        return 0 if self._file is None else self._file.held_bytes

    def open(self, at_s: float) -> tuple[Held, ...] | None:
        """What it holds of each run, the oldest first; None where the disk fails. SpoolError as for `open_spool`."""
        try:
            self._file = self._open_spool()
            return self._file.held()
        except SpoolFailedError as error:
            self._abandon(error.reason, at_s)
            self._losses.warn(f"telemetry is not spooled: {error}", at_s)
            return None

    def reopen(self, at_s: float) -> tuple[Held, ...] | None:
        """Open it, if it is closed and was so for a while; None where that is not so, or fails."""
        if self._file is not None or at_s < self._next_opening_s:
            return None
        try:
            return self.open(at_s)
        except SpoolError as error:
            self._abandon(error.reason, at_s)
            return None

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, first: int, kept: Sequence[Kept], at_s: float, *, is_empty: bool) -> tuple[Held, ...] | None:
        """Keep messages of this run, all or none; what had to go for them, or None where they were lost."""
        if self._file is None:
            self._losses.add(len(kept), f"the spool cannot be used: {self._failure}", at_s)
            return None
        try:
            return self._append_somehow(self._file, first, kept, at_s, is_empty=is_empty)
        except SpoolFailedError as error:
            self._losses.add(len(kept), f"the spool cannot be written: {error.reason}", at_s)
            self._note(error, at_s)
            return None

    def read(self, session: str, first: int, last: int, at_s: float) -> dict[int, Kept] | None:
        """The messages of a run from one number to another; None where they cannot be read now."""
        if self._file is None:
            return None
        try:
            return dict(self._file.read(session, first, last))
        except SpoolFailedError as error:
            self._note(error, at_s)
            return None

    def delete(self, session: str, through: int, at_s: float) -> None:
        """Forget a run up to a number; what cannot be deleted is sent again by the next run, for nothing."""
        if self._file is not None:
            try:
                self._file.delete(session, through)
            except SpoolFailedError as error:
                self._note(error, at_s)

    def tidy(self, at_s: float) -> None:
        """Do what waits for the disk, while nobody else waits."""
        if self._file is not None:
            try:
                self._file.tidy()
            except SpoolFailedError as error:
                self._note(error, at_s)

    def _append_somehow(
        self, file: SpoolFile, first: int, kept: Sequence[Kept], at_s: float, *, is_empty: bool
    ) -> tuple[Held, ...]:
        try:
            return file.append(first, kept)
        except SpoolFailedError:
            if not is_empty or at_s < self._next_opening_s:
                raise
        # Deleting needs room too: of a full disk the file itself may hold the rest, with nothing in it.
        self._next_opening_s = at_s + RETRY_S
        file.begin_anew()
        return file.append(first, kept)

    def _note(self, error: SpoolFailedError, at_s: float) -> None:
        """A spool that is damaged is opened anew, which sets the damaged one aside; others may mend by themselves."""
        if error.is_damaged:
            self._abandon(error.reason, at_s)

    def _abandon(self, reason: str, at_s: float) -> None:
        self.close()
        self._failure = reason
        self._next_opening_s = at_s + RETRY_S
