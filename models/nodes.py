"""The tree of tables that makes up a flatbuffer before it is written: fresh, copied, or lying ready elsewhere.

Writing it is emitter.py's business.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.flatbuffer import Table
from models.schema import Layout


@dataclass(frozen=True, slots=True)
class Number:
    """A scalar field: an integer of struct format `form`."""

    form: str
    value: int


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of scalars, as raw little-endian bytes."""

    data: bytes | memoryview
    item_bytes: int

    @classmethod
    def of(cls, form: str, values: Sequence[int]) -> "Vector":
        """A vector of integers of struct format `form`."""
        return cls(struct.pack(f"<{len(values)}{form}", *values), struct.calcsize(form))


@dataclass(frozen=True, slots=True)
class String:
    """A NUL-terminated string."""

    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class FileSource:
    """Where the bytes of a blob stand: an open file and a byte position in it."""

    descriptor: int
    position: int


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that go to the end of the file, aligned; an object is written once, however often it is pointed to.

    With `source`, the kernel copies them from file to file, so that they never enter this process's memory.
    """

    data: bytes | memoryview
    source: FileSource | None = None


@dataclass(frozen=True, slots=True)
class BlobSpan:
    """The uint64 file position of a blob's byte `start` (`part` "offset"), or the blob's length (`part` "size")."""

    blob: Blob
    part: Literal["offset", "size"]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Within:
    """A table or vector that lies ready at byte `position` of a blob."""

    blob: Blob
    position: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A table of another flatbuffer with all that hangs from it; `replaced` puts other nodes in some slots."""

    table: Table
    layout: Layout
    replaced: Mapping[int, "Node"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tables:
    """A vector of tables."""

    items: Sequence["Fresh | Copy | Within"]


@dataclass(frozen=True, slots=True)
class Fresh:
    """A new table: slot -> scalar or child."""

    fields: Mapping[int, "Number | BlobSpan | Node"]


Node = Fresh | Copy | Tables | Vector | String | Blob | Within
