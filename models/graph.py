"""The graph of a .tflite as the rest of Splitrail sees it: ops, tensors and cut points, with what each cut would send.

Reading the file is modelfile.py's business, cutting it slicer.py's.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from models.constants import Constants, find_constants
from models.flatbuffer import Table
from models.modelfile import ModelFile, OperatorRecord, SubgraphRecord, open_model
from models.operators import RESOURCE_KINDS
from models.schema import SENDABLE_TYPES
from models.schema import Quantization as QuantizationSlots
from models.schema import Tensor as TensorSlots
from models.soundness import check_sound

MAX_OPS = 20_000
"""More ops than any published .tflite has; the protocol's messages are bounded by the same number."""
MAX_CUT_ENTRIES = 4_000_000
"""Bound on the tensors of all cuts together; a chain of ops has one tensor at each."""
_VISIT_BYTES = 64
"""What a step through a chain of constants counts against the reader's bound, so that long chains end."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """A tensor's value q stands for scale * (q - zero_point)."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the main subgraph; `quantization` is None where it has none, or one for each channel.

    `dtype` is numpy's name of the element type, or the file's ("string", "resource", "int4", ...) where numpy has
    none. `shape` has the batch bound; where `dynamic`, some dimensions are known only at run time and `shape` and
    `size_bytes` are what the file reckons with. Strings and resources have size 0.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int
    dynamic: bool
    quantization: Quantization | None


@dataclass(frozen=True, slots=True)
class Op:
    """An operator of the main subgraph; `kind` is its builtin name or its custom code, such as "FlexErf".

    `inputs` and `outputs` are tensor indices (-1: an absent input). `weight_bytes` counts the stored constants that
    the op needs, through constant-derived ops and subgraphs too; a constant that two ops share counts for both.
    `constant` ops have results that do not depend on the model's inputs: segments compute or store those anew.
    """

    index: int
    kind: str
    version: int
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weight_bytes: int
    constant: bool


@dataclass(frozen=True, slots=True)
class CutPoint:
    """The boundary before op `k`: the tensors made before it and read at or after it, and their size in bytes.

    `tensors` are indices in a fixed order: the model's inputs in its own order, then by the op that makes them and
    their place among its outputs. The first cut has all inputs, and the last all outputs, in the model's own order.
    `why` is a sentence where the cut is not allowed.
    """

    k: int
    tensors: tuple[int, ...]
    size_bytes: int
    allowed: bool
    why: str | None


@dataclass(frozen=True, slots=True)
class Graph:
    """The main subgraph of a model: N ops in execution order, and N+1 cut points."""

    ops: tuple[Op, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    cuts: tuple[CutPoint, ...]


def read_graph(path: Path) -> Graph:
    """The graph of the .tflite at `path`.

    Raises ModelFileError where the file cannot be read, ModelFormatError where it is not a valid .tflite.
    """
    with open_model(path) as model:
        check_sound(model)
        return build_graph(model, find_constants(model, model.main))


def build_graph(model: ModelFile, constants: Constants) -> Graph:
    """The graph of an open model whose constants have been found."""
    main = model.main
    _check_order(model, main)
    tensors = tuple(_tensor(main, constants, index) for index in range(len(main.tensors)))
    weights = _Weights(model, main, constants)
    ops = tuple(
        Op(
            index=number,
            kind=op.code.kind,
            version=op.code.version,
            custom=op.code.custom,
            inputs=op.inputs,
            outputs=op.outputs,
            weight_bytes=0 if number in constants.derived_ops else weights.of_op(op),
            constant=number in constants.derived_ops or number in constants.folded_ops,
        )
        for number, op in enumerate(main.operators)
    )
    live = _live_tensors(model, constants)
    objections = _Objections(tensors, _tied_cuts(model), _unranked(main))
    cuts = tuple(_cut(k, live[k], objections, len(ops)) for k in range(len(ops) + 1))
    return Graph(ops, tensors, main.inputs, main.outputs, cuts)


def _check_order(model: ModelFile, main: SubgraphRecord) -> None:
    """Refuse what no runtime could execute: tensors made twice, or read before they are made."""
    if len(main.operators) > MAX_OPS:
        raise model.flatbuffer.broken(f"it has {len(main.operators)} ops, and Splitrail takes {MAX_OPS} at most")
    makers = dict[int, int]()
    for number, op in enumerate(main.operators):
        for index in op.outputs:
            if makers.setdefault(index, number) != number or index in main.inputs:
                raise model.flatbuffer.broken(f"tensor {index} is made twice, the second time by op {number}")
    for number, op in enumerate(main.operators):
        if any(makers.get(index, -1) >= number for index in op.inputs):
            raise model.flatbuffer.broken(f"op {number} {op.code.kind} reads a tensor that a later op makes")


def _tensor(main: SubgraphRecord, constants: Constants, index: int) -> Tensor:
    record, shape = main.tensors[index], constants.shapes[index]
    bound = tuple(filed if known is None else known for known, filed in zip(shape, record.shape, strict=True))
    size_bytes = (prod(bound) * record.bits + 7) // 8
    return Tensor(index, record.name, bound, record.type_name, size_bytes, None in shape, _quantization(record.table))


def _quantization(tensor: Table) -> Quantization | None:
    parameters = tensor.table(TensorSlots.QUANTIZATION)
    if parameters is None:
        return None
    scales = parameters.raw(QuantizationSlots.SCALE, 4) or b""
    zero_points = parameters.integers(QuantizationSlots.ZERO_POINT, "q") or ()
    if len(scales) != 4 or len(zero_points) != 1:  # one float
        return None
    [scale] = struct.unpack("<f", scales)
    return Quantization(scale, zero_points[0])


class _Weights:
    """Adds up stored constants, each buffer once for each op."""

    def __init__(self, model: ModelFile, main: SubgraphRecord, constants: Constants) -> None:
        self._model = model
        self._main = main
        self._makers = {
            index: main.operators[number]
            for number in constants.derived_ops
            for index in main.operators[number].outputs
        }
        self._folded = constants.folded

    def of_op(self, op: OperatorRecord) -> int:
        buffers = self._buffers(op)
        for index in self._model.subgraphs_reached((op,)):
            buffers |= {tensor.buffer for tensor in self._model.subgraph(index).tensors}
        return sum(len(self._model.buffer_span(buffer)) for buffer in buffers)

    def _buffers(self, op: OperatorRecord) -> set[int]:
        buffers, seen, waiting = set[int](), set[int](), [index for index in op.inputs if index >= 0]
        while waiting:
            index = waiting.pop()
            if index in seen or index in self._folded:
                continue
            seen.add(index)
            self._model.flatbuffer.spend(_VISIT_BYTES)
            if index in self._makers:
                waiting += [inner for inner in self._makers[index].inputs if inner >= 0]
            else:
                buffers.add(self._main.tensors[index].buffer)
        return buffers


def _live_tensors(model: ModelFile, constants: Constants) -> list[tuple[int, ...]]:
    """The cut tensors at each of the N+1 cut points, in their fixed order."""
    main = model.main
    count = len(main.operators)
    last_read = dict.fromkeys(main.inputs, -1)
    for number, op in enumerate(main.operators):
        if number not in constants.derived_ops and number not in constants.folded_ops:
            last_read.update(dict.fromkeys(op.inputs, number))
    last_read.update(dict.fromkeys(main.outputs, count))
    order = list(dict.fromkeys(main.inputs))
    made_before = dict.fromkeys(order, 0)
    for number, op in enumerate(main.operators):
        for index in op.outputs:
            order.append(index)
            made_before[index] = number + 1
    live: list[list[int]] = [[] for _ in range(count + 1)]
    entries = 0
    for index in order:
        if index in constants.tensors or main.tensors[index].is_variable:
            continue
        first, last = made_before[index], last_read.get(index, -1)
        entries += max(0, last - first)
        if entries > MAX_CUT_ENTRIES:
            raise model.flatbuffer.broken("far too many tensors are live at once")
        for k in range(first, last + 1):
            live[k].append(index)
    return [main.inputs, *(tuple(tensors) for tensors in live[1:-1]), main.outputs] if count else [main.outputs]


@dataclass(frozen=True, slots=True)
class _Tie:
    """Ops that must stay in one segment, from `first` to `last`, and what ties them."""

    first: int
    last: int
    why: str


def _ties(model: ModelFile) -> tuple[_Tie, ...]:
    main = model.main
    resource_ops = [
        number
        for number, op in enumerate(main.operators)
        if op.code.kind in RESOURCE_KINDS or _reaches_resource(model, op)
    ]
    ties = []
    if resource_ops:
        first, last = resource_ops[0], resource_ops[-1]
        ties.append(
            _Tie(
                first,
                last,
                f"ops {first} ({main.operators[first].code.kind}) to {last} ({main.operators[last].code.kind}) share "
                "resource variables, which live in one interpreter",
            )
        )
    users: dict[int, list[int]] = {}
    for number, op in enumerate(main.operators):
        for index in (*op.inputs, *op.outputs):
            if index >= 0 and main.tensors[index].is_variable:
                users.setdefault(index, []).append(number)
    for index, numbers in users.items():
        why = f"ops {numbers[0]} to {numbers[-1]} share the state tensor {main.tensors[index].name!r}"
        ties.append(_Tie(numbers[0], numbers[-1], why))
    return tuple(tie for tie in ties if tie.first < tie.last)


def _tied_cuts(model: ModelFile) -> dict[int, str]:
    """The cut points that would part ops which belong together, and why they do."""
    reasons, done = dict[int, str](), 0
    for tie in sorted(_ties(model), key=lambda tie: tie.first):
        reasons.update((k, tie.why) for k in range(max(tie.first, done) + 1, tie.last + 1))
        done = max(done, tie.last)
    return reasons


def _reaches_resource(model: ModelFile, op: OperatorRecord) -> bool:
    return any(
        inner.code.kind in RESOURCE_KINDS
        for index in model.subgraphs_reached((op,))
        for inner in model.subgraph(index).operators
    )


def _unranked(main: SubgraphRecord) -> frozenset[int]:
    """Tensors of which not even the number of dimensions is known, in a file whose converter would have said it."""
    if not any(tensor.rank_flag for tensor in main.tensors):
        return frozenset()
    return frozenset(index for index, tensor in enumerate(main.tensors) if tensor.shape == () and not tensor.rank_flag)


@dataclass(frozen=True, slots=True)
class _Objections:
    """All that speaks against cutting somewhere."""

    tensors: tuple[Tensor, ...]
    tied: Mapping[int, str]
    unranked: frozenset[int]

    def at(self, k: int, live: tuple[int, ...]) -> Iterator[str]:
        if k in self.tied:
            yield self.tied[k]
        for tensor in (self.tensors[index] for index in live):
            if tensor.dtype not in SENDABLE_TYPES:
                yield f"the cut tensor {tensor.name!r} is of type {tensor.dtype}, which cannot be sent"
            elif tensor.index in self.unranked:
                yield f"the cut tensor {tensor.name!r} has no shape before the model runs"
            elif tensor.size_bytes == 0:
                yield f"the cut tensor {tensor.name!r} of shape {list(tensor.shape)} has no elements"
        if not live:
            yield "no tensor crosses it: nothing after it depends on the model's inputs"


def _cut(k: int, live: tuple[int, ...], objections: _Objections, count: int) -> CutPoint:
    why = None if k in (0, count) else next(objections.at(k, live), None)
    size_bytes = sum(objections.tensors[index].size_bytes for index in live)
    return CutPoint(k, live, size_bytes, why is None, why)
