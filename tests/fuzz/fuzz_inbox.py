"""One agent's inbox, to which many peers send: the input is a sequence of (peer, frames, time)."""

import struct
from collections.abc import Iterator

from fuzz_wire import MESSAGES, frames_of, packed

from edge_agent.inbox import MAX_COMPLAINTS, MAX_PROBING_PEERS, Inbox, claimed_sender
from edge_agent.wire import FailureMessage, TensorsMessage, TransferRecord, WireMessage, encode

MOST_MESSAGES = 200


class _Receiver:
    """Takes whatever comes."""

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """Nothing."""

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """Nothing."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """Nothing."""

    def on_delivered(self, delivery: object) -> None:
        """Nothing."""


def run(data: bytes) -> None:
    """Every message is answered with something that can be sent, or dropped; what is kept of peers is bounded."""
    replies: list[WireMessage] = []
    inbox = Inbox(_Receiver(), lambda identity, message: replies.append(message))
    at_ns = 0
    for _ in range(MOST_MESSAGES):
        if len(data) < 8:
            break
        name, size, step_ns = struct.unpack_from("<HHI", data)
        identity = b"%s/%x" % (data[8:12], name)
        sender = claimed_sender(identity)
        at_ns += step_ns
        if sender is not None:
            inbox.take(identity, sender, frames_of(data[8 : 8 + size]), at_ns)
        data = data[8 + size :]
    for reply in replies:
        encode(reply)
    assert len(inbox._timelines) <= MAX_PROBING_PEERS
    assert len(inbox._complained) <= MAX_COMPLAINTS


def seeds() -> Iterator[bytes]:
    """All kinds of messages, from one peer and from several."""
    parts = [packed(encode(message)) for message in MESSAGES]
    for peers in (1, 3):
        yield b"".join(
            struct.pack("<HHI", index % peers, len(part), 1_000) + part for index, part in enumerate(parts * 2)
        )
