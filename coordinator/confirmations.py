"""When nodes are told up to where their telemetry is stored: at once after a pause, then at most once a second each.

What is stored is the telemetry store's to say, how a node is told the service's.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from coordinator.telemetry.store import StoredUpTo

PAUSE_S: Final = 1.0
"""Nodes send again after 5 s; to tell each of a thousand at every commit would cost as much as what they send."""
MANY: Final = 128
"""So many messages are confirmed without a pause: a backlog may have 512 under way."""
MOST_AT_ONCE: Final = 250
"""The rest has its turn at the next call: plans must find room among what waits for the broker."""


class Confirmations:
    """Any thread may note what is stored, and have told what is due.

    `tell` publishes one of them, and returns False where too many messages wait for the broker.
    """

    def __init__(self, tell: Callable[[StoredUpTo], bool], *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], StoredUpTo] = {}
        self._told: dict[tuple[str, str], tuple[int, float]] = {}
        """Up to where each was told within the last pause, and when; the one told last at the end."""

    def note(self, stored: Iterable[StoredUpTo]) -> None:
        """These nodes are to be told."""
        with self._lock:
            self._waiting.update({(each.node, each.session): each for each in stored})

    def forget(self) -> None:
        """Tell nobody of what was noted: another coordinator leads, or the broker is away; nodes send again."""
        with self._lock:
            self._waiting.clear()

    def tell_due(self) -> None:
        """Tell those whose turn it is."""
        now = self._clock_s()
        with self._lock:
            self._end_pauses(now)
            due = [(key, each) for key, each in self._waiting.items() if self._is_due(key, each)]
            for key, each in due[:MOST_AT_ONCE]:
                if not self._tell(each):
                    return
                del self._waiting[key]
                self._told.pop(key, None)
                self._told[key] = (each.sequence, now)

    def _is_due(self, key: tuple[str, str], each: StoredUpTo) -> bool:
        told = self._told.get(key)
        return told is None or each.sequence - told[0] >= MANY

    def _end_pauses(self, now: float) -> None:
        while self._told:
            first = next(iter(self._told))
            if now - self._told[first][1] < PAUSE_S:
                return
            del self._told[first]
