"""Frames of the tensor plane: the input is cut into frames by lengths of two bytes."""

import struct
from collections.abc import Iterator

import numpy as np

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire import (
    MAX_STAGE_RECORDS,
    MAX_TENSORS,
    Acknowledgement,
    FailureMessage,
    Frame,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    StageRecord,
    TensorsMessage,
    TransferRecord,
    WireMessage,
    decode,
    encode,
)
from edge_agent.wire_energy import MAX_ENERGY_J

ROUTE = Route("photos", 3, b"0123456789abcdef", 1)
ENERGY = StageEnergy(
    energy_j=0.25, energy_j_std=0.01, method="integrated", source="measured", scope="package", meter="rapl"
)
MESSAGES: tuple[WireMessage, ...] = (
    TensorsMessage(
        ROUTE, (np.zeros((1, 2, 3), "<f4"), np.ones((), "|i1")), (StageRecord(0, 5, 6), StageRecord(1, 7, 8, ENERGY))
    ),
    TensorsMessage(ROUTE, (np.zeros((0, 4), "<c16"),)),
    FailureMessage(ROUTE, "no memory"),
    TransferRecord(ROUTE, 1_000, 2_000),
    Acknowledgement(ROUTE),
    Ping(7),
    Pong(7),
    ProbeChunk(1, 0, 2, b"x" * 100),
    ProbeReply(1, 100, 2_000),
)


def frames_of(data: bytes) -> list[Frame]:
    """The frames that some bytes stand for."""
    frames: list[Frame] = []
    while len(data) >= 2 and len(frames) < 80:
        (size,) = struct.unpack_from("<H", data)
        frames.append(memoryview(data[2 : 2 + size]))
        data = data[2 + size :]
    return frames


def packed(frames: list[Frame]) -> bytes:
    """Bytes that stand for these frames."""
    return b"".join(struct.pack("<H", len(frame)) + bytes(frame) for frame in frames)


def run(data: bytes) -> None:
    """A message is refused, or its arrays are no larger than its frames; what was taken can be sent on unchanged."""
    frames = frames_of(data)
    try:
        message = decode(frames)
    except WireError:
        return
    if isinstance(message, TensorsMessage):
        assert len(message.tensors) <= MAX_TENSORS
        assert len(message.stages) <= MAX_STAGE_RECORDS
        assert sum(tensor.nbytes for tensor in message.tensors) <= len(data)
        energies = [record.energy for record in message.stages if record.energy is not None]
        assert all(0.0 <= energy.energy_j <= MAX_ENERGY_J for energy in energies)
    again = encode(message)
    assert [bytes(frame) for frame in encode(decode(again))] == [bytes(frame) for frame in again]


def seeds() -> Iterator[bytes]:
    """One message of each kind."""
    yield from (packed(encode(message)) for message in MESSAGES)
