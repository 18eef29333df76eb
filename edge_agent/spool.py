"""Where telemetry waits until it is stored, by run and number, within a bound; one thread uses a spool.

What is sent when is `edge_agent.spooling`'s to decide; the file and its faults are `edge_agent.spool_database`'s.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edge_agent.configuration import AgentSettings
from edge_agent.spool_database import failing, opened, remove, sole_use
from edge_agent.spooling import Held

ROW_BYTES = 64  # what SQLite adds to a message of some hundred bytes: its key, the times, its share of a page
TIDY_COMMITS = 50  # about 400 KB of log, so that a spool fits on a small disk; every ten seconds on an idle node
_SEQUENCE_BITS = 40


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as the spool keeps it: its kind, its JSON, and when it was recorded by both of the node's clocks."""

    kind: str
    payload: bytes
    recorded_at: float
    """Seconds since the Unix epoch."""
    recorded_s: float
    """Of the monotonic clock, which says nothing to another run."""


def spool_file(settings: AgentSettings) -> Path:
    """Where an agent keeps its spool."""
    return settings.spool.file or settings.cache / "spool" / f"{settings.site}-{settings.node}.sqlite"


class Spool:
    """Telemetry in one SQLite file, by run of the agent (session) and number, from 1 in each.

    What was appended outlives the end of the process, however that comes. A power cut may take what was appended in the
    last seconds (`synchronous = NORMAL` waits for the disk at checkpoints only), always from the end: what is left has
    no holes. No number is then given twice, since the next run is another session, and what was published before the
    cut is not doubled, since the coordinator knows it by session and number.
    SpoolError where another process uses the file or it is not a spool; SpoolFailedError where the disk fails. A spool
    that is damaged is renamed (`.damaged`) and begun anew: `was_damaged`.
    """

    def __init__(self, path: Path, *, session: str, max_bytes: int) -> None:
        self._path = path
        self._session = session
        self._max_bytes = max_bytes
        self._commits = 0
        with ExitStack() as undo:
            undo.enter_context(sole_use(path))
            self._connection, self.was_damaged = opened(path)
            undo.callback(lambda: self._connection.close())  # noqa: PLW0108  # the connection may be another by then
            with failing(path):
                self._numbers = self._runs()
                self._held_bytes = self._size(0, 2**63 - 1)
            self._opened = undo.pop_all()

    @property
    def held_bytes(self) -> int:
        """What waits, in bytes."""
        return self._held_bytes

    def held(self) -> tuple[Held, ...]:
        """What it holds of each run, the oldest first; SpoolFailedError where it cannot be read."""
        found = []
        with failing(self._path):
            for session, number in sorted(self._numbers.items(), key=lambda item: item[1]):
                start = _id(number, 0)
                first, last = self._connection.execute(
                    "SELECT min(id), max(id) FROM message WHERE id BETWEEN ? AND ?", (start, _id(number + 1, -1))
                ).fetchone()
                if first is not None:
                    found.append(Held(session, first - start, last - start))
        return tuple(found)

    def append(self, first: int, messages: Sequence[Kept]) -> tuple[Held, ...]:
        """Keep messages of this run under the numbers from `first`, all or none; SpoolFailedError if none.

        What had to go for them, the oldest there was, is returned.
        """
        size = sum(len(message.payload) + ROW_BYTES for message in messages)
        with failing(self._path), self._connection:
            numbers = self._numbers if self._session in self._numbers else self._enter_run()
            dropped, freed = self._make_room(size, numbers)
            start = _id(numbers[self._session], first)
            self._connection.executemany(
                "INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?)",
                [
                    (start + offset, each.kind, each.recorded_at, each.recorded_s, each.payload)
                    for offset, each in enumerate(messages)
                ],
            )
        self._numbers = numbers
        self._held_bytes += size - freed
        self._commits += 1
        return dropped

    def read(self, session: str, first: int, last: int) -> tuple[tuple[int, Kept], ...]:
        """The messages of a run from one number to another, with their numbers; SpoolFailedError if it cannot."""
        start = _id(self._numbers.get(session, 0), 0)
        with failing(self._path):
            rows = self._connection.execute(
                "SELECT id, kind, payload, recorded_at, recorded_s FROM message WHERE id BETWEEN ? AND ? ORDER BY id",
                (start + first, start + last),
            ).fetchall()
        return tuple((row[0] - start, Kept(*row[1:])) for row in rows)

    def delete(self, session: str, through: int) -> None:
        """Forget a run up to a number; SpoolFailedError if it cannot."""
        number = self._numbers.get(session)
        if number is None:
            return
        with failing(self._path), self._connection:
            freed = self._delete(_id(number, 0), _id(number, through))
        self._held_bytes -= freed
        self._commits += 1

    def tidy(self) -> None:
        """Move what has gathered in the log into the file, which waits for the disk: for when nobody else waits.

        SpoolFailedError if it cannot.
        """
        if self._commits >= TIDY_COMMITS:
            with failing(self._path):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._commits = 0

    def begin_anew(self) -> None:
        """Forget everything by making the file anew, which needs no room; SpoolFailedError where even that fails."""
        self._connection.close()
        remove(self._path)
        self._numbers, self._held_bytes = {}, 0
        self._connection, _ = opened(self._path)

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()

    def _runs(self) -> dict[str, int]:
        return {session: number for number, session in self._connection.execute("SELECT number, session FROM run")}

    def _enter_run(self) -> dict[str, int]:
        """Number this run after all others, of which those that hold nothing are forgotten."""
        self._connection.execute(
            "DELETE FROM run WHERE NOT EXISTS"
            f" (SELECT 1 FROM message WHERE id BETWEEN number << {_SEQUENCE_BITS}"
            f" AND ((number + 1) << {_SEQUENCE_BITS}) - 1)"
        )
        self._connection.execute("INSERT INTO run SELECT coalesce(max(number), 0) + 1, ? FROM run", (self._session,))
        return self._runs()

    def _make_room(self, size: int, numbers: dict[str, int]) -> tuple[tuple[Held, ...], int]:
        """Delete the oldest messages until so many bytes fit; which these were, and their bytes."""
        excess = self._held_bytes + size - self._max_bytes
        if excess <= 0:
            return (), 0
        sessions = {number: session for session, number in numbers.items()}
        gone: dict[int, list[int]] = {}
        freed = last = 0
        for identity, length in self._connection.execute("SELECT id, length(payload) FROM message ORDER BY id"):
            gone.setdefault(identity >> _SEQUENCE_BITS, []).append(identity)
            freed, last = freed + length + ROW_BYTES, identity
            if freed >= excess:
                break
        self._connection.execute("DELETE FROM message WHERE id <= ?", (last,))
        dropped = (
            Held(sessions[number], identities[0] - _id(number, 0), identities[-1] - _id(number, 0))
            for number, identities in gone.items()
        )
        return tuple(dropped), freed

    def _delete(self, low: int, high: int) -> int:
        """Delete the messages with these identities; their bytes."""
        freed = self._size(low, high)
        self._connection.execute("DELETE FROM message WHERE id BETWEEN ? AND ?", (low, high))
        return freed

    def _size(self, low: int, high: int) -> int:
        (size,) = self._connection.execute(
            f"SELECT coalesce(sum(length(payload) + {ROW_BYTES}), 0) FROM message WHERE id BETWEEN ? AND ?", (low, high)
        ).fetchone()
        return int(size)


def _id(number: int, sequence: int) -> int:
    """Where a message stands in the file: by run, then by number, which is the order to send in."""
    return (number << _SEQUENCE_BITS) + sequence
