"""Verifies all of a flatbuffer that the TFLite schema can reach, before anything interprets it: bounds and alignment.

Weights are checked by their lengths alone and never read. What the tables mean is for `models.soundness` to doubt.
"""

import struct

from models.flatbuffer import FlatBuffer, Table
from models.schema import MODEL, Child, Children, Layout, Scalars, Text, Union

LEAST_TABLE_BYTES = 8
"""What a table takes at least: the offset that leads to it, and the one to its vtable."""


def verify(data: memoryview, name: str) -> None:
    """Raise ModelFormatError unless every table, vector, text and union of the .tflite in `data` lies whole within.

    Scalars, tables and vectors must be aligned to their own width. Fields and members of unions that are newer than
    the schema that Splitrail knows are passed over. Takes time in proportion to the tables, which share no room.
    """
    buffer = FlatBuffer(data, name)
    _Verification(buffer).table(_aligned(buffer, buffer.follow(0), 4), MODEL)


class _Verification:
    """A walk through one flatbuffer along the schema, which has no recursive table: so it ends by itself."""

    def __init__(self, buffer: FlatBuffer) -> None:
        self._buffer = buffer
        # Tables that share their bytes would let a small file ask for the work of a large one.
        self._tables_left = len(buffer.data) // LEAST_TABLE_BYTES

    def table(self, position: int, layout: Layout) -> None:
        """The table at `position`, and all that hangs from it."""
        self._tables_left -= 1
        if self._tables_left < 0:
            raise self._buffer.broken("it names more tables than it has room for")
        table = self._buffer.table(position)
        for slot, (width, offset) in enumerate(zip(layout.widths, table.offsets, strict=False)):
            if offset:
                table.field(slot, int(width))
                _aligned(self._buffer, position + offset, int(width))
        for child in layout.offsets:
            at = table.field(child.slot, 4)
            if at is not None:
                self._follow(table, child, at)

    def _follow(self, table: Table, offset: Scalars | Text | Child | Children | Union, at: int) -> None:
        buffer = self._buffer
        target = _aligned(buffer, buffer.follow(at), 4)
        match offset:
            case Scalars(_, item_bytes):
                _aligned(buffer, buffer.vector_span(target, item_bytes).start, item_bytes)
            case Text():
                end = buffer.vector_span(target, 1).stop
                if buffer.scalar("B", end) != 0:
                    raise buffer.broken(f"the text at byte {target} has no end")
            case Child(_, layout):
                self.table(target, layout)
            case Children(_, layout):
                span = buffer.vector_span(target, 4)
                for (entry,) in struct.iter_unpack("<I", buffer.data[span.start : span.stop]):
                    self.table(_aligned(buffer, target + 4 + entry, 4), layout)
                    target += 4  # an entry counts from where it stands itself
            case Union(_, type_slot, layouts):
                member = layouts.get(table.scalar(type_slot, "B"))
                if member is not None:
                    self.table(target, member)


def _aligned(buffer: FlatBuffer, position: int, width: int) -> int:
    """The same position, where something of this width may stand."""
    if width and position % width:
        raise buffer.broken(f"what is {width} bytes wide stands at byte {position}")
    return position
