"""A spool in memory, whose disk fails when a test says so."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import SpoolFailedError
from edge_agent.spool import Kept
from edge_agent.spooling import Held


class MemorySpool:
    """A spool that outlives the sender that it is open in, bounded by a number of messages."""

    was_damaged = False

    def __init__(self, most: int = 10**9) -> None:
        self.runs: dict[str, dict[int, Kept]] = {}
        self.most = most
        self.fails = False
        self.is_clogged = False
        self.is_damaged = False
        """Where it fails: whether it will not mend by itself."""
        self.session = ""

    @property
    def held_bytes(self) -> int:
        return 100 * sum(map(len, self.runs.values()))

    def held(self) -> tuple[Held, ...]:
        return tuple(Held(session, min(run), max(run)) for session, run in self.runs.items() if run)

    def append(self, first: int, messages: Sequence[Kept]) -> tuple[Held, ...]:
        self.check()
        if self.is_clogged:
            raise SpoolFailedError(Path("spool"), "disk full")
        gone: dict[str, list[int]] = {}
        for _ in range(self.held_bytes // 100 + len(messages) - self.most):
            session = next(session for session, run in self.runs.items() if run)
            oldest = min(self.runs[session])
            del self.runs[session][oldest]
            gone.setdefault(session, []).append(oldest)
        self.runs.setdefault(self.session, {}).update(enumerate(messages, first))
        return tuple(Held(session, numbers[0], numbers[-1]) for session, numbers in gone.items())

    def read(self, session: str, first: int, last: int) -> tuple[tuple[int, Kept], ...]:
        self.check()
        run = self.runs.get(session, {})
        return tuple((number, run[number]) for number in range(first, last + 1) if number in run)

    def delete(self, session: str, through: int) -> None:
        self.check()
        run = self.runs.get(session, {})
        self.runs[session] = {number: kept for number, kept in run.items() if number > through}

    def tidy(self) -> None:
        """Nothing gathers."""

    def begin_anew(self) -> None:
        self.check()
        self.runs, self.is_clogged = {}, False

    def close(self) -> None:
        """Nothing to let go of."""

    def check(self) -> None:
        """SpoolFailedError where the disk is to fail."""
        if self.fails:
            raise SpoolFailedError(Path("spool"), "disk full", is_damaged=self.is_damaged)
