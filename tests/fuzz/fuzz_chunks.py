"""What comes from peers by the broker: the input is a sequence of (peer, length, payload); then the streams go on."""

import struct
from collections.abc import Iterator

from fuzz_wire import MESSAGES

from edge_agent.chunks import CHUNK_BYTES, MAX_CONTENT_BYTES, Heard, Inbound, Outbound, read_chunk, receipt
from edge_agent.errors import WireError
from edge_agent.wire import encode
from edge_agent.wire_reading import decode

_NEXT = struct.Struct("<BI")
PEERS = 4
MOST_PAYLOADS = 200
"""A long run of zeros is as many empty payloads: to copy what is left behind each took minutes."""
ROOM_BYTES = 2**20


def run(data: bytes) -> None:
    """Each payload is taken or refused, no peer holds more than there is room for, and a true stream still arrives."""
    inbound = [Inbound() for _ in range(PEERS)]
    outbound = [Outbound() for _ in range(PEERS)]
    for _ in range(MOST_PAYLOADS):
        if len(data) < _NEXT.size:
            break
        peer, length = _NEXT.unpack_from(data)
        payload, data = data[_NEXT.size : _NEXT.size + length], data[_NEXT.size + length :]
        _take(payload, inbound[peer % PEERS], outbound[peer % PEERS])
    for reader in inbound:
        assert reader.held_bytes <= ROOM_BYTES
        writer = Outbound()
        writer.put("message", [b"still here"])
        chunks = [read_chunk(bytes(payload)) for payload in writer.due(Heard())]
        arrived = [reader.take(chunk.part, ROOM_BYTES) for chunk in chunks if chunk.part is not None]
        assert [bytes(each.content) for each in arrived if each is not None] == [b"still here"]


def _take(payload: bytes, reader: Inbound, writer: Outbound) -> None:
    try:
        chunk = read_chunk(payload)
    except WireError as error:
        assert "\n" not in str(error)
        return
    writer.send_again(chunk.heard) if chunk.asks_again else writer.was_heard(chunk.heard)
    if chunk.part is None:
        return
    try:
        arrived = reader.take(chunk.part, ROOM_BYTES)
        if arrived is not None:
            assert len(arrived.content) <= MAX_CONTENT_BYTES
            decode(arrived.content)
    except WireError as error:
        assert "\n" not in str(error)


def seeds() -> Iterator[bytes]:
    """A stream of every kind of message, one that is cut, and receipts."""
    whole, cut = Outbound(), Outbound()
    for message in MESSAGES:
        whole.put("message", encode(message))
    cut.put("reply", [bytes(CHUNK_BYTES + 1)])
    for writer in (whole, cut):
        payloads = [bytes(payload) for payload in writer.due(Heard(5, 1))]
        yield b"".join(_NEXT.pack(0, len(payload)) + payload for payload in payloads)
    for asks_again in (False, True):
        payload = receipt(Heard(7, 3), asks_again=asks_again)
        yield _NEXT.pack(1, len(payload)) + payload
