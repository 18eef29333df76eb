"""What a session drops, counted by cause and logged so that a flood of messages is no flood of lines.

What is dropped, and why, is decided where it comes in or goes out.
"""

import dataclasses
import logging
import threading
import time
from dataclasses import dataclass
from typing import Literal

LOG_INTERVAL_S = 60.0

log = logging.getLogger("splitrail.broker")


@dataclass(frozen=True, slots=True)
class DroppedCounts:
    """How many messages were dropped since the session began, by cause."""

    malformed: int = 0
    unknown: int = 0
    oversized: int = 0
    unsent: int = 0
    """Our own, refused because too many waited for the broker."""


class Drops:
    """The count and the log of one session; every method may be called from any thread."""

    def __init__(self) -> None:
        self._counts = DroppedCounts()
        self._lock = threading.Lock()
        self._last_logged: dict[tuple[str, str], float] = {}

    @property
    def counts(self) -> DroppedCounts:
        """What was dropped so far."""
        return self._counts

    def drop(self, cause: Literal["malformed", "unknown", "oversized", "unsent"], family: str, sentence: str) -> None:
        """Count a message, and say once a minute for its `family` of topics what became of it."""
        with self._lock:
            self._counts = dataclasses.replace(self._counts, **{cause: getattr(self._counts, cause) + 1})
        self.complain(cause, family, sentence)

    def complain(self, cause: str, family: str, sentence: str) -> None:
        """Log at most once a minute for each cause and family."""
        now = time.monotonic()
        if now - self._last_logged.get((cause, family), -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._last_logged[cause, family] = now
            log.warning("%s", sentence)
