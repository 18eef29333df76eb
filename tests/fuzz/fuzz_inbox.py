"""Streams of several peers to one agent: the input is a sequence of (peer, bytes, time), each a piece of its stream."""

import struct
from collections.abc import Iterator, Sequence

from fuzz_wire import MESSAGES, packed

from edge_agent.errors import WireError
from edge_agent.inbox import MAX_PROBING_PEERS, Inbox
from edge_agent.stream import BUFFER_BYTES, MessageReader
from edge_agent.wire import FailureMessage, Route, TensorsMessage, TransferRecord, WireMessage, encode
from edge_agent.wire_tensors import MAX_MESSAGE_BYTES, Tensor, TensorSpec

MOST_PIECES = 200
MOST_RESERVED = 1_000_000
"""Memory is not what is looked for here."""


class _Receiver:
    """Takes whatever comes."""

    def memory_for(self, route: Route, specs: tuple[TensorSpec, ...]) -> Sequence[Tensor] | None:
        """None of its own."""

    def on_tensors(self, message: TensorsMessage, src: str) -> None:
        """Nothing."""

    def on_failure(self, message: FailureMessage, src: str) -> None:
        """Nothing."""

    def on_transfer_record(self, message: TransferRecord, src: str) -> None:
        """Nothing."""

    def on_delivered(self, delivery: object) -> None:
        """Nothing."""


class _Peer:
    """One stream, and the replies to it."""

    def __init__(self, receiver: _Receiver) -> None:
        self.reader = MessageReader(receiver, self._reserve)
        self.pending = b""
        self.is_cut = False

    def reply(self, message: WireMessage) -> None:
        """Anything that can be sent."""
        encode(message)

    def fill(self, memory: memoryview) -> int | None:
        """What of its piece fits."""
        count = min(len(memory), len(self.pending))
        memory[:count] = self.pending[:count]
        self.pending = self.pending[count:]
        return count or None

    def _reserve(self, size_bytes: int) -> None:
        assert size_bytes <= MAX_MESSAGE_BYTES
        if size_bytes > MOST_RESERVED:
            raise WireError("too much for now")


def run(data: bytes) -> None:
    """Every message is answered with something that can be sent, or ends its stream; what is kept is bounded."""
    receiver = _Receiver()
    inbox = Inbox(receiver)
    peers: dict[int, _Peer] = {}
    at_ns = 0
    for _ in range(MOST_PIECES):
        if len(data) < 8:
            break
        name, size, step_ns = struct.unpack_from("<HHI", data)
        peer = peers.setdefault(name, _Peer(receiver))
        at_ns += step_ns
        peer.pending, data = data[8 : 8 + size], data[8 + size :]
        try:
            while not peer.is_cut and (message := peer.reader.take(peer.fill)) is not None:
                peer.is_cut = not inbox.take(peer, "pi", message, at_ns)
        except WireError:
            peer.is_cut = True
        assert peer.is_cut or not peer.pending
        assert len(peer.reader._view) == BUFFER_BYTES
        assert peer.reader.under_way_bytes <= MOST_RESERVED
    assert len(inbox._timelines) <= MAX_PROBING_PEERS


def seeds() -> Iterator[bytes]:
    """All kinds of messages, from one peer and from several, whole and in pieces."""
    asked = [packed(message) for message in MESSAGES if type(message).__name__ in ASKED]
    for peers in (1, 3):
        yield b"".join(
            struct.pack("<HHI", index % peers, len(part), 1_000) + part for index, part in enumerate(asked * 2)
        )
    whole = b"".join(asked)
    yield b"".join(
        struct.pack("<HHI", 0, len(whole[at : at + 50]), 1_000) + whole[at : at + 50] for at in range(0, len(whole), 50)
    )


ASKED = ("TensorsMessage", "FailureMessage", "TransferRecord", "Ping", "ProbeChunk")
