"""Both streams between this node and one peer at the broker: what to say to it and when, whether it listens at all.

Pure: times come as arguments, in seconds of one monotonic clock. `edge_agent.mqtt_way` publishes what it says.
"""

import math
from collections.abc import Sequence
from typing import Final

from edge_agent.chunks import WINDOW_BYTES, Arrived, Chunk, Heard, Inbound, Outbound, Sort, receipt
from edge_agent.wire_tensors import Frame

LISTENS_S: Final = 20.0
"""A peer that was not heard for longer may have closed its connection: it is called before it is sent anything."""
SILENCE_S: Final = 15.0
"""Without a sign of what was sent, for so long: it is asked what has come."""
AGAIN_S: Final = 0.25
"""Between two times that a peer has what it missed once more: a question is short, and the answer a whole window."""
FIRST_CALL_S: Final = 1.0
LONGEST_CALL_S: Final = 10.0

Payload = bytes | bytearray


class Exchange:
    """What is under way in both directions; every method is followed by sending what `payloads` gives."""

    def __init__(self) -> None:
        """Nothing was said."""
        self._outbound, self._inbound = Outbound(), Inbound()
        self._is_engaged = False
        self._heard_at = -math.inf
        self._went_on_at = -math.inf
        self._called_at, self._pause_s = -math.inf, FIRST_CALL_S
        self._sent_again_at = -math.inf
        self._missed_from: Heard | None = None
        self._is_asked = False
        self._has_to_ask = self._has_to_confirm = False
        self._unconfirmed_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """What the peer has not confirmed."""
        return self._outbound.kept_bytes

    @property
    def held_bytes(self) -> int:
        """The memory of the message that is coming in."""
        return self._inbound.held_bytes

    @property
    def keeps_messages(self) -> bool:
        """Whether the peer has not confirmed all messages; replies do not count."""
        return self._outbound.kept_messages > 0

    def listens(self, at: float) -> bool:
        """Whether the peer was heard since this node listens, and lately."""
        return at - self._heard_at < LISTENS_S

    def put(self, sort: Sort, frames: Sequence[Frame], at: float) -> None:
        """Say something after all before it; the frames are copied."""
        if not self.kept_bytes:
            self._went_on_at = at
        self._outbound.put(sort, frames)
        self._is_engaged = True

    def withdraw(self, *, sent: bool) -> list[bytes]:
        """Take back the messages that were not confirmed, or only those that were not `sent` yet."""
        return self._outbound.withdraw(sent=sent)

    def called(self) -> None:
        """The peer has something to say: it waits for a word."""
        self._is_engaged = self._has_to_confirm = True

    def take(self, chunk: Chunk, at: float, room_bytes: int) -> Arrived | None:
        """The peer was heard; the message that ended by that, if one did. WireError as of `Inbound.take`."""
        if self._is_asked or not self.listens(at):
            self._send_again(chunk.heard, at)
        elif chunk.asks_again or self._missed_from is not None:
            self._missed_from = chunk.heard
            self._send_missed(at)
        elif self._outbound.was_heard(chunk.heard):
            self._went_on_at = at
        self._heard_at, self._pause_s = at, FIRST_CALL_S
        self._has_to_confirm |= chunk.asks_again
        if chunk.part is None:
            return None
        self._is_engaged = True
        self._unconfirmed_bytes += len(chunk.part.content)
        self._has_to_confirm |= self._unconfirmed_bytes >= WINDOW_BYTES // 4
        had_gap = self._inbound.has_gap
        try:
            return self._inbound.take(chunk.part, room_bytes)
        finally:
            self._has_to_ask |= self._inbound.has_gap and not had_gap

    def look(self, at: float) -> bool:
        """Some time has passed; whether the peer has to be called now."""
        self._send_missed(at)
        is_called = self.kept_bytes > 0 and not self.listens(at) and at - self._called_at >= self._pause_s
        if is_called:
            self._pause_s = FIRST_CALL_S if self._called_at == -math.inf else min(2 * self._pause_s, LONGEST_CALL_S)
            self._called_at = at
        is_silent = self._outbound.is_under_way and at - self._went_on_at > SILENCE_S
        if is_silent:
            self._is_asked, self._went_on_at = True, at
        self._has_to_ask |= is_called or is_silent
        self._has_to_confirm |= self._unconfirmed_bytes > 0
        return is_called

    def begins(self) -> None:
        """Listening begins, or begins anew: what was missed is asked for, if there was anything."""
        self._heard_at = -math.inf
        self._has_to_ask = self._is_engaged

    def ends(self) -> None:
        """Listening ends, since nothing was said for long."""
        self._is_engaged = False
        self._heard_at = self._called_at = -math.inf

    def payloads(self, at: float) -> list[Payload]:
        """What is to be sent to the peer now, in order; what has come is confirmed by it."""
        payloads: list[Payload] = []
        if self._has_to_ask:
            payloads.append(receipt(self._inbound.heard, asks_again=True))
        if self.listens(at):
            payloads += self._outbound.due(self._inbound.heard)
        if self._has_to_confirm and not payloads:
            payloads.append(receipt(self._inbound.heard))
        if payloads:
            self._has_to_ask = self._has_to_confirm = False
            self._unconfirmed_bytes = 0
        return payloads

    def _send_missed(self, at: float) -> None:
        if self._missed_from is not None and at - self._sent_again_at >= AGAIN_S:
            self._send_again(self._missed_from, at)

    def _send_again(self, heard: Heard, at: float) -> None:
        self._outbound.send_again(heard)
        self._is_asked, self._missed_from = False, None
        self._sent_again_at = self._went_on_at = at
