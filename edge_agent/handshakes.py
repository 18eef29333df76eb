"""Answers ZeroMQ's question whether the holder of a key may connect (ZAP, RFC 27 of zeromq.org). Has no thread.

Who is admitted is `edge_agent.admission`'s concern.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import zmq
from zmq.utils import z85

DOMAIN: Final = "splitrail"
HANDSHAKE_S: Final = 5.0  # on the thinnest link of 0.05 Mbit/s a handshake of 1 KB takes 0.2 s and some round trips
MAX_WAITING: Final = 64

_ADDRESS: Final = "inproc://zeromq.zap.01"
_FRAMES: Final = 7  # version, request, domain, address, identity, mechanism, key
_KEY_BYTES: Final = 32


class Handshakes:
    """The handshakes of a context's sockets. A key that is not known yet waits: its birth may be on its way.

    At most MAX_WAITING wait; then the one that waits longest is sent away. Who is sent away, or has waited for
    HANDSHAKE_S, is disconnected and may try again.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", admits: Callable[[str], bool]) -> None:
        """Let in those whose public key (Z85) `admits` says yes to; to be made before the sockets that listen."""
        self._admits = admits
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ADDRESS)
        self._waiting: OrderedDict[tuple[bytes, ...], tuple[str, float]] = OrderedDict()

    def answer(self) -> None:
        """Answer what has been asked; ask again whenever `socket` is readable."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            # The envelope ends with an empty frame; behind it is what libzmq itself asks, which is well formed.
            boundary = frames.index(b"") + 1
            envelope, question = frames[:boundary], frames[boundary:]
            place = (*envelope, question[1])
            if len(question) < _FRAMES or question[5] != b"CURVE" or len(question[6]) != _KEY_BYTES:
                self._reply(place, None)
                continue
            key = z85.encode(question[6]).decode("ascii")
            if self._admits(key):
                self._reply(place, key)
                continue
            if len(self._waiting) >= MAX_WAITING:
                self._reply(self._waiting.popitem(last=False)[0], None)
            self._waiting[place] = (key, time.monotonic() + HANDSHAKE_S)

    def reconsider(self) -> None:
        """Somebody was admitted, or time has passed: let in whose key is known now, forget who was timed out."""
        for place, (key, until) in list(self._waiting.items()):
            if self._admits(key):
                self._reply(place, key)
            elif time.monotonic() < until:
                continue
            del self._waiting[place]

    def _reply(self, place: tuple[bytes, ...], key: str | None) -> None:
        """Let `key` in as itself; None sends away, with a status (300) that lets the caller try again."""
        *envelope, request = place
        status, text = (b"300", b"this key is not admitted") if key is None else (b"200", b"")
        user = b"" if key is None else key.encode("ascii")
        self.socket.send_multipart([*envelope, b"1.0", request, status, text, user, b""], zmq.NOBLOCK)
