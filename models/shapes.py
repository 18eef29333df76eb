"""Shape inference over one op, as far as it is needed to bind a dynamic batch: pure functions over known dimensions.

A dimension is an int, or None where it is known only when the model runs. What no rule covers stays unknown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from models.flatbuffer import Table

Shape = tuple[int | None, ...]
MAX_DIMENSION = 2**31 - 1  # the file holds dimensions as int32


@dataclass(frozen=True, slots=True)
class Value:
    """A small integer tensor whose items are known one by one; None marks an unknown item."""

    shape: tuple[int, ...]
    items: tuple[int | None, ...]

    def known(self) -> tuple[int, ...] | None:
        """All items, or None if one of them is unknown."""
        known = tuple(item for item in self.items if item is not None)
        return known if len(known) == len(self.items) else None


@dataclass(frozen=True, slots=True)
class OpView:
    """What the rules may see of an op: the shapes and values of its inputs (None where absent), and its options."""

    kind: str
    shapes: tuple[Shape | None, ...]
    values: tuple[Value | None, ...]
    options: Table | None

    def shape(self, index: int) -> Shape | None:
        """The shape of one input, or None where the op has no such input."""
        return self.shapes[index] if index < len(self.shapes) else None

    def known(self, index: int) -> tuple[int, ...] | None:
        """The wholly known items of one input."""
        value = self.values[index] if index < len(self.values) else None
        return None if value is None else value.known()

    def option(self, slot: int, form: str = "i", default: int = 0) -> int:
        """An integer option."""
        return default if self.options is None else self.options.scalar(slot, form, default)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The shape that these shapes broadcast to; a dimension is unknown if it hangs on an unknown one."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result: list[int | None] = []
    for dimensions in zip(*padded, strict=True):
        # An unknown dimension beside a known one above 1 must equal it or be 1.
        wide = [dimension for dimension in dimensions if dimension is not None and dimension != 1]
        result.append(wide[0] if wide else (None if None in dimensions else 1))
    return tuple(result)


def _elementwise(op: OpView) -> Shape | None:
    return broadcast([shape for shape in op.shapes if shape is not None])


def _like_first(op: OpView) -> Shape | None:
    return op.shape(0)


def _batch_of_first(op: OpView) -> Shape | None:
    shape = op.shape(0)
    return None if not shape else (shape[0], *(None,) * (len(shape) - 1))


def _concatenation(op: OpView) -> Shape | None:
    first = op.shape(0)
    if not first or None in op.shapes:
        return None
    axis = op.option(0) % len(first)
    sizes = [shape[axis] if shape is not None and len(shape) == len(first) else None for shape in op.shapes]
    along = None if None in sizes else sum(size for size in sizes if size is not None)
    return (*first[:axis], along, *first[axis + 1 :])


def _fully_connected(op: OpView) -> Shape | None:
    data, weights = op.shape(0), op.shape(1)
    if data is None or weights is None or len(weights) != 2:
        return None
    if op.option(2, "B"):
        return (*data[:-1], weights[0])
    size = elements(data)
    return None if size is None or not weights[1] else (size // weights[1], weights[0])


def reshaped(data: Shape, target: Sequence[int]) -> Shape:
    """The shape of a RESHAPE: at most one -1 in `target` takes the remaining elements."""
    if list(target).count(-1) != 1:
        return tuple(target)
    size, rest = elements(data), prod(dimension for dimension in target if dimension != -1)
    filled = None if size is None or rest == 0 else size // rest
    return tuple(filled if dimension == -1 else dimension for dimension in target)


def _reshape(op: OpView) -> Shape | None:
    data, value = op.shape(0), op.values[1] if len(op.values) > 1 else None
    target = op.known(1)
    if len(op.shapes) < 2 and op.options is not None:
        target = op.options.integers(0)
    if data is None:
        return None
    if target is not None:
        return reshaped(data, target)
    if value is not None and -1 not in value.items:
        return value.items
    return None


def _transpose(op: OpView) -> Shape | None:
    data, order = op.shape(0), op.known(1)
    if data is None or order is None or sorted(order) != list(range(len(data))):
        return None
    return tuple(data[axis] for axis in order)


def _reduction(op: OpView) -> Shape | None:
    data, axes = op.shape(0), op.known(1)
    if not data or axes is None:
        return None
    gone = {axis % len(data) for axis in axes}
    if op.option(0, "B"):
        return tuple(1 if axis in gone else dimension for axis, dimension in enumerate(data))
    return tuple(dimension for axis, dimension in enumerate(data) if axis not in gone)


def _batch_matmul(op: OpView) -> Shape | None:
    left, right = op.shape(0), op.shape(1)
    if left is None or right is None or min(len(left), len(right)) < 2:
        return None
    rows = left[-1] if op.option(0, "B") else left[-2]
    columns = right[-2] if op.option(1, "B") else right[-1]
    return (*broadcast([left[:-2], right[:-2]]), rows, columns)


def _gather(op: OpView) -> Shape | None:
    data, indices = op.shape(0), op.shape(1)
    if not data or indices is None or op.option(1):
        return None
    axis = op.option(0) % len(data)
    return (*data[:axis], *indices, *data[axis + 1 :])


def _strided_slice(op: OpView) -> Shape | None:
    data, strides = op.shape(0), op.known(3)
    if data is None or strides is None or op.option(2) or op.option(3) or len(strides) > len(data):
        return None
    whole = op.option(0) & op.option(1)
    kept = [
        dimension if axis >= len(strides) or (whole >> axis & 1 and strides[axis] == 1) else None
        for axis, dimension in enumerate(data)
    ]
    return tuple(dimension for axis, dimension in enumerate(kept) if not op.option(4) >> axis & 1)


def _slice(op: OpView) -> Shape | None:
    data, begin, size = op.shape(0), op.known(1), op.known(2)
    if data is None or begin is None or size is None or not len(data) == len(begin) == len(size):
        return None
    return tuple(
        taken if taken != -1 else (None if dimension is None else dimension - first)
        for dimension, first, taken in zip(data, begin, size, strict=True)
    )


def _squeeze(op: OpView) -> Shape | None:
    data = op.shape(0)
    axes = op.options.integers(0) if op.options is not None else None
    if not data or not axes:
        return None
    gone = {axis % len(data) for axis in axes}
    return tuple(dimension for axis, dimension in enumerate(data) if axis not in gone)


def _pad(op: OpView) -> Shape | None:
    data, paddings = op.shape(0), op.known(1)
    if data is None or paddings is None or len(paddings) != 2 * len(data):
        return None
    return tuple(
        None if dimension is None else dimension + paddings[2 * axis] + paddings[2 * axis + 1]
        for axis, dimension in enumerate(data)
    )


def _pack(op: OpView) -> Shape | None:
    data = op.shape(0)
    if data is None:
        return None
    axis = op.option(1) % (len(data) + 1)
    return (*data[:axis], len(op.shapes), *data[axis:])


def _unpack(op: OpView) -> Shape | None:
    data = op.shape(0)
    if not data:
        return None
    axis = op.option(1) % len(data)
    return (*data[:axis], *data[axis + 1 :])


def _split(op: OpView) -> Shape | None:
    axis, data = op.known(0), op.shape(1)
    if not data or not axis:
        return None
    return tuple(None if index == axis[0] % len(data) else dimension for index, dimension in enumerate(data))


def _split_v(op: OpView) -> Shape | None:
    data, axis = op.shape(0), op.known(2)
    if not data or not axis:
        return None
    return tuple(None if index == axis[0] % len(data) else dimension for index, dimension in enumerate(data))


def _expand_dims(op: OpView) -> Shape | None:
    data, axis = op.shape(0), op.known(1)
    if data is None or not axis:
        return None
    at = axis[0] % (len(data) + 1)
    return (*data[:at], 1, *data[at:])


def _first_value(op: OpView) -> Shape | None:
    return op.values[0].items if op.values and op.values[0] is not None else None


def _second_value(op: OpView) -> Shape | None:
    return op.values[1].items if len(op.values) > 1 and op.values[1] is not None else None


_BY_RULE: dict[Callable[[OpView], Shape | None], str] = {
    _elementwise: """
        ADD SUB MUL DIV FLOOR_DIV FLOOR_MOD POW MAXIMUM MINIMUM SQUARED_DIFFERENCE ADD_N LESS LESS_EQUAL GREATER
        GREATER_EQUAL EQUAL NOT_EQUAL LOGICAL_AND LOGICAL_OR SELECT_V2 PRELU ATAN2
        """,
    _like_first: """
        RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 ELU GELU LEAKY_RELU HARD_SWISH LOGISTIC TANH SOFTMAX LOG_SOFTMAX EXP LOG
        SQRT RSQRT SQUARE NEG ABS SIN COS FLOOR CEIL ROUND SIGN LOGICAL_NOT CAST QUANTIZE DEQUANTIZE ZEROS_LIKE
        L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION CUMSUM REVERSE_V2 FAKE_QUANT
        """,
    _batch_of_first: """
        CONV_2D DEPTHWISE_CONV_2D CONV_3D AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D RESIZE_BILINEAR
        RESIZE_NEAREST_NEIGHBOR SPACE_TO_DEPTH DEPTH_TO_SPACE UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN
        """,
    _reduction: "MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD REDUCE_ANY REDUCE_ALL",
    _slice: "SLICE",
    _squeeze: "SQUEEZE",
    _pad: "PAD PADV2 MIRROR_PAD",
    _concatenation: "CONCATENATION",
    _fully_connected: "FULLY_CONNECTED",
    _reshape: "RESHAPE",
    _transpose: "TRANSPOSE",
    _batch_matmul: "BATCH_MATMUL",
    _gather: "GATHER",
    _strided_slice: "STRIDED_SLICE",
    _pack: "PACK",
    _unpack: "UNPACK",
    _split: "SPLIT",
    _split_v: "SPLIT_V",
    _expand_dims: "EXPAND_DIMS",
    _first_value: "FILL TRANSPOSE_CONV",
    _second_value: "BROADCAST_TO",
}
_RULES = {kind: rule for rule, kinds in _BY_RULE.items() for kind in kinds.split()}


def elements(shape: Shape) -> int | None:
    """The number of elements, or None where a dimension is unknown."""
    known = [dimension for dimension in shape if dimension is not None]
    return prod(known) if len(known) == len(shape) else None


def infer(op: OpView, signature: Shape) -> Shape:
    """The shape of an op's output: what the file's signature leaves open, filled in where a rule knows it."""
    if None not in signature or op.kind not in _RULES:
        return signature
    found = _RULES[op.kind](op)
    if found is None or len(found) != len(signature):
        return signature
    if any(dimension is not None and not 0 <= dimension <= MAX_DIMENSION for dimension in found):
        return signature
    return tuple(given if given is not None else inferred for given, inferred in zip(signature, found, strict=True))
