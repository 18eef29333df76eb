"""Any message of the tensor plane, as hypothesis draws it."""

import hypothesis.extra.numpy as numpy_strategies
import hypothesis.strategies as st

from broker.messages import StageEnergy
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

U64 = st.integers(0, 2**64 - 1)
ROUTES = st.builds(
    Route,
    deployment=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"),
    epoch=st.integers(0, 2**32 - 1),
    request=st.binary(min_size=16, max_size=16),
    hop=st.integers(0, 2**16 - 1),
)
TENSORS = numpy_strategies.arrays(
    dtype=st.sampled_from(["<f4", "<f2", "<f8", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "?", "<c8"]),
    shape=numpy_strategies.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3),
)
MICROJOULES = st.integers(0, 10**15).map(lambda energy_uj: energy_uj / 1e6)
WAYS = st.sampled_from([("integrated", "measured"), ("scaled", "modelled"), ("model", "modelled")])
ENERGIES = st.builds(
    lambda energy_j, std_j, way, scope, meter: StageEnergy(
        energy_j=energy_j, energy_j_std=std_j, method=way[0], source=way[1], scope=scope, meter=meter
    ),
    MICROJOULES,
    MICROJOULES,
    WAYS,
    st.sampled_from(["board", "soc", "package", "gpu", "wall"]),
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,23}\Z"),
)
STAGES = st.builds(
    StageRecord,
    hop=st.integers(0, 2**16 - 1),
    compute_ns=U64,
    wait_ns=U64,
    energy=st.none() | ENERGIES,
    codec_ns=U64,
)
TENSORS_MESSAGES = st.builds(
    TensorsMessage,
    route=ROUTES,
    tensors=st.lists(TENSORS, max_size=4).map(tuple),
    stages=st.lists(STAGES, max_size=4).map(tuple),
)
SMALL_MESSAGES = st.one_of(
    st.builds(FailureMessage, route=ROUTES, reason=st.text(max_size=100)),
    st.builds(TransferRecord, route=ROUTES, size_bytes=U64, transfer_ns=U64),
    st.builds(Acknowledgement, route=ROUTES, held_ns=U64),
    st.builds(Ping, token=U64),
    st.builds(Pong, token=U64),
    st.builds(ProbeChunk, probe=U64, index=st.just(3), count=st.integers(4, 999), payload=st.binary(min_size=1)),
    st.builds(ProbeReply, probe=U64, counted_bytes=U64, counted_ns=U64),
    st.builds(Hello, node=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")),
    st.just(Welcome()),
)
ROUTE = Route("faces", 7, bytes(range(16)), 2)


def transmitted(message: WireMessage) -> bytes:
    """The bytes as they come out of a socket."""
    return b"".join(encode(message))
