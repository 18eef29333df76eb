"""Which tensors of a graph are constants in truth: stored, computed from constants alone, or shapes that are known.

Partial evaluation folds the shape chains of a dynamic batch; cutting what remains is slicer.py's business.
"""

import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from models.modelfile import ModelFile, OperatorRecord, SubgraphRecord
from models.operators import RANDOM_KINDS, RESOURCE_KINDS
from models.shapes import OpView, Shape, Value, infer

MAX_VALUE_ITEMS = 64
"""Shapes, axes and paddings are far smaller; larger constants are not looked into."""
_FORMS = {"int32": "i", "int64": "q"}


@dataclass(frozen=True, slots=True)
class Constants:
    """What is known of a subgraph's tensors before it runs.

    `shapes` has one shape for each tensor, the batch bound to what the file says. `folded` holds the tensors that
    partial evaluation found; `derived_ops` are the ops that read constants alone and are not folded, and
    `folded_ops` those that no segment needs. `tensors` are all constant tensors: stored, derived and folded.
    """

    shapes: tuple[Shape, ...]
    folded: Mapping[int, Value]
    tensors: frozenset[int]
    derived_ops: frozenset[int]
    folded_ops: frozenset[int]


def find_constants(model: ModelFile, subgraph: SubgraphRecord) -> Constants:
    """Evaluate the subgraph as far as its constants and its bound batch allow."""
    made = {index for op in subgraph.operators for index in op.outputs}
    fed = set(subgraph.inputs)
    constant = {
        index
        for index, tensor in enumerate(subgraph.tensors)
        if index not in made and index not in fed and not tensor.is_variable
    }
    shapes: list[Shape] = [
        tuple(None if dimension == -1 else dimension for dimension in tensor.signature) for tensor in subgraph.tensors
    ]
    for index in fed:
        if shapes[index] and shapes[index][0] is None:
            shapes[index] = (subgraph.tensors[index].shape[0], *shapes[index][1:])
    stored = {index: value for index in constant if (value := stored_value(model, subgraph, index)) is not None}
    values, folded = dict(stored), dict[int, Value]()
    derived_ops, folded_ops = set[int](), set[int]()
    for number, op in enumerate(subgraph.operators):
        view = view_of(op, shapes, values)
        for output in op.outputs:
            shapes[output] = infer(view, shapes[output])
        value = _evaluate(view, subgraph, op)
        if value is not None:
            values[op.outputs[0]] = value
            if value.known() is not None:
                folded[op.outputs[0]] = value
                folded_ops.add(number)
                constant.add(op.outputs[0])
                continue
        if _is_derived(op, subgraph, constant):
            derived_ops.add(number)
            constant.update(op.outputs)
    return Constants(tuple(shapes), folded, frozenset(constant), frozenset(derived_ops), frozenset(folded_ops))


def pack_value(value: Value, type_name: str) -> bytes:
    """A wholly known value as the bytes of a tensor of that type."""
    known = value.known() or ()
    return struct.pack(f"<{len(known)}{_FORMS[type_name]}", *known)


def stored_value(model: ModelFile, subgraph: SubgraphRecord, index: int) -> Value | None:
    """The items of a small tensor of whole numbers that is stored in the file."""
    tensor = subgraph.tensors[index]
    form, count = _FORMS.get(tensor.type_name), prod(tensor.shape)
    if form is None or not 0 < count <= MAX_VALUE_ITEMS:
        return None
    data = model.buffer_data(tensor.buffer)
    if len(data) != count * struct.calcsize(form):
        return None
    return Value(tensor.shape, struct.unpack(f"<{count}{form}", data))


def view_of(op: OperatorRecord, shapes: Sequence[Shape], values: Mapping[int, Value]) -> OpView:
    """An op as the rules of shapes see it."""
    return OpView(
        kind=op.code.kind,
        shapes=tuple(None if index < 0 else shapes[index] for index in op.inputs),
        values=tuple(values.get(index) for index in op.inputs),
        options=op.options(),
    )


def _is_derived(op: OperatorRecord, subgraph: SubgraphRecord, constant: set[int]) -> bool:
    """Whether an op reads constants alone and gives the same result whenever and wherever it runs."""
    if not op.inputs or op.mutates or op.subgraphs or op.code.custom or op.code.kind in RANDOM_KINDS | RESOURCE_KINDS:
        return False
    if any(subgraph.tensors[index].is_variable for index in op.outputs):
        return False
    return all(index < 0 or index in constant for index in op.inputs)


def _evaluate(view: OpView, subgraph: SubgraphRecord, op: OperatorRecord) -> Value | None:
    """The items of the op's output as far as they are known; None where the op is not one of a shape chain."""
    rule = _EVALUATORS.get(view.kind)
    if rule is None or len(op.outputs) != 1 or None in view.shapes:
        return None
    tensor = subgraph.tensors[op.outputs[0]]
    if tensor.type_name not in _FORMS or tensor.is_variable or op.outputs[0] in subgraph.inputs:
        return None
    items = rule(view)
    if items is None or -1 in tensor.signature or len(items) != prod(tensor.shape) or len(items) > MAX_VALUE_ITEMS:
        return None
    bound = 2 ** (tensor.bits - 1)
    return Value(tensor.shape, tuple(None if item is None or not -bound <= item < bound else item for item in items))


Items = tuple[int | None, ...]


def _row(view: OpView, index: int) -> Items | None:
    """The items of an input that is a scalar or a row."""
    value = view.values[index] if index < len(view.values) else None
    return value.items if value is not None and len(value.shape) <= 1 else None


def _shape(view: OpView) -> Items | None:
    return view.shape(0)


def _same_items(view: OpView) -> Items | None:
    value = view.values[0] if view.values else None
    return None if value is None else value.items


def _strided_slice(view: OpView) -> Items | None:
    row, begin, end, stride = _row(view, 0), view.known(1), view.known(2), view.known(3)
    if row is None or begin is None or end is None or stride is None or not len(begin) == len(end) == len(stride) == 1:
        return None
    if view.option(2) or view.option(3) or view.option(5, "B") or stride[0] == 0:
        return None
    if view.option(4) & 1:
        return row[begin[0] : begin[0] + 1] if begin[0] != -1 else row[-1:]
    start = None if view.option(0) & 1 else begin[0]
    stop = None if view.option(1) & 1 else end[0]
    return row[start : stop : stride[0]]


def _slice(view: OpView) -> Items | None:
    row, begin, size = _row(view, 0), view.known(1), view.known(2)
    if row is None or begin is None or size is None or not len(begin) == len(size) == 1 or begin[0] < 0:
        return None
    return row[begin[0] :] if size[0] == -1 else row[begin[0] : begin[0] + size[0]]


def _joined(view: OpView) -> Items | None:
    """PACK and CONCATENATION along the only axis; an input whose value is unknown gives unknown items."""
    joined: list[int | None] = []
    for index, shape in enumerate(view.shapes):
        if shape is None or len(shape) > 1 or None in shape:
            return None
        row = _row(view, index)
        joined += row if row is not None else (None,) * prod(dimension for dimension in shape if dimension is not None)
        if len(joined) > MAX_VALUE_ITEMS:
            return None
    return tuple(joined)


def _packed(view: OpView) -> Items | None:
    return _joined(view) if all(shape == () for shape in view.shapes) else None


def _gather(view: OpView) -> Items | None:
    row, indices = _row(view, 0), view.known(1)
    if row is None or indices is None or view.option(1) or not all(0 <= index < len(row) for index in indices):
        return None
    return tuple(row[index] for index in indices)


def _product(view: OpView) -> Items | None:
    row, axes = _row(view, 0), view.known(1)
    if row is None or axes is None or not axes or set(axes) - {0, -1}:
        return None
    if 0 in row:
        return (0,)
    known = [item for item in row if item is not None]
    return (prod(known),) if len(known) == len(row) else (None,)


def _binary(combine: Callable[[int, int], int]) -> Callable[[OpView], Items | None]:
    def rule(view: OpView) -> Items | None:
        left, right = _row(view, 0), _row(view, 1)
        if not left or not right:
            return None
        size = max(len(left), len(right))
        if {len(left), len(right)} - {1, size} or view.option(0, "b"):  # option 0 is the fused activation
            return None
        pairs = zip(left * (size // len(left)), right * (size // len(right)), strict=True)
        return tuple(None if a is None or b is None else combine(a, b) for a, b in pairs)

    return rule


_EVALUATORS: dict[str, Callable[[OpView], Items | None]] = {
    "SHAPE": _shape,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "PACK": _packed,
    "CONCATENATION": _joined,
    "GATHER": _gather,
    "REDUCE_PROD": _product,
    "ADD": _binary(operator.add),
    "SUB": _binary(operator.sub),
    "MUL": _binary(operator.mul),
    "MAXIMUM": _binary(max),
    "MINIMUM": _binary(min),
    "CAST": _same_items,
    "RESHAPE": _same_items,
    "SQUEEZE": _same_items,
    "EXPAND_DIMS": _same_items,
}
