"""The requests that this origin has under way or has answered, so that one that comes again is not run again.

Clients repeat a request when the broker was lost; what a request is, and how it is run, is `edge_agent.intake`'s.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

from broker.messages import InferReply, InferRequest

MOST_KEPT = 1_024

Answer = Callable[[InferReply], object]


class Answered:
    """Replies by request, the last `most_kept`; may be called from any thread.

    A request is known by its deployment, its id and the response topic, which is its client's own.
    """

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._lock = threading.Lock()
        self._replies: OrderedDict[bytes, InferReply | None] = OrderedDict()
        """None as long as the request is under way."""

    def take(
        self,
        deployment: str,
        request: InferRequest,
        response_topic: str | None,
        answer: Answer,
        begin: Callable[[Answer], None],
    ) -> None:
        """`begin` a request that is new; one that has its reply gets it again, one that is under way gets it then.

        `begin` is given what to call with the reply, which goes to `answer` and is kept. Where `most_kept` requests are
        under way, a new one is answered busy; else the reply that was asked for least recently is forgotten.
        """
        key = _key(deployment, request, response_topic)
        with self._lock:
            is_known = key in self._replies
            kept = self._replies.get(key)
            is_full = not is_known and not self._make_room()
            if not is_full:
                self._replies[key] = kept
                self._replies.move_to_end(key)
        if kept is not None:
            answer(kept)
        elif is_known:
            return
        elif is_full:
            answer(InferReply(request_id=request.request_id, error=f"busy: {self._most_kept} requests are under way"))
        else:
            begin(lambda reply: self._finish(key, reply, answer))

    def _finish(self, key: bytes, reply: InferReply, answer: Answer) -> None:
        with self._lock:
            if key in self._replies:
                self._replies[key] = reply
        answer(reply)

    def _make_room(self) -> bool:
        """Whether there is room for one more; only what has its reply is forgotten."""
        if len(self._replies) < self._most_kept:
            return True
        oldest = next((key for key, reply in self._replies.items() if reply is not None), None)
        if oldest is not None:
            del self._replies[oldest]
        return oldest is not None


def _key(deployment: str, request: InferRequest, response_topic: str | None) -> bytes:
    """Of one size, however long a topic a client names."""
    parts = f"{deployment}\n{request.request_id}\n{response_topic or ''}"
    return hashlib.blake2b(parts.encode(), digest_size=16).digest()
