"""Waits for what happens on another thread or in another process."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], timeout_s: float = 20.0) -> bool:
    """Whether the condition comes true in time; long enough for a busy machine, and over as soon as it holds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
