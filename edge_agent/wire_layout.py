"""How a message of the tensor plane lies in bytes: a prefix, a header of its kind, then what follows; and its bounds.

What the messages say is `edge_agent.wire`'s, which writes them; `edge_agent.wire_reading` reads them.
"""

import re
import struct
from typing import Final

from edge_agent.errors import WireError
from edge_agent.wire_energy import ENERGY_FORM
from edge_agent.wire_tensors import DESCRIPTOR_BYTES, MAX_TENSORS

MAGIC: Final = b"SPLT"
WIRE_VERSION: Final = 4

MAX_STAGE_RECORDS: Final = 256
MAX_REASON_BYTES: Final = 500
MAX_CHUNK_BYTES: Final = 65_536
REQUEST_BYTES: Final = 16

PREFIX: Final = struct.Struct("<4sBBHQ")  # magic, version, kind, bytes of the header, bytes of what follows it
PREFIX_BYTES: Final = PREFIX.size
ROUTE: Final = struct.Struct("<64sI16sHI")  # deployment, epoch, request, hop, plan
TENSORS_HEAD: Final = struct.Struct("<64sI16sHIHH")  # a route, tensors, stage records
STAGE: Final = struct.Struct("<HQQQB" + ENERGY_FORM)  # hop, compute_ns, wait_ns, codec_ns, batch, and the energy
TIMED: Final = struct.Struct("<QQ")  # bytes, nanoseconds
TOKEN: Final = struct.Struct("<Q")  # or nanoseconds
CHUNK: Final = struct.Struct("<QHH")  # probe, index, count

MAX_HEADER_BYTES: Final = TENSORS_HEAD.size + MAX_TENSORS * DESCRIPTOR_BYTES + MAX_STAGE_RECORDS * STAGE.size

# The kinds are part of the protocol: never renumber, only append.
TENSORS_KIND: Final = 1
FAILURE_KIND: Final = 2
TRANSFER_KIND: Final = 3
ACKNOWLEDGEMENT_KIND: Final = 4
PING_KIND: Final = 5
PONG_KIND: Final = 6
CHUNK_KIND: Final = 7
PROBE_REPLY_KIND: Final = 8
HELLO_KIND: Final = 9
WELCOME_KIND: Final = 10

NAME_FORM: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Of a deployment or a node."""


def check_counts(tensors: int, stages: int) -> None:
    """WireError where a message has more of them than it may."""
    if tensors > MAX_TENSORS:
        raise WireError(f"{tensors} tensors, at most {MAX_TENSORS} are allowed")
    if stages > MAX_STAGE_RECORDS:
        raise WireError(f"{stages} stage records, at most {MAX_STAGE_RECORDS} are allowed")


def check_chunk(index: int, count: int, size_bytes: int) -> None:
    """WireError where a probe has no such chunk."""
    if index >= count:
        raise WireError(f"probe chunk {index} of {count}")
    if not 0 < size_bytes <= MAX_CHUNK_BYTES:
        raise WireError(f"a probe chunk of {size_bytes} bytes, 1 to {MAX_CHUNK_BYTES} are allowed")
