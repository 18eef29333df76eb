"""Virtual time: what is due happens in its order, and the clock jumps from one to the next."""

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any


class Timeline:
    """Events by their time in seconds; those of one time happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._is_over = False

    def at(self, time_s: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call `call` with these arguments at `time_s`; what is past is done next, what is at infinity never."""
        if time_s < math.inf:
            heapq.heappush(self._due, (time_s, next(self._numbers), call, arguments))

    def end(self) -> None:
        """Let nothing more happen."""
        self._is_over = True

    def run(self) -> None:
        """Until `end` is called."""
        due = self._due
        while not self._is_over:
            time_s, _, call, arguments = heapq.heappop(due)
            self.now_s = max(self.now_s, time_s)
            call(*arguments)
