"""Writes a flatbuffer forwards: parents first, children after, offsets patched; blobs go to the end of the file.

What is written is a tree of nodes.py; what its tables mean is the business of who builds it.
"""

import os
import struct
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from models.flatbuffer import Table
from models.nodes import Blob, BlobSpan, Copy, FileSource, Fresh, Node, Number, String, Tables, Vector, Within
from models.schema import Child, Children, Scalars, Text, Union

MAX_FLATBUFFER_BYTES = 2**31 - 1  # FLATBUFFERS_MAX_BUFFER_SIZE, include/flatbuffers/base.h
BLOB_ALIGNMENT = 64  # a cache line; free in time here, and what XNNPACK reads fastest
_WIDE_ENOUGH = 8  # no scalar of the schema is wider, so positions equal modulo 8 keep every alignment


class _Skeleton:
    """The flatbuffer without its blobs: bytes so far, and who still waits for a position."""

    def __init__(self, identifier: bytes) -> None:
        self.out = bytearray(4) + identifier
        self.pending: deque[tuple[int, Node]] = deque()
        self.vtables: dict[bytes, int] = {}
        self.blobs: dict[int, Blob] = {}
        self.blob_offsets: list[tuple[int, Within]] = []
        self.blob_spans: list[tuple[int, BlobSpan]] = []

    def write(self, root: Fresh) -> None:
        self.pending.append((0, root))
        while self.pending:
            waiting, node = self.pending.popleft()
            if isinstance(node, Blob | Within):
                place = Within(node, -4) if isinstance(node, Blob) else node  # its length stands before a blob
                self.blobs.setdefault(id(place.blob), place.blob)
                self.blob_offsets.append((waiting, place))
                continue
            struct.pack_into("<I", self.out, waiting, self._place(node) - waiting)

    def _place(self, node: Fresh | Copy | Tables | Vector | String) -> int:
        match node:
            case Fresh():
                return self._fresh(node)
            case Copy():
                return self._copy(node)
            case Tables():
                return self._tables(node)
            case Vector():
                self._align(node.item_bytes, shift=4)
                position = len(self.out)
                self.out += struct.pack("<I", len(node.data) // node.item_bytes)
                self.out += node.data
            case String():
                self._align(4)
                position = len(self.out)
                self.out += struct.pack("<I", len(node.data))
                self.out += node.data
                self.out.append(0)
        return position

    def _align(self, alignment: int, shift: int = 0) -> None:
        """Pad so that the byte `shift` ahead is aligned (and the position itself to 4)."""
        self.out += bytes(-(len(self.out) + shift) % max(alignment, 4))

    def _vtable(self, inline_size: int, offsets: Sequence[int]) -> int:
        packed = struct.pack(f"<{len(offsets) + 2}H", 2 * len(offsets) + 4, inline_size, *offsets)
        if packed not in self.vtables:
            self._align(2)
            self.vtables[packed] = len(self.out)
            self.out += packed
        return self.vtables[packed]

    def _fresh(self, node: Fresh) -> int:
        sizes = {slot: _inline_size(value) for slot, value in node.fields.items()}
        offsets = [0] * (max(sizes, default=-1) + 1)
        inline_size = 4
        for slot in sorted(sizes, key=lambda slot: -sizes[slot]):
            inline_size += -inline_size % sizes[slot]
            offsets[slot] = inline_size
            inline_size += sizes[slot]
        vtable = self._vtable(inline_size, offsets)
        self._align(_WIDE_ENOUGH)
        position = len(self.out)
        self.out += struct.pack("<i", position - vtable) + bytes(inline_size - 4)
        for slot, value in node.fields.items():
            self._fill(position + offsets[slot], value)
        return position

    def _fill(self, position: int, value: "Number | BlobSpan | Node") -> None:
        match value:
            case Number(form, number):
                struct.pack_into("<" + form, self.out, position, number)
            case BlobSpan():
                self.blobs.setdefault(id(value.blob), value.blob)
                self.blob_spans.append((position, value))
            case _:
                self.pending.append((position, value))

    def _copy(self, node: Copy) -> int:
        source = node.table
        if any(offset and slot >= len(node.layout.widths) for slot, offset in enumerate(source.offsets)):
            raise source.buffer.broken(
                f"the table at byte {source.position} has fields that {node.layout.name} does not have in the schema "
                "that this version of Splitrail knows"
            )
        source.buffer.spend(source.inline_size)
        vtable = self._vtable(source.inline_size, source.offsets)
        self.out += bytes((source.position - len(self.out)) % _WIDE_ENOUGH)
        position = len(self.out)
        self.out += source.buffer.data[source.position : source.position + source.inline_size]
        struct.pack_into("<i", self.out, position, position - vtable)
        for offset_field in node.layout.offsets:
            at = source.field(offset_field.slot, 4)
            if at is not None:
                child = node.replaced.get(offset_field.slot) or _child(source, offset_field, at)
                self.pending.append((position + at - source.position, child))
        return position

    def _tables(self, node: Tables) -> int:
        self._align(4)
        position = len(self.out)
        self.out += struct.pack("<I", len(node.items)) + bytes(4 * len(node.items))
        self.pending.extend((position + 4 + 4 * index, item) for index, item in enumerate(node.items))
        return position


def _inline_size(value: Number | BlobSpan | Node) -> int:
    match value:
        case Number(form, _):
            return struct.calcsize(form)
        case BlobSpan():
            return 8
        case _:
            return 4


def _child(source: Table, kind: Scalars | Text | Child | Children | Union, at: int) -> Node:
    """What hangs from one offset field of a table that is copied."""
    buffer = source.buffer
    match kind:
        case Scalars(slot, item_bytes):
            raw = buffer.vector(buffer.follow(at), item_bytes)
            buffer.spend(len(raw))
            return Vector(raw, item_bytes)
        case Text():
            raw = buffer.vector(buffer.follow(at), 1)
            buffer.spend(len(raw))
            return String(raw)
        case Child(slot, layout):
            return Copy(buffer.table(buffer.follow(at)), layout)
        case Children(slot, layout):
            return Tables([Copy(table, layout) for table in source.tables(slot)])
        case Union(slot, type_slot, layouts):
            chosen = source.scalar(type_slot, "B")
            if chosen not in layouts:
                raise buffer.broken(f"the union at byte {at} is of the unknown type {chosen}")
            return Copy(buffer.table(buffer.follow(at)), layouts[chosen])


def write_flatbuffer(root: Fresh, identifier: bytes, out: Path) -> int:
    """Write the tree to `out`, whole or not at all, and return its size in bytes.

    Blobs that hang from offset fields must lie within 2 GB: `blob_bytes_fit` says whether they will.
    Raises OSError where the file cannot be written.
    """
    skeleton = _Skeleton(identifier)
    skeleton.write(root)
    places: dict[int, int] = {}
    end = len(skeleton.out)
    for key, blob in skeleton.blobs.items():
        places[key] = end + 4 + -(end + 4) % BLOB_ALIGNMENT
        end = places[key] + len(blob.data)
    for waiting, within in skeleton.blob_offsets:
        struct.pack_into("<I", skeleton.out, waiting, places[id(within.blob)] + within.position - waiting)
    for waiting, span in skeleton.blob_spans:
        value = places[id(span.blob)] + span.start if span.part == "offset" else len(span.blob.data)
        struct.pack_into("<Q", skeleton.out, waiting, value)
    _replace(out, skeleton, places)
    return end


def _replace(out: Path, skeleton: _Skeleton, places: Mapping[int, int]) -> None:
    """Write beside `out` and rename, so that a full disk or a kill leaves no half file.

    Several threads may write the same file at once: the last one's stays.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with partial.open("wb") as file:
            _write(file, skeleton, places)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _write(file: BinaryIO, skeleton: _Skeleton, places: Mapping[int, int]) -> None:
    file.write(skeleton.out)
    written = len(skeleton.out)
    for key, blob in skeleton.blobs.items():
        # An empty gap of NULs, then the vector's length; a blob that only BlobSpans point to may have any length.
        file.write(bytes(places[key] - 4 - written) + struct.pack("<I", min(len(blob.data), 2**32 - 1)))
        copied = 0 if blob.source is None else _copy_in_kernel(file, blob.source, len(blob.data))
        file.write(blob.data[copied:])
        written = places[key] + len(blob.data)


def _copy_in_kernel(file: BinaryIO, source: FileSource, size: int) -> int:
    """Copy from file to file where the kernel can; return how many bytes it copied, from the first on."""
    file.flush()
    copied = 0
    while copied < size:
        try:
            count = os.copy_file_range(source.descriptor, file.fileno(), size - copied, source.position + copied)
        except OSError:  # across some file systems, or on old kernels; a full disk shows again when writing
            break
        if count == 0:
            break
        copied += count
    return copied


def blob_bytes_fit(blobs: Sequence[Blob]) -> bool:
    """Whether these blobs, with 64 MB for the rest, stay within a flatbuffer's 2 GB."""
    return sum(len(blob.data) + BLOB_ALIGNMENT + 4 for blob in blobs) + 64_000_000 <= MAX_FLATBUFFER_BYTES
