"""How many elements a sparse tensor stores, once every index of its levels has been checked: runtimes check none.

The format is that of tensorflow/lite/schema/schema.fbs, SparsityParameters: a tree with a level for each dimension.
"""

from itertools import pairwise

from models.flatbuffer import Table
from models.schema import Sparsity

_DENSE, _SPARSE = 0, 1
_VALUES = 0
_FORMS = {1: "i", 2: "H", 3: "B"}
"""The elements of the union SparseIndexVector by its type."""


def stored_elements(sparsity: Table, shape: tuple[int, ...]) -> int:
    """The elements that a sparse tensor of `shape` keeps. Raises ModelFormatError where its levels do not fit it."""
    order = sparsity.integers(Sparsity.TRAVERSAL_ORDER) or ()
    blocked = sparsity.integers(Sparsity.BLOCK_MAP) or ()
    levels = tuple(sparsity.tables(Sparsity.LEVELS))
    dimensions = len(shape) + len(blocked)
    if sorted(order) != list(range(dimensions)) or len(levels) != dimensions:
        raise sparsity.buffer.broken("a sparse tensor does not have one level for each dimension")
    if len(set(blocked)) != len(blocked) or not set(blocked) <= set(range(len(shape))):
        raise sparsity.buffer.broken("a sparse tensor has blocks along dimensions that it does not have")
    sizes = _sizes(sparsity, shape, blocked, dict(zip(order, levels, strict=True)))
    count = 1
    for axis, level in zip(order, levels, strict=True):
        count = _below(level, count, sizes[axis])
    return count


def _sizes(sparsity: Table, shape: tuple[int, ...], blocked: tuple[int, ...], levels: dict[int, Table]) -> list[int]:
    """The size of each dimension: those of the tensor counted in blocks, then those of a block."""
    sizes = list(shape)
    for place, axis in enumerate(blocked, start=len(shape)):
        block = levels[place].scalar(Sparsity.DENSE_SIZE, "i")
        if block < 1 or shape[axis] % block:
            raise sparsity.buffer.broken(f"a sparse tensor of shape {list(shape)} has blocks of {block}")
        sizes[axis] //= block
        sizes.append(block)
    return sizes


def _below(level: Table, count: int, size: int) -> int:
    """How many nodes lie below the `count` nodes above this level of a dimension of `size`."""
    form = level.scalar(Sparsity.FORMAT, "b")
    if form == _DENSE:
        if level.scalar(Sparsity.DENSE_SIZE, "i") != size:
            raise level.buffer.broken("a dense level of a sparse tensor is of another size than its dimension")
        return count * size
    segments = _indices(level, Sparsity.SEGMENTS_TYPE, Sparsity.SEGMENTS)
    indices = _indices(level, Sparsity.INDICES_TYPE, Sparsity.INDICES)
    fits = (
        form == _SPARSE
        and len(segments) == count + 1
        and segments[0] == 0
        and segments[-1] == len(indices)
        and all(first <= second for first, second in pairwise(segments))
        and min(indices, default=0) >= 0
        and max(indices, default=0) < size
    )
    if not fits:
        raise level.buffer.broken("a sparse level of a tensor has indices that do not fit its dimension")
    return len(indices)


def _indices(level: Table, type_slot: int, slot: int) -> tuple[int, ...]:
    form, vector = _FORMS.get(level.scalar(type_slot, "B")), level.table(slot)
    if form is None or vector is None:
        return ()
    return vector.integers(_VALUES, form) or ()
