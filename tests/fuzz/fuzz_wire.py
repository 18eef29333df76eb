"""One message of the tensor plane: the input is all of it."""

from collections.abc import Iterator

import numpy as np

from broker.messages import StageEnergy
from edge_agent.errors import WireError
from edge_agent.wire import (
    Acknowledgement,
    FailureMessage,
    Hello,
    Ping,
    Pong,
    ProbeChunk,
    ProbeReply,
    Route,
    StageRecord,
    TensorsMessage,
    TransferRecord,
    Welcome,
    WireMessage,
    encode,
)
from edge_agent.wire_energy import MAX_ENERGY_J
from edge_agent.wire_layout import MAX_STAGE_RECORDS
from edge_agent.wire_reading import decode
from edge_agent.wire_tensors import MAX_TENSORS

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
    Hello("pi"),
    Welcome(),
)


def packed(message: WireMessage) -> bytes:
    """A message as it goes over the wire."""
    return b"".join(encode(message))


def run(data: bytes) -> None:
    """A message is refused, or its arrays are no larger than its bytes; what was taken can be sent on unchanged."""
    try:
        message = decode(data)
    except WireError:
        return
    if isinstance(message, TensorsMessage):
        assert len(message.tensors) <= MAX_TENSORS
        assert len(message.stages) <= MAX_STAGE_RECORDS
        assert sum(tensor.nbytes for tensor in message.tensors) <= len(data)
        energies = [record.energy for record in message.stages if record.energy is not None]
        assert all(0.0 <= energy.energy_j <= MAX_ENERGY_J for energy in energies)
    again = packed(message)
    assert packed(decode(again)) == again


def seeds() -> Iterator[bytes]:
    """One message of each kind."""
    yield from map(packed, MESSAGES)
