"""Of whose nonsense the log tells: once of each node, and of so many, as it is not to be filled from outside.

What it says is up to whoever complains.
"""

import threading
from typing import Final

MAX_COMPLAINTS: Final = 100


class Complaints:
    """May be used by several threads."""

    def __init__(self) -> None:
        """Nobody was complained of."""
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def is_news(self, who: str) -> bool:
        """Whether to complain of `who` now, which is then done."""
        with self._lock:
            if who in self._told or len(self._told) >= MAX_COMPLAINTS:
                return False
            self._told.add(who)
            return True
