"""A bounded reader of flatbuffers: every offset, vtable and vector length is checked against the file before use.

What the tables mean is schema.py's business; a hostile file costs a ModelFormatError, never memory or time.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from models.errors import ModelFormatError

# As in flatbuffers' own verifier (VerifierTemplate::Options::max_tables, include/flatbuffers/verifier.h).
MAX_TABLES = 1_000_000
MAX_FIELDS = 256
"""Of one table: the schema's largest has 17. A vtable may claim 32,765, at every table anew."""
MAX_DECODED_BYTES = 256_000_000
"""Bound on the vectors and strings that are copied out of one file; weights are never copied."""


class FlatBuffer:
    """The bytes of one flatbuffer; `name` is the file that errors speak of."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.data = data
        self.name = name
        self._tables_left = MAX_TABLES
        self._bytes_left = MAX_DECODED_BYTES

    def broken(self, what: str) -> ModelFormatError:
        """The error that says what is wrong with this file."""
        return ModelFormatError(f"{self.name}: not a valid .tflite: {what}; fetch or convert the file again")

    def scalar(self, form: str, position: int) -> int:
        """One little-endian integer of struct format `form` at a byte position."""
        size = struct.calcsize(form)
        if position < 0 or position + size > len(self.data):
            raise self.broken(f"it points to byte {position} of {len(self.data)}")
        return int(struct.unpack_from("<" + form, self.data, position)[0])

    def follow(self, position: int) -> int:
        """The target of the forward offset at `position`."""
        return position + self.scalar("I", position)

    def root(self) -> "Table":
        """The root table."""
        return self.table(self.follow(0))

    def table(self, position: int) -> "Table":
        """The table at `position`, its vtable checked."""
        self._tables_left -= 1
        if self._tables_left < 0:
            raise self.broken(f"it has more than {MAX_TABLES} tables")
        vtable = position - self.scalar("i", position)
        vtable_size = self.scalar("H", vtable)
        inline_size = self.scalar("H", vtable + 2)
        whole = 4 <= vtable_size <= 4 + 2 * MAX_FIELDS and vtable + vtable_size <= len(self.data)
        if not whole or vtable % 2 or vtable_size % 2:
            raise self.broken(f"the table at byte {position} has a broken vtable")
        if inline_size < 4 or position + inline_size > len(self.data):
            raise self.broken(f"the table at byte {position} runs past the end of the file")
        offsets = struct.unpack_from(f"<{(vtable_size - 4) // 2}H", self.data, vtable + 4)
        return Table(self, position, inline_size, offsets)

    def vector_span(self, position: int, item_bytes: int) -> range:
        """The byte positions of the elements of the vector at `position`."""
        start = position + 4
        stop = start + self.scalar("I", position) * item_bytes
        if stop > len(self.data):
            raise self.broken(f"the vector at byte {position} runs past the end of the file")
        return range(start, stop)

    def vector(self, position: int, item_bytes: int) -> memoryview:
        """The raw elements of the vector at `position`, uncopied."""
        span = self.vector_span(position, item_bytes)
        return self.data[span.start : span.stop]

    def spend(self, size: int) -> None:
        """Count bytes that are about to be copied out, so that shared vectors cannot multiply without bound."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise self.broken(f"its tables hold more than {MAX_DECODED_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Table:
    """A table in a flatbuffer; `slot` counts the schema's fields from 0."""

    buffer: FlatBuffer
    position: int
    inline_size: int
    offsets: tuple[int, ...]

    def field(self, slot: int, size: int) -> int | None:
        """The byte position of a field that takes `size` inline bytes, or None where it is absent."""
        offset = self.offsets[slot] if slot < len(self.offsets) else 0
        if offset == 0:
            return None
        if offset < 4 or offset + size > self.inline_size:
            raise self.buffer.broken(f"field {slot} of the table at byte {self.position} lies outside it")
        return self.position + offset

    def scalar(self, slot: int, form: str, default: int = 0) -> int:
        """An integer field of struct format `form`."""
        position = self.field(slot, struct.calcsize(form))
        return default if position is None else self.buffer.scalar(form, position)

    def target(self, slot: int) -> int | None:
        """The position that an offset field points to."""
        position = self.field(slot, 4)
        return None if position is None else self.buffer.follow(position)

    def table(self, slot: int) -> "Table | None":
        """A child table."""
        position = self.target(slot)
        return None if position is None else self.buffer.table(position)

    def tables(self, slot: int) -> "Iterator[Table]":
        """The tables of a vector of tables; nothing where the field is absent."""
        position = self.target(slot)
        if position is None:
            return
        count = len(self.buffer.vector(position, 4)) // 4
        for entry in range(position + 4, position + 4 + 4 * count, 4):
            yield self.buffer.table(self.buffer.follow(entry))

    def raw(self, slot: int, item_bytes: int = 1) -> memoryview | None:
        """The bytes of a vector of scalars, uncopied, or None where the field is absent."""
        position = self.target(slot)
        return None if position is None else self.buffer.vector(position, item_bytes)

    def integers(self, slot: int, form: str = "i") -> tuple[int, ...] | None:
        """A vector of integers of struct format `form`, or None where the field is absent."""
        raw = self.raw(slot, struct.calcsize(form))
        if raw is None:
            return None
        self.buffer.spend(8 * len(raw))
        return struct.unpack(f"<{len(raw) // struct.calcsize(form)}{form}", raw)

    def text(self, slot: int) -> str:
        """A string; what is not UTF-8 in it is replaced, and an absent one is empty."""
        raw = self.raw(slot)
        if raw is None:
            return ""
        self.buffer.spend(len(raw))
        return str(raw, "utf-8", "replace")
