"""Doubts a model that is whole as a file: what it says must hold together, where a runtime crashes if it does not.

Most rules come from models with wrong fields that killed LiteRT 2.3, the others from their like; what a runtime refuses
in words is left to it.
"""

import struct
from math import isfinite, prod

from models.details import detail_tensors
from models.flatbuffer import Table
from models.flexbuffer import is_whole_flexbuffer
from models.modelfile import ModelFile, OperatorRecord, SubgraphRecord, TensorRecord
from models.operands import operand_fault
from models.operators import (
    FLEXBUFFER_KINDS,
    LEAST_OUTPUTS,
    MAY_LACK_INPUTS,
    NO_OUTPUTS,
    OUTPUT_COUNTS,
    least_inputs,
    options_name,
)
from models.schema import OPTIONS, OPTIONS_2, Model, Operator, Quantization, SignatureDef
from models.schema import Tensor as TensorSlots
from models.sparsity import stored_elements

MAX_TENSOR_BYTES = 2**31 - 1
"""No constant of a flatbuffer is larger, and no activation of a published model."""
MAX_DIMENSIONS = 8
"""As many as a message between agents can say; the runtimes' kernels know six (kernels/internal/runtime_shape.h)."""


def check_sound(model: ModelFile) -> None:
    """Raise ModelFormatError where a runtime would read, write or call what it must not."""
    subgraphs = [model.subgraph(index) for index in range(model.subgraph_count)]
    _check_calls(model, subgraphs)
    for subgraph in subgraphs:
        for index, tensor in enumerate(subgraph.tensors):
            _check_tensor(model, subgraph, index, tensor)
        _check_flow(model, subgraph)
    _check_signatures(model, subgraphs)
    for name, _ in model.metadata():
        _require(model, bool(name), "a metadata entry has no name")


def _require(model: ModelFile, holds: bool, otherwise: str) -> None:
    if not holds:
        raise model.flatbuffer.broken(otherwise)


def _check_calls(model: ModelFile, subgraphs: list[SubgraphRecord]) -> None:
    """Refuse subgraphs that run themselves, however deep: a runtime would recurse until its stack ends."""
    callees = [
        sorted({called for op in subgraph.operators for called in op.subgraphs if called < len(subgraphs)})
        for subgraph in subgraphs
    ]
    callers = [0] * len(subgraphs)
    for called in (inner for each in callees for inner in each):
        callers[called] += 1
    waiting = [index for index, count in enumerate(callers) if count == 0]
    ordered = 0
    while waiting:
        ordered += 1
        for called in callees[waiting.pop()]:
            callers[called] -= 1
            if callers[called] == 0:
                waiting.append(called)
    _require(model, ordered == len(subgraphs), "a subgraph of it runs itself")


def _check_flow(model: ModelFile, subgraph: SubgraphRecord) -> None:
    """Every tensor that is read has been stored or made, and nothing writes over what is stored."""
    ready = {
        index
        for index, tensor in enumerate(subgraph.tensors)
        if tensor.is_variable or 0 in tensor.shape or model.buffer_span(tensor.buffer)
    }
    for index in subgraph.inputs:
        _check_unstored(model, subgraph, index, "its input")
        ready.add(index)
    for number, op in enumerate(subgraph.operators):
        words = f"op {number} {op.code.kind}"
        _check_operator(model, op, words)
        fault = operand_fault(model, subgraph, op)
        _require(model, fault is None, f"{words} {fault}")
        for index in op.inputs:
            _require(model, index < 0 or index in ready, f"{words} reads tensor {index}, which nothing has made")
        for index in (*op.outputs, *op.intermediates):
            _check_unstored(model, subgraph, index, f"what {words} makes")
        ready.update(op.outputs)
    for index in subgraph.outputs:
        _require(model, index in ready, f"its output is tensor {index}, which nothing makes")


def _check_unstored(model: ModelFile, subgraph: SubgraphRecord, index: int, role: str) -> None:
    # Runtimes map what is stored read-only.
    span = model.buffer_span(subgraph.tensors[index].buffer)
    _require(model, not span, f"tensor {index} is {role}, and yet its data are stored")


def _check_operator(model: ModelFile, op: OperatorRecord, words: str) -> None:
    kind = op.code.kind
    fewest = 0 if op.code.custom else least_inputs(kind)
    _require(model, len(op.inputs) >= fewest, f"{words} has {len(op.inputs)} inputs, and needs {fewest}")
    fewest = 0 if op.code.custom or kind in NO_OUTPUTS else LEAST_OUTPUTS.get(kind, 1)
    _require(model, len(op.outputs) >= fewest, f"{words} has {len(op.outputs)} outputs, and needs {fewest}")
    options = op.options()
    if kind in OUTPUT_COUNTS:
        said = 0 if options is None else options.scalar(OUTPUT_COUNTS[kind], "i")
        _require(model, said == len(op.outputs), f"{words} says that it has {said} outputs, and has {len(op.outputs)}")
    lacking = MAY_LACK_INPUTS.get(kind, frozenset())
    for place, index in enumerate(op.inputs):
        may_lack = op.code.custom or place in lacking
        _require(model, index >= 0 or may_lack, f"{words} lacks its input {place}")
    wanted = options_name(kind)
    if wanted is not None:
        unions = ((Operator.OPTIONS_TYPE, OPTIONS), (Operator.OPTIONS_2_TYPE, OPTIONS_2))
        chosen = {type_: layouts.get(type_) for slot, layouts in unions if (type_ := op.table.scalar(slot, "B"))}
        fits = all(layout is not None and layout.name == wanted for layout in chosen.values())
        _require(model, fits and (options is None or bool(chosen)), f"{words} does not have the options of its kind")
    if op.code.custom and kind in FLEXBUFFER_KINDS:
        whole = is_whole_flexbuffer(op.table.raw(Operator.CUSTOM_OPTIONS) or b"")
        _require(model, whole, f"{words} has options that are no whole FlexBuffer")
    offset = op.table.scalar(Operator.LARGE_CUSTOM_OFFSET, "Q")
    if offset > 1:
        model.span(offset, op.table.scalar(Operator.LARGE_CUSTOM_SIZE, "Q"))


def _check_tensor(model: ModelFile, subgraph: SubgraphRecord, index: int, tensor: TensorRecord) -> None:
    words = f"tensor {index}"
    if tensor.table.raw(TensorSlots.NAME) is not None:
        _check_name(model, tensor.table, TensorSlots.NAME, words)
    _require(model, len(tensor.shape) <= MAX_DIMENSIONS, f"{words} has {len(tensor.shape)} dimensions")
    elements = prod(tensor.shape)
    size_bytes = (elements * tensor.bits + 7) // 8
    shape = list(tensor.shape)
    _require(model, max(elements, size_bytes) <= MAX_TENSOR_BYTES, f"{words} of shape {shape} is too large")
    stored = len(model.buffer_span(tensor.buffer))
    sparsity = tensor.table.table(TensorSlots.SPARSITY)
    if stored and tensor.type_name == "string":
        _check_strings(model, tensor, elements, words)
    elif stored:
        if sparsity is not None:
            size_bytes = (stored_elements(sparsity, tensor.shape) * tensor.bits + 7) // 8
        _require(model, size_bytes == stored, f"{words} of shape {shape} has {stored} bytes of data")
    quantization = tensor.table.table(TensorSlots.QUANTIZATION)
    if quantization is not None:
        _check_quantization(model, subgraph, tensor, quantization, words)


def _check_strings(model: ModelFile, tensor: TensorRecord, elements: int, words: str) -> None:
    """A tensor of strings is stored as their number, where each begins, where the last ends, and then their bytes."""
    data = model.buffer_data(tensor.buffer)
    head = 4 * (elements + 2)
    whole = len(data) >= head and struct.unpack_from("<I", data)[0] == elements
    _require(model, whole, f"{words} does not hold the {elements} strings of its shape")
    begins = data[4:head].cast("B")
    previous = head
    for (begin,) in struct.iter_unpack("<I", begins):
        _require(model, previous <= begin <= len(data), f"{words} has a string outside its data")
        previous = begin


def _check_quantization(
    model: ModelFile, subgraph: SubgraphRecord, tensor: TensorRecord, quantization: Table, words: str
) -> None:
    raw_scales = quantization.raw(Quantization.SCALE, 4) or b""
    zero_points = quantization.raw(Quantization.ZERO_POINT, 8) or b""
    count = len(raw_scales) // 4
    scales = struct.iter_unpack("<f", raw_scales)
    _require(model, all(isfinite(scale) and scale >= 0.0 for (scale,) in scales), f"{words} has a scale that is none")
    _require(model, len(zero_points) // 8 in (0, count), f"{words} has {count} scales, but not as many zero points")
    if tensor.type_name in ("int8", "uint8", "int16"):
        lowest = 0 if tensor.type_name == "uint8" else -(2 ** (tensor.bits - 1))
        points = struct.iter_unpack("<q", zero_points)
        fits = all(lowest <= point < lowest + 2**tensor.bits for (point,) in points)
        _require(model, fits, f"{words} has a zero point that is no {tensor.type_name}")
    if count > 1:
        axis = quantization.scalar(Quantization.DIMENSION, "i")
        whole = 0 <= axis < len(tensor.shape) and tensor.shape[axis] == count
        _require(model, whole, f"{words} of shape {list(tensor.shape)} has {count} scales along its dimension {axis}")
    detail_tensors(quantization, len(subgraph.tensors))


def _check_signatures(model: ModelFile, subgraphs: list[SubgraphRecord]) -> None:
    for signature in model.root.tables(Model.SIGNATURE_DEFS):
        index = signature.scalar(SignatureDef.SUBGRAPH, "I")
        _require(model, index < len(subgraphs), f"a signature names subgraph {index} of {len(subgraphs)}")
        _check_name(model, signature, SignatureDef.KEY, "a signature")
        for slot in (SignatureDef.INPUTS, SignatureDef.OUTPUTS):
            _require(model, signature.target(slot) is not None, "a signature does not list its tensors")
            for entry in signature.tables(slot):
                _check_name(model, entry, SignatureDef.NAME, "a tensor of a signature")
                tensor, known = entry.scalar(SignatureDef.TENSOR, "I"), len(subgraphs[index].tensors)
                _require(model, tensor < known, f"a signature names tensor {tensor} of {known}")


def _check_name(model: ModelFile, table: Table, slot: int, owner: str) -> None:
    raw = table.raw(slot)
    _require(model, raw is not None, f"{owner} has no name")
    try:
        str(raw or b"", "utf-8")
    except UnicodeDecodeError:
        raise model.flatbuffer.broken(f"the name of {owner} is not UTF-8") from None
