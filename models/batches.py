"""Which files can compute several requests in one run, one after the other in the first dimension of every tensor.

Shapes that a RESHAPE names are opened for it when a segment is cut; running such a file is models.batched's business.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from models.constants import Constants, find_constants, stored_value, view_of
from models.modelfile import ModelFile
from models.shapes import Shape, infer

_KINDS = """
    CONV_2D DEPTHWISE_CONV_2D AVERAGE_POOL_2D MAX_POOL_2D FULLY_CONNECTED RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    SPACE_TO_DEPTH DEPTH_TO_SPACE ADD SUB MUL DIV MAXIMUM MINIMUM SQUARED_DIFFERENCE PRELU RELU RELU6 RELU_N1_TO_1
    RELU_0_TO_1 ELU GELU LEAKY_RELU HARD_SWISH LOGISTIC TANH SOFTMAX LOG_SOFTMAX EXP LOG SQRT RSQRT SQUARE NEG ABS CAST
    QUANTIZE DEQUANTIZE L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION MEAN SUM REDUCE_MAX REDUCE_MIN PAD PADV2
    MIRROR_PAD CONCATENATION RESHAPE TRANSPOSE SQUEEZE
    """
_ROW_BY_ROW = frozenset(_KINDS.split())
"""Ops that compute each row of the first dimension from its own row alone, where their shapes keep that dimension."""
_TRIAL = 7
"""A batch that shapes are inferred for: a size that they hardly have otherwise."""


@dataclass(frozen=True, slots=True)
class OpenedShapes:
    """The bytes of shapes whose first dimension, of 1, became -1: stored ones by buffer, folded ones by tensor."""

    stored: Mapping[int, bytes]
    folded: Mapping[int, bytes]


def opened_shapes(model: ModelFile, constants: Constants) -> OpenedShapes:
    """The shapes that a model's RESHAPEs of one row name and that leave the number of rows open as well."""
    main = model.main
    candidates: dict[int, bytes] = {}
    closed: set[int] = set()
    for op in main.operators:
        for place, index in enumerate(op.inputs):
            if op.code.kind != "RESHAPE" or place != 1:
                closed.add(index)
                continue
            value = constants.folded.get(index) or stored_value(model, main, index)
            target = value.known() if value is not None and main.tensors[index].type_name == "int32" else None
            ends = (constants.shapes[op.inputs[0]], constants.shapes[op.outputs[0]])
            if not target or target[0] != 1 or -1 in target or any(not end or end[0] != 1 for end in ends):
                closed.add(index)
                continue
            candidates[index] = struct.pack(f"<{len(target)}i", -1, *target[1:])
    closed |= set(main.outputs)
    opened = {index: data for index, data in candidates.items() if index not in closed}
    folded = {index: data for index, data in opened.items() if index in constants.folded}
    # Tensors may share a buffer: all of them must be opened, and to the same shape.
    stored = {main.tensors[index].buffer: data for index, data in opened.items() if index not in folded}
    for index, tensor in enumerate(main.tensors):
        if tensor.buffer in stored and opened.get(index) != stored[tensor.buffer]:
            del stored[tensor.buffer]
    for other in range(1, model.subgraph_count):
        for tensor in model.subgraph(other).tensors:
            stored.pop(tensor.buffer, None)
    return OpenedShapes(stored, folded)


def computes_row_by_row(model: ModelFile) -> bool:
    """Whether a file of one row gives, for several rows in its inputs, the rows of as many runs."""
    main = model.main
    if model.subgraph_count > 1 or not main.inputs or not main.outputs:
        return False
    constants = find_constants(model, main)
    shapes: list[Shape] = [tensor.shape for tensor in main.tensors]
    values = {
        index: value
        for index in constants.tensors
        if (value := constants.folded.get(index) or stored_value(model, main, index)) is not None
    }
    for index in main.inputs:
        if not shapes[index] or shapes[index][0] != 1:
            return False
        shapes[index] = (_TRIAL, *shapes[index][1:])
    for op in main.operators:
        if constants.tensors.issuperset(op.outputs):
            continue
        if op.code.kind not in _ROW_BY_ROW or op.code.custom or len(op.outputs) != 1:
            return False
        [output] = op.outputs
        one = main.tensors[output].shape
        found = infer(view_of(op, shapes, values), (None,) * len(one))
        if not one or one[0] != 1 or not found or found[0] != _TRIAL:
            return False
        if any(size not in (None, given) for size, given in zip(found[1:], one[1:], strict=True)):
            return False
        shapes[output] = (_TRIAL, *one[1:])
    return all(shapes[index][:1] == (_TRIAL,) for index in main.outputs)
