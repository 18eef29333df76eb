"""Sends each peer's messages directly, or through the broker while it cannot be connected to, in one order.

When which is taken is `edge_agent.fallback`'s; how each carries them, `dialling`'s and `mqtt_way`'s beside it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from broker.messages import TensorWay
from edge_agent.errors import SendError
from edge_agent.fallback import Choice
from edge_agent.mqtt_way import MqttWay
from edge_agent.ways import Way
from edge_agent.wire_tensors import Frame

log = logging.getLogger("splitrail.transport")

MAX_HELD_MESSAGES: Final = 1_000


class DirectWay(Way, Protocol):
    """A way that tells whether it reaches a peer, and gives back what waits for that."""

    def is_ready(self, peer: str) -> bool:
        """Whether `peer` has been reached."""

    def withdraw(self, peer: str) -> list[Frame]:
        """Take back the messages that wait until `peer` is reached, in order."""


class _Peer:
    """A peer, and what goes directly once the other way is empty. Its lock keeps the order over both ways."""

    __slots__ = ("choice", "held", "lock")

    def __init__(self, choice: Choice) -> None:
        self.lock = threading.Lock()
        self.choice = choice
        self.held: deque[Frame] = deque()


class EitherWay:
    """The way beneath a transport's lines; its methods may be called from any thread and never wait for a peer.

    What is under way when the way changes goes on before what follows. Only where the one that was left stands still
    may a message arrive twice: it was taken back, and had arrived.
    """

    def __init__(self, direct: DirectWay, mqtt: MqttWay, *, after_s: float) -> None:
        """Take the way through the broker where the direct one could not be made for `after_s`."""
        self._direct, self._mqtt, self._after_s = direct, mqtt, after_s
        self._lock = threading.Lock()
        self._peers: dict[str, _Peer] = {}  # replaced as a whole at each change, so that any thread may read it
        self.dropped = 0
        """How many messages found no room."""

    def way(self, name: str) -> TensorWay:
        """How messages go to a peer now."""
        peer = self._peers.get(name)
        return "direct" if peer is None or peer.choice.state == "direct" else "mqtt"

    def allow(self, name: str, allowed: bool) -> None:
        """Whether a peer takes messages through the broker."""
        if allowed:
            self._mqtt.admit(name)
            return
        self._mqtt.dismiss(name)
        peer = self._peers.get(name)
        if peer is not None:
            with peer.lock:
                peer.choice = Choice(self._after_s, time.monotonic())
                self._send_held(name, peer)

    def open(self, peer: str, endpoint: str) -> None:
        """Reach `peer` directly at `endpoint`; the way that is taken meanwhile stays."""
        self._direct.open(peer, endpoint)
        with self._lock:
            if peer not in self._peers:
                self._peers = {**self._peers, peer: _Peer(Choice(self._after_s, time.monotonic()))}

    def shut(self, peer: str) -> None:
        """Forget `peer` and what waits for it."""
        with self._lock:
            self._peers = {name: each for name, each in self._peers.items() if name != peer}
        self._direct.shut(peer)
        self._mqtt.dismiss(peer)

    def pace(self, peer: str, bytes_per_s: float | None) -> None:
        """Hold the direct way to this; the one through the broker has no pace."""
        self._direct.pace(peer, bytes_per_s)

    def send(self, name: str, frames: Sequence[Frame]) -> None:
        """Send a message by the way that is taken; what finds no room is counted as dropped."""
        peer = self._peers.get(name)
        if peer is None:
            self._direct.send(name, frames)
            return
        with peer.lock:
            match peer.choice.state:
                case "direct":
                    self._direct.send(name, frames)
                case "mqtt":
                    self._send_by_mqtt(name, frames)
                case "returning" if len(peer.held) < MAX_HELD_MESSAGES:
                    peer.held.append(b"".join(frames))
                case "returning":
                    self._drop()

    def attend(self) -> None:
        """Take the other way where that is due; to be called several times a second, by one thread at a time."""
        for name, peer in self._peers.items():
            if self._mqtt.admits(name):
                with peer.lock:
                    self._look(name, peer)

    def _look(self, name: str, peer: _Peer) -> None:
        before = peer.choice.state
        is_empty = before == "returning" and self._mqtt.is_empty(name)
        state = peer.choice.look(time.monotonic(), is_up=self._direct.is_ready(name), is_empty=is_empty)
        if state == before:
            return
        if state == "returning":
            # What is under way is waited for, and nothing else.
            peer.held.extend(self._mqtt.withdraw(name, sent=False))
        elif state == "direct":
            log.info("%s is connected to again: its tensors go directly", name)
            for content in self._mqtt.withdraw(name, sent=True):
                self._direct.send(name, (content,))
            self._send_held(name, peer)
        else:
            if before == "direct":
                log.warning("%s cannot be connected to: its tensors go through the broker, at its cost", name)
            for frame in (*self._direct.withdraw(name), *peer.held):
                self._send_by_mqtt(name, (frame,))
            peer.held.clear()

    def _send_held(self, name: str, peer: _Peer) -> None:
        while peer.held:
            self._direct.send(name, (peer.held.popleft(),))

    def _send_by_mqtt(self, name: str, frames: Sequence[Frame]) -> None:
        try:
            self._mqtt.send(name, "message", frames)
        except SendError:
            self._drop()

    def _drop(self) -> None:
        with self._lock:
            self.dropped += 1
