"""Requests that wait for their replies: repeated when they may have been lost, and given up with what is known.

Sending, receiving and subscribing are `broker.session`'s.
"""

import math
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.errors import ConnectionFailedError, NoReplyError
from broker.messages import InferReply, NodeStatus

FIRST_REPEAT_S = 0.5
"""After a loss; by then the one who answers has its own connection back, as a rule."""
LONGEST_REPEAT_S = 10.0
MOST_REPEATS = 16
"""After each loss."""
LOOK_S = 1.0
MAX_ANSWERERS = 1_000


class _Lost:
    """The request, or its reply, may have been lost."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request under way; `node` is the one that is to answer, where the caller knows it."""

    address: str
    node: str | None
    correlation: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    events: "queue.SimpleQueue[InferReply | _Lost | ConnectionFailedError]" = field(default_factory=queue.SimpleQueue)


@dataclass(frozen=True, slots=True)
class _Heard:
    status: NodeStatus
    at_s: float
    was_retained: bool


class Requests:
    """The requests of one session; `connected` tells whether the broker is there. For any thread."""

    def __init__(self, endpoint: str, connected: Callable[[], bool]) -> None:
        self._endpoint = endpoint
        self._connected = connected
        self._lock = threading.Lock()
        self._waiting: dict[bytes, Request] = {}
        self._answerers: dict[str, _Heard] = {}

    def begin(self, address: str, node: str | None) -> Request:
        """A request that a reply finds from now on, until its `wait` has ended."""
        request = Request(address, node)
        with self._lock:
            self._waiting[request.correlation] = request
        return request

    def wait(self, request: Request, send: Callable[[], bool], timeout_s: float) -> InferReply:
        """Send the request, and again whenever it may have been lost, until its reply comes.

        NoReplyError after `timeout_s` seconds; ConnectionFailedError if it cannot be sent, or the session closes.
        """
        try:
            return self._wait(request, send, timeout_s)
        finally:
            with self._lock:
                del self._waiting[request.correlation]

    def answered(self, correlation: bytes | None, reply: InferReply) -> None:
        """A reply has come; one that nobody waits for any more is dropped."""
        with self._lock:
            request = self._waiting.get(correlation or b"")
        if request is not None:
            request.events.put(reply)

    def reconnected(self) -> None:
        """The broker is back, and may have forgotten what it had acknowledged."""
        for request in self._all():
            request.events.put(_Lost())

    def heard(self, status: NodeStatus, *, retained: bool) -> None:
        """A node was born or has died; one that is born anew knows nothing of what it was asked before.

        So does one that tells of its birth again: it was away from the broker, which may have had nobody to hand a
        request to.
        """
        with self._lock:
            before = self._answerers.get(status.node)
            if before is None and len(self._answerers) >= MAX_ANSWERERS:
                return
            if status.state == "offline" and before is not None and before.status.session != status.session:
                return
            self._answerers[status.node] = _Heard(status, time.monotonic(), retained)
        is_new = before is not None and before.status.session != status.session
        if status.state == "online" and (is_new or not retained):
            for request in self._all():
                if request.node == status.node:
                    request.events.put(_Lost())

    def close(self) -> None:
        """Give up what still waits."""
        for request in self._all():
            request.events.put(ConnectionFailedError(self._endpoint, "the session was closed before a reply came"))

    def _all(self) -> list[Request]:
        with self._lock:
            return list(self._waiting.values())

    def _wait(self, request: Request, send: Callable[[], bool], timeout_s: float) -> InferReply:
        now = time.monotonic()
        deadline, repeat_at, repeats = now + timeout_s, math.inf, 0
        away_since: float | None = None
        if not send():
            raise ConnectionFailedError(self._endpoint, "cannot send: too many messages wait, or it is closed")
        while True:
            is_connected = self._connected()
            away_since = None if is_connected else now if away_since is None else away_since
            if is_connected and now >= repeat_at:
                send()
                repeats += 1
                pause_s = min(LONGEST_REPEAT_S, FIRST_REPEAT_S * 2.0**repeats)
                repeat_at = now + pause_s if repeats < MOST_REPEATS else math.inf
            try:
                event = request.events.get(timeout=max(0.0, min(deadline, repeat_at, now + LOOK_S) - now))
            except queue.Empty:
                now = time.monotonic()
                if now >= deadline:
                    raise NoReplyError(request.address, timeout_s, self._known(request.node, away_since)) from None
                continue
            now = time.monotonic()
            match event:
                case InferReply():
                    return event
                case ConnectionFailedError():
                    raise event
                case _Lost():
                    repeat_at, repeats = now + FIRST_REPEAT_S, 0

    def _known(self, node: str | None, away_since: float | None) -> str:
        now = time.monotonic()
        if away_since is not None:
            return f"the broker {self._endpoint} has been away for {now - away_since:.0f} s"
        if node is None:
            return "`splitrail status` shows whether its origin is up"
        with self._lock:
            heard = self._answerers.get(node)
        if heard is None:
            return f"its origin {node} has not announced itself; does its agent run?"
        if heard.status.state == "online":
            return f"its origin {node} is online, but does not answer; its log may say why"
        if heard.was_retained:
            return f"its origin {node} is offline"
        return f"its origin {node} has been offline for {now - heard.at_s:.0f} s"
