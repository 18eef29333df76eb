"""Doubts the stored operands and the options of single ops, where a kernel takes them at their word and crashes.

What an op is fed only when it runs is not known here.
"""

import struct
from math import prod

from models.modelfile import ModelFile, OperatorRecord, SubgraphRecord

MAX_RADIUS = 65_536
"""Of a LOCAL_RESPONSE_NORMALIZATION; published models have 5 at most."""
MAX_ELEMENTS = 2**29 - 1
"""Of a tensor whose shape an operand gives: 2 GB in numbers of four bytes."""
_LRN_RADIUS = 0
_REVERSED_AXIS = 0
_FORMS = {"int32": "i", "int64": "q"}
_SHAPES = {"SCATTER_ND": 2, "FILL": 0, "BROADCAST_TO": 1, "RESIZE_BILINEAR": 1, "RESIZE_NEAREST_NEIGHBOR": 1}
"""Which input of an op gives the shape of what it makes, or its extent."""
_PADDINGS = ("PAD", "PADV2", "MIRROR_PAD")


def operand_fault(model: ModelFile, subgraph: SubgraphRecord, op: OperatorRecord) -> str | None:
    """What is wrong with a stored operand or an option of an op, in words that go on from the op's; None if nothing."""
    kind = op.code.kind
    options = op.options()
    if kind == "LOCAL_RESPONSE_NORMALIZATION" and options is not None:
        radius = options.scalar(_LRN_RADIUS, "i")
        return None if 0 <= radius <= MAX_RADIUS else f"has the radius {radius}"
    if kind in _PADDINGS:
        return "pads by less than nothing" if min(_stored(model, subgraph, op, 1), default=0) < 0 else None
    if kind in _SHAPES:
        shape = _stored(model, subgraph, op, _SHAPES[kind])
        fits = min(shape, default=0) >= 0 and prod(shape) <= MAX_ELEMENTS
        return None if fits else f"makes a tensor of the shape {list(shape)}"
    if kind == "REVERSE_SEQUENCE" and options is not None:
        axis, shape = options.scalar(_REVERSED_AXIS, "i"), subgraph.tensors[op.inputs[0]].shape
        lengths = _stored(model, subgraph, op, 1)
        fits = 0 <= axis < len(shape) and all(0 <= length <= shape[axis] for length in lengths)
        return None if fits else f"reverses more than there is of its shape {list(shape)}"
    if kind == "SPARSE_TO_DENSE":
        places, shape = _stored(model, subgraph, op, 0), _stored(model, subgraph, op, 1)
        fits = not shape or all(0 <= place < shape[at % len(shape)] for at, place in enumerate(places))
        return None if fits else f"puts values outside its shape {list(shape)}"
    return None


def _stored(model: ModelFile, subgraph: SubgraphRecord, op: OperatorRecord, place: int) -> tuple[int, ...]:
    """The items of an operand of whole numbers that is stored; none where it is not, or is of another type."""
    tensor = subgraph.tensors[op.inputs[place]]
    form = _FORMS.get(tensor.type_name)
    data = model.buffer_data(tensor.buffer)
    if form is None or len(data) % struct.calcsize(form):
        return ()
    model.flatbuffer.spend(8 * len(data))
    return struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data)
