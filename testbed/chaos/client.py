"""A client that asks steadily, whether or not it is answered, and keeps what came of each request.

Whether the answers are right and enough is `testbed.chaos.checks`' part.
"""

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from broker.errors import BrokerError
from broker.messages import InferReply, InferRequest
from broker.session import Session
from broker.topics import INFER

MOST_WAITING = 64
TOP = 3


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, by the monotonic clock in seconds: its reply, or why the client has none."""

    request_id: str
    image: int
    sent_s: float
    ended_s: float
    reply: InferReply | None = None
    unanswered: str | None = None

    @property
    def failure(self) -> str | None:
        """Why it has no result; None where it has one."""
        return self.reply.error if self.reply is not None else self.unanswered

    @property
    def fallback(self) -> str | None:
        """Why the origin finished it by itself, where it did."""
        return self.reply.report.fallback if self.reply is not None and self.reply.report is not None else None


class SteadyClient:
    """Asks `rate_per_s` times a second between `begin` and `finish`, images in turn; each request waits `timeout_s`.

    `origin` is the node that is to answer. When `most_waiting` wait for their answers, the next ones are late.
    """

    def __init__(
        self,
        session: Session,
        deployment: str,
        images: Sequence[bytes],
        *,
        origin: str,
        rate_per_s: float,
        timeout_s: float,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._session, self._deployment, self._images = session, deployment, images
        self._origin, self._rate_per_s, self._timeout_s = origin, rate_per_s, timeout_s
        self._most_waiting = most_waiting
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._ended: list[Exchange] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Ask from now on."""
        self._stop.clear()
        self._ended = []
        self._thread = threading.Thread(target=self._ask_steadily, name="steady-client", daemon=True)
        self._thread.start()

    def finish(self) -> tuple[Exchange, ...]:
        """Ask no more, wait for what is under way, and return all requests since `begin`, in the order of sending."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self.so_far()

    def so_far(self) -> tuple[Exchange, ...]:
        """The requests that have ended, in the order of sending."""
        with self._lock:
            return tuple(sorted(self._ended, key=lambda exchange: exchange.sent_s))

    def _ask_steadily(self) -> None:
        with ThreadPoolExecutor(self._most_waiting, "steady-client") as pool:
            next_s = time.monotonic()
            for turn in itertools.count():
                if self._stop.wait(max(0.0, next_s - time.monotonic())):
                    return
                pool.submit(self._ask, turn % len(self._images))
                next_s += 1.0 / self._rate_per_s

    def _ask(self, image: int) -> None:
        request = InferRequest(request_id=uuid.uuid4().hex, image=self._images[image], top=TOP)
        sent_s = time.monotonic()
        reply, unanswered = _outcome(
            lambda: self._session.request(
                INFER, request, self._deployment, timeout_s=self._timeout_s, node=self._origin
            )
        )
        ended = Exchange(request.request_id, image, sent_s, time.monotonic(), reply, unanswered)
        with self._lock:
            self._ended.append(ended)


def _outcome(ask: Callable[[], InferReply]) -> tuple[InferReply | None, str | None]:
    try:
        return ask(), None
    except BrokerError as error:
        return None, str(error)
