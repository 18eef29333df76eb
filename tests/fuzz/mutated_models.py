"""Turns a few bytes into a .tflite that is wrong in a few places: which valid model, which of its fields, what value.

So that fuzzing spends its inputs on fields that mean something, and a finding is a few bytes long.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.flatbuffer import FlatBuffer
from models.schema import MODEL, Child, Children, Layout, Scalars, Text, Union

MAX_MUTATIONS = 6
MUTATION_BYTES = 4
MAX_ITEMS = 64
"""Of one vector: the places of a weight are all alike."""
VALUES = (0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 127, 128, 255, 256, 1000, 32_767, 65_535, 100_000, 2**24, 2**30)
LIMITS = (-1, -2, -3, -4, -128, -1000, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


@dataclass(frozen=True, slots=True)
class Place:
    """A number in a file: its byte position and its width; an offset counts from where it stands."""

    position: int
    width: int
    is_offset: bool


def places(data: bytes) -> list[Place]:
    """All numbers of a valid .tflite that a reader goes by, and the first of each vector of data."""
    buffer = FlatBuffer(memoryview(data), "seed")
    found = [Place(0, 4, is_offset=True)]
    found.extend(_in_table(buffer, buffer.follow(0), MODEL))
    return list(dict.fromkeys(found))


def _in_table(buffer: FlatBuffer, position: int, layout: Layout) -> Iterator[Place]:
    table = buffer.table(position)
    vtable = position - buffer.scalar("i", position)
    yield Place(position, 4, is_offset=True)
    yield from (Place(vtable + 2 * slot, 2, is_offset=False) for slot in range(2 + len(table.offsets)))
    offsets = {offset.slot: offset for offset in layout.offsets}
    for slot, width in enumerate(layout.widths):
        at = table.field(slot, max(1, int(width)))
        if at is None:
            continue
        yield Place(at, max(1, int(width)), is_offset=slot in offsets)
        if slot not in offsets:
            continue
        target = buffer.follow(at)
        match offsets[slot]:
            case Scalars(_, item_bytes):
                # Of raw bytes, most are int32 shapes and axes.
                yield from _in_vector(buffer, target, max(item_bytes, 4) if layout.name == "Buffer" else item_bytes)
            case Text():
                yield Place(target, 4, is_offset=False)
            case Child(_, inner):
                yield from _in_table(buffer, target, inner)
            case Children(_, inner):
                yield Place(target, 4, is_offset=False)
                span = buffer.vector_span(target, 4)
                for entry in range(span.start, span.stop, 4):
                    yield Place(entry, 4, is_offset=True)
                    yield from _in_table(buffer, buffer.follow(entry), inner)
            case Union(_, type_slot, layouts):
                yield from _in_table(buffer, target, layouts[table.scalar(type_slot, "B")])


def _in_vector(buffer: FlatBuffer, target: int, item_bytes: int) -> Iterator[Place]:
    yield Place(target, 4, is_offset=False)
    span = buffer.vector_span(target, 1)
    stop = min(span.start + MAX_ITEMS * item_bytes, span.stop)
    for item in range(span.start, stop - item_bytes + 1, item_bytes):
        yield Place(item, item_bytes, is_offset=False)


@cache
def seed(path: Path) -> tuple[bytes, list[Place], list[int]]:
    """A valid model, its places, and where its offsets lead."""
    data = path.read_bytes()
    found = places(data)
    targets = [
        place.position + struct.unpack_from("<I", data, place.position)[0] for place in found[1:] if place.is_offset
    ]
    return data, found, sorted({target for target in targets if target < len(data)})


def mutated(seeds: list[Path], program: bytes) -> bytes:
    """One of the models in `seeds`, changed as `program` says; the same bytes give the same file."""
    if not program:
        return b""
    original, found, targets = seed(seeds[program[0] % len(seeds)])
    data = bytearray(original)
    for start in range(1, min(len(program), 1 + MAX_MUTATIONS * MUTATION_BYTES) - MUTATION_BYTES + 1, MUTATION_BYTES):
        where, how, value = struct.unpack_from("<HBB", program, start)
        _change(data, found[where % len(found)], how, value, targets)
    return bytes(data)


def _change(data: bytearray, place: Place, how: int, value: int, targets: list[int]) -> None:
    old = int.from_bytes(data[place.position : place.position + place.width], "little")
    match how % 4:
        case 0:
            new = VALUES[value % len(VALUES)]
        case 1:
            new = LIMITS[value % len(LIMITS)]
        case 2 if place.is_offset and place.width == 4:
            # Another table or vector of the same file, which may be of another kind.
            new = targets[value * len(targets) // 256] - place.position
        case 2:
            new = old + (value if value < 128 else value - 256)
        case _:
            new = value
    data[place.position : place.position + place.width] = (new % 2 ** (8 * place.width)).to_bytes(place.width, "little")
