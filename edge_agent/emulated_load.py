"""The load that a testbed wants an emulated node to have: one number in a file that may change at any moment."""

import logging
import math
import threading
import time
from pathlib import Path

log = logging.getLogger("splitrail.agent")

MAX_FILE_BYTES = 64
SETTLED_S = 0.1  # within a tick of the kernel's clock, 1 to 10 ms, two versions may look the same


class EmulatedLoad:
    """Reads the load, 0 to below 1, from `path`; without a path it is always 0. May be used by several threads."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._last = 0.0
        self._seen: tuple[int, int, int] | None = None
        """The file as it was when it was read last: its number, when it was written, and its size."""
        self._seen_s = 0.0
        self._has_warned = False
        self._lock = threading.Lock()

    def load(self) -> float:
        """The load of this moment; where the file holds none, the last that it held (0 before that), and a warning."""
        if self._path is None:
            return 0.0
        with self._lock:
            try:
                status = self._path.stat()
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                now_s = time.monotonic()
                if seen != self._seen or now_s - self._seen_s < SETTLED_S:
                    self._last = _read(self._path)
                    self._seen_s = self._seen_s if seen == self._seen else now_s
                    self._seen = seen
            except (OSError, ValueError) as error:
                if not self._has_warned:
                    log.warning("%s: no load can be read, so it stays at %g: %s", self._path, self._last, error)
                self._has_warned = True
            return self._last


def _read(path: Path) -> float:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"longer than {MAX_FILE_BYTES} bytes; it must hold one number from 0 to below 1")
    load = float(content)
    if not (math.isfinite(load) and 0.0 <= load < 1.0):
        raise ValueError(f"{load:g} is not a number from 0 to below 1")
    return load
