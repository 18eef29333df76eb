"""Verifies a FlexBuffer, in which custom ops keep their options: runtimes follow its offsets without a look.

The format is that of https://flatbuffers.dev/internals/#flexbuffers; what the options mean is the op's business.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_VALUES = 10_000

_INLINE = frozenset((0, 1, 2, 3, 26))  # null, int, uint, float, bool
_KEY, _STRING, _INDIRECT, _MAP, _VECTOR, _BLOB = 4, 5, frozenset((6, 7, 8)), 9, 10, 25
_SCALAR_VECTORS = frozenset((11, 12, 13, 36))
_KEY_VECTOR = 14
_FIXED_VECTORS = range(16, 25)  # three types each of two, three and four elements


class _BrokenError(Exception):
    """Something leads out of the buffer."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A value: where it stands, in how many bytes, and its type with the width of what it points to."""

    position: int
    width: int
    packed: int
    depth: int


def is_whole_flexbuffer(data: bytes | memoryview) -> bool:
    """Whether every value that can be reached from the root lies within the buffer, at a bounded depth."""
    if not 3 <= len(data) <= MAX_BYTES or data[-1] not in (1, 2, 4, 8):
        return False
    data = bytes(data)
    waiting = [_Value(len(data) - 2 - data[-1], data[-1], data[-2], 0)]
    visited = 0
    try:
        while waiting:
            visited += 1
            if visited + len(waiting) > MAX_VALUES:
                return False
            waiting.extend(_below(data, waiting.pop()))
    except _BrokenError:
        return False
    return True


def _below(data: bytes, value: _Value) -> Iterator[_Value]:
    kind, width = value.packed >> 2, 1 << (value.packed & 3)
    if value.depth > MAX_DEPTH:
        raise _BrokenError
    if kind in _INLINE:
        _within(data, value.position, value.width)
        return
    target = value.position - _number(data, value.position, value.width)
    if kind in (_MAP, _VECTOR):
        count = _number(data, target - width, width)
        _within(data, target, count * (width + 1))
        if kind == _MAP:
            _check_keys(data, target - 3 * width, width, count)
        for index in range(min(count, MAX_VALUES + 1)):
            yield _Value(target + index * width, width, data[target + count * width + index], value.depth + 1)
    elif kind == _KEY:
        _check_key(data, target)
    elif kind in (_STRING, _BLOB):
        _within(data, target, _number(data, target - width, width) + (kind == _STRING))
    elif kind in _SCALAR_VECTORS or kind == _KEY_VECTOR:
        _check_typed(data, target, width, keys=kind == _KEY_VECTOR)
    elif kind in _INDIRECT or kind in _FIXED_VECTORS:
        _within(data, target, width * (1 if kind in _INDIRECT else (kind - _FIXED_VECTORS.start) // 3 + 2))
    else:
        raise _BrokenError


def _check_keys(data: bytes, position: int, width: int, count: int) -> None:
    """The keys of a map of `count` values: before them stand the offset to the keys and the width of these."""
    keys, keys_width = position - _number(data, position, width), _number(data, position + width, width)
    if keys_width not in (1, 2, 4, 8) or _number(data, keys - keys_width, keys_width) != count:
        raise _BrokenError
    _check_typed(data, keys, keys_width, keys=True)


def _check_typed(data: bytes, target: int, width: int, *, keys: bool) -> None:
    count = _number(data, target - width, width)
    _within(data, target, count * width)
    if keys:
        if count > MAX_VALUES:
            raise _BrokenError
        for position in range(target, target + count * width, width):
            _check_key(data, position - _number(data, position, width))


def _check_key(data: bytes, target: int) -> None:
    _within(data, target, 1)
    if data.find(0, target) < 0:
        raise _BrokenError


def _number(data: bytes, position: int, width: int) -> int:
    _within(data, position, width)
    return int.from_bytes(data[position : position + width], "little")


def _within(data: bytes, position: int, size: int) -> None:
    if position < 0 or position + size > len(data):
        raise _BrokenError
