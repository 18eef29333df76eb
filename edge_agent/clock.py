"""The node's wall clock, for the timestamps of what it reports and for nothing else: intervals are monotonic time.

A testbed may set it wrong by a file; that such a node is emulated, its announcement says.
"""

import logging
import math
import threading
import time
from pathlib import Path

log = logging.getLogger("splitrail.agent")

MAX_FILE_BYTES = 64
LONGEST_OFFSET_S = 10.0 * 365 * 86_400  # beyond what any clock is wrong by, and within what a date can hold


class WallClock:
    """Seconds since the Unix epoch, plus the offset in a file where one is given. May be used by several threads."""

    def __init__(self, offset_file: Path | None = None) -> None:
        self._offset_file = offset_file
        self._offset_s = 0.0
        self._has_warned = False
        self._lock = threading.Lock()

    def now(self) -> float:
        """The time; where the file holds no offset, the last that it held counts (0 before that), with a warning."""
        if self._offset_file is None:
            return time.time()
        with self._lock:
            try:
                self._offset_s = _read(self._offset_file)
            except (OSError, ValueError) as error:
                if not self._has_warned:
                    log.warning(
                        "%s: no offset of the clock can be read, so it stays at %g s: %s",
                        self._offset_file,
                        self._offset_s,
                        error,
                    )
                self._has_warned = True
            return time.time() + self._offset_s


MACHINE_CLOCK = WallClock()
"""The clock of the machine, as it is."""


def _read(path: Path) -> float:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"longer than {MAX_FILE_BYTES} bytes; it must hold one number of seconds")
    offset_s = float(content)
    if not (math.isfinite(offset_s) and abs(offset_s) <= LONGEST_OFFSET_S):
        raise ValueError(f"{offset_s:g} is not a number of seconds within ten years")
    return offset_s
