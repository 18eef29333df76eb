"""Telemetry that will not be stored, or may not be: how much, why, and a line in the log now and then.

Pure but for that line; times are of the node's monotonic clock, in s.
"""

import logging
import math

LOG_INTERVAL_S = 60.0
MAX_REASON = 2_000

log = logging.getLogger("splitrail.agent")


class Losses:
    """What was lost since this run of the agent began."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.count = 0
        self.reason = ""
        """Of what was lost last."""
        self._warned_s = -math.inf

    def add(self, count: int, reason: str, at_s: float) -> None:
        """So many messages more."""
        self.count += count
        self.reason = reason[:MAX_REASON]
        self.warn(f"telemetry is dropped ({self.count} messages since the start): {reason}", at_s)

    def warn(self, sentence: str, at_s: float) -> None:
        """Log at most once a minute: what fails, fails often."""
        if at_s - self._warned_s >= LOG_INTERVAL_S:
            self._warned_s = at_s
            log.warning("%s", sentence)
