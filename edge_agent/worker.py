"""One thread that takes items in order from a bounded queue; what is done with an item is its owner's."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger("splitrail.agent")

T = TypeVar("T")


class Worker(Generic[T]):
    """Calls `handle` with each item, on a thread called `name`; what `handle` raises is logged and ends nothing."""

    def __init__(self, name: str, length: int, handle: Callable[[T], None]) -> None:
        self._name = name
        self._handle = handle
        self._queue: queue.Queue[tuple[T] | None] = queue.Queue(length)
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return self._queue.qsize()

    def submit(self, item: T) -> bool:
        """Queue an item without waiting; False if `length` items wait already."""
        try:
            self._queue.put_nowait((item,))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Finish the item in hand, drop what waits, and end the thread."""
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (waiting := self._queue.get()) is not None:
            [item] = waiting
            try:
                self._handle(item)
            except Exception:
                # One item's fault must not end the thread that serves all.
                log.exception("%s: an item could not be handled", self._name)
            # What it held, such as a segment that is freed meanwhile, must not wait for the next item to go.
            del waiting, item
