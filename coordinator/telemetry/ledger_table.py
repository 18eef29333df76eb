"""The ledgers of all nodes' sessions as rows of the SQLite store: bounded, and read back after a restart.

What a ledger says of a message is `coordinator.telemetry.ledger`'s; transactions are the store's.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass

import msgspec

from broker.messages import SpoolMark
from coordinator.telemetry.ledger import Ledger, Verdict, fold
from coordinator.telemetry.store import StoredUpTo

MAX_SESSIONS_OF_A_NODE = 64
"""A node that restarts for ever has as many at most; the one heard of longest ago is forgotten first."""
MAX_SESSIONS = 16_384
KEPT_S = 30 * 86_400.0
"""A session that was not heard of for so long is forgotten; its node has given up or been replaced."""

_Key = tuple[str, str]
_RANGES = msgspec.json.Decoder(tuple[tuple[int, int], ...])


@dataclass(frozen=True, slots=True)
class _Known:
    ledger: Ledger
    heard_at: float


class Ledgers:
    """All ledgers, by node and session. After a transaction that was rolled back they have to be read anew."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read them, those heard of last at the end."""
        self._known: dict[_Key, _Known] = {}
        self._touched: set[_Key] = set()
        for node, session, contiguous, ahead, stored, skipped, heard_at in connection.execute(
            "SELECT node, session, contiguous, ahead, stored, skipped, heard_at FROM ledger ORDER BY heard_at"
        ):
            ledger = Ledger(contiguous, _RANGES.decode(ahead), stored, skipped)
            self._known[node, session] = _Known(ledger, heard_at)

    def fold(self, node: str, mark: SpoolMark, at: float) -> Verdict:
        """Enter a message; the verdict says what to do with it."""
        key = (node, mark.session)
        before = self._known.pop(key, None)
        ledger, verdict = fold(before.ledger if before else Ledger(), mark)
        self._known[key] = _Known(ledger, at)  # popped before, it stands at the end: heard of last
        self._touched.add(key)
        return verdict

    def write(self, connection: sqlite3.Connection) -> tuple[StoredUpTo, ...]:
        """Write what has changed since the last time, forget what is too much, and say how far each of these is."""
        touched, self._touched = self._touched, set()
        self._forget_beyond_bounds(connection)
        kept = {key: self._known[key] for key in touched if key in self._known}
        connection.executemany(
            "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *key,
                    known.ledger.contiguous,
                    msgspec.json.encode(known.ledger.ahead).decode(),
                    known.ledger.stored,
                    known.ledger.skipped,
                    known.heard_at,
                )
                for key, known in kept.items()
            ],
        )
        return tuple(
            StoredUpTo(*key, known.ledger.contiguous) for key, known in kept.items() if known.ledger.contiguous
        )

    def prune(self, connection: sqlite3.Connection, before: float) -> None:
        """Forget the sessions that were last heard of before that time (s since 1970)."""
        self._forget(connection, [key for key, known in self._known.items() if known.heard_at < before])

    def _forget_beyond_bounds(self, connection: sqlite3.Connection) -> None:
        of_node = Counter(node for node, _ in self._known)
        excess = len(self._known) - MAX_SESSIONS
        if excess <= 0 and max(of_node.values(), default=0) <= MAX_SESSIONS_OF_A_NODE:
            return
        forgotten: list[_Key] = []
        for key in self._known:
            if excess > len(forgotten) or of_node[key[0]] > MAX_SESSIONS_OF_A_NODE:
                forgotten.append(key)
                of_node[key[0]] -= 1
        self._forget(connection, forgotten)

    def _forget(self, connection: sqlite3.Connection, keys: list[_Key]) -> None:
        for key in keys:
            del self._known[key]
        connection.executemany("DELETE FROM ledger WHERE node = ? AND session = ?", keys)
