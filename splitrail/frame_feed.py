"""Reads frames, asks for each on one of a few threads, and hands the answers out in the frames' order.

What asking means, and what is answered of a frame that is dropped, is the caller's.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar

MOST_UNTAKEN: Final = 256
"""Answers that wait for whoever takes them, before more frames are read."""

A = TypeVar("A")
Sent = Callable[[], None]
"""Tells that a frame has gone out, so that the next one comes after it."""


@dataclass(frozen=True, slots=True)
class _Frame(Generic[A]):
    number: int
    image: bytes
    answer: "Future[A]"


class Feed(Generic[A]):
    """From `with` to its end; `ask(number, image, sent)` blocks for the answer, on one of `in_flight` threads.

    With `dropped(number)`, frames are read as fast as they come, and the newest that finds no thread free displaces the
    one before it; without, reading waits for a free thread.
    """

    def __init__(
        self,
        frames: Iterable[bytes],
        ask: Callable[[int, bytes, Sent], A],
        in_flight: int,
        dropped: Callable[[int], A] | None = None,
    ) -> None:
        self._frames = frames
        self._ask = ask
        self._dropped = dropped
        self._untaken = threading.Semaphore(MOST_UNTAKEN)
        self._answers: queue.SimpleQueue[Future[A] | BaseException | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._waiting: deque[_Frame[A]] = deque()
        self._free = 0
        self._is_ending = False
        self._last_sent = threading.Event()
        self._last_sent.set()
        self._threads = [threading.Thread(target=self._read, name="frames", daemon=True)]
        self._threads += [
            threading.Thread(target=self._serve, name=f"frames-{number}", daemon=True) for number in range(in_flight)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask for no more, and wait for what is under way and for the frame that is being read."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._untaken.release()
        for thread in self._threads:
            thread.join()

    def answers(self) -> Iterator[A]:
        """In the order of the frames, to their end; what reading or asking raises is raised in its turn."""
        while (answer := self._answers.get()) is not None:
            if isinstance(answer, BaseException):
                raise answer
            yield answer.result()
            self._untaken.release()

    def _read(self) -> None:
        try:
            for number, image in enumerate(self._frames):
                self._untaken.acquire()
                if not self._put(_Frame(number, image, Future())):
                    return
        except BaseException as error:  # of the frames' owner, whose thread should hear of it
            self._answers.put(error)
        else:
            self._answers.put(None)

    def _put(self, frame: _Frame[A]) -> bool:
        """Let a frame wait for a thread; False when it is time to end."""
        with self._changed:
            if self._dropped is None:
                self._changed.wait_for(lambda: self._is_ending or self._free > len(self._waiting))
            elif self._waiting and self._free <= len(self._waiting):
                stale = self._waiting.pop()
                stale.answer.set_result(self._dropped(stale.number))
            if self._is_ending:
                return False
            self._answers.put(frame.answer)
            self._waiting.append(frame)
            self._changed.notify_all()
        return True

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            frame, before, sent = taken
            before.wait()
            try:
                frame.answer.set_result(self._ask(frame.number, frame.image, sent.set))
            except BaseException as error:  # whoever takes the answers should hear of it
                frame.answer.set_exception(error)
            finally:
                sent.set()

    def _next(self) -> tuple[_Frame[A], threading.Event, threading.Event] | None:
        """The frame to be asked for next, what tells that the one before it has gone out, and what tells that of it."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_ending or self._waiting)
            self._free -= 1
            if self._is_ending:
                return None
            before, self._last_sent = self._last_sent, threading.Event()
            return self._waiting.popleft(), before, self._last_sent
