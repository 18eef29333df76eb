"""Builds the tree of tables that makes up a segment: which tensors, ops, weights and subgraphs it keeps, renumbered.

Whether the segment may be cut out is slicer.py's business, and writing the tree emitter.py's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from models.batches import opened_shapes
from models.constants import Constants, pack_value
from models.details import detail_tensors
from models.emitter import blob_bytes_fit
from models.flatbuffer import Table
from models.graph import Graph
from models.modelfile import ModelFile, OperatorRecord, SubgraphRecord, TensorRecord
from models.nodes import Blob, BlobSpan, Copy, FileSource, Fresh, Node, Number, String, Tables, Vector
from models.schema import (
    OPERATOR_CODE,
    OPTIONS,
    OPTIONS_2,
    QUANTIZATION,
    SCHEMA_VERSION,
    SPARSITY,
    TENSOR_TYPES,
    VARIANT,
    Buffer,
    Layout,
    Metadata,
    Model,
    Operator,
    Quantization,
    SubGraph,
    Tensor,
)

KEPT_METADATA = "min_runtime_version"
_EMPTY_BUFFER_BYTES = 16  # its offset, its table and what aligns it


def segment_tree(model: ModelFile, constants: Constants, graph: Graph, start: int, stop: int) -> Fresh:
    """Ops `start`..`stop`-1 of an open model as the root of a stand-alone model; valid while the model is open."""
    return _Segment(model, constants, graph, start, stop).root()


@dataclass(frozen=True, slots=True)
class _Scope:
    """A subgraph of the segment: which tensors and operators of the original it keeps, and under which index."""

    subgraph: SubgraphRecord
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    places: Mapping[int, int]

    def indices(self, originals: tuple[int, ...]) -> Vector:
        """Tensor indices in the segment."""
        return Vector.of("i", [-1 if index < 0 else self.places[index] for index in originals])


class _Segment:
    """The tree of tables that makes up one segment."""

    def __init__(self, model: ModelFile, constants: Constants, graph: Graph, start: int, stop: int) -> None:
        self._model = model
        self._constants = constants
        self._opened = opened_shapes(model, constants)
        self._scopes = self._choose(graph, start, stop)
        self._codes: dict[int, int] = {}
        self._blobs: dict[int | bytes, Blob] = {}
        self._buffers: dict[int | bytes, int] = {}
        self._custom_options: list[Blob] = []

    def root(self) -> Fresh:
        """The whole segment as one table."""
        subgraphs = [_EMPTY_SUBGRAPH if scope is None else self._subgraph(scope) for scope in self._scopes]
        metadata = [
            Fresh({Metadata.NAME: String(name.encode()), Metadata.BUFFER: Number("I", self._file_buffer(buffer))})
            for name, buffer in self._model.metadata()
            if name == KEPT_METADATA
        ]
        inside = blob_bytes_fit([*self._blobs.values(), *self._custom_options])
        held = {index: self._blobs[key] for key, index in self._buffers.items()}
        self._model.flatbuffer.spend(_EMPTY_BUFFER_BYTES * max(held, default=0))
        buffers = [
            _buffer(held[index], inside=inside) if index in held else Fresh({})
            for index in range(max(held, default=0) + 1)
        ]
        codes = [Copy(self._model.codes[index].table, OPERATOR_CODE) for index in self._codes]
        description = self._model.root.raw(Model.DESCRIPTION)
        return Fresh(
            {
                Model.VERSION: Number("I", SCHEMA_VERSION),
                Model.OPERATOR_CODES: Tables(codes),
                Model.SUBGRAPHS: Tables(subgraphs),
                **({} if description is None else {Model.DESCRIPTION: String(description)}),
                Model.BUFFERS: Tables(buffers),
                **({Model.METADATA: Tables(metadata)} if metadata else {}),
            }
        )

    def _choose(self, graph: Graph, start: int, stop: int) -> list[_Scope | None]:
        """The main subgraph's part and the subgraphs that it reaches, at their own indices; None fills the gaps."""
        main, constants = self._model.main, self._constants
        inputs, outputs = graph.cuts[start].tensors, graph.cuts[stop].tensors
        chosen = {number for number in range(start, stop) if not graph.ops[number].constant}
        makers = {index: number for number in constants.derived_ops for index in main.operators[number].outputs}
        waiting = [*outputs, *(index for number in chosen for index in main.operators[number].inputs)]
        while waiting:
            maker = makers.get(waiting.pop())
            if maker is not None and maker not in chosen:
                chosen.add(maker)
                waiting += main.operators[maker].inputs
        operators = tuple(main.operators[number] for number in sorted(chosen))
        used = {index for op in operators for index in (*op.inputs, *op.outputs, *op.intermediates) if index >= 0}
        scopes: list[_Scope | None] = [_scope(main, operators, inputs, outputs, used)]
        reached = self._model.subgraphs_reached(operators)
        scopes += [None] * max(reached, default=0)
        for index in reached:
            inner = self._model.subgraph(index)
            everything = set(range(len(inner.tensors)))
            scopes[index] = _scope(inner, inner.operators, inner.inputs, inner.outputs, everything)
        return scopes

    def _subgraph(self, scope: _Scope) -> Fresh:
        is_main = scope is self._scopes[0]
        tensors = [self._tensor(scope, index, is_main=is_main) for index in scope.places]
        return Fresh(
            {
                SubGraph.TENSORS: Tables(tensors),
                SubGraph.INPUTS: scope.indices(scope.inputs),
                SubGraph.OUTPUTS: scope.indices(scope.outputs),
                SubGraph.OPERATORS: Tables([self._operator(scope, op) for op in scope.operators]),
                SubGraph.NAME: String(scope.subgraph.name.encode()),
            }
        )

    def _tensor(self, scope: _Scope, index: int, *, is_main: bool) -> Fresh:
        tensor = scope.subgraph.tensors[index]
        shape, signature, buffer = tensor.shape, tensor.signature, tensor.buffer
        folded = self._constants.folded.get(index) if is_main else None
        if folded is not None:
            shape = signature = folded.shape
        elif is_main:
            shape, signature = _bound(tensor, self._constants.shapes[index])
        table = tensor.table
        fields: dict[int, Number | BlobSpan | Node] = {
            Tensor.SHAPE: Vector.of("i", shape),
            Tensor.TYPE: Number("b", [name for name, _ in TENSOR_TYPES].index(tensor.type_name)),
            Tensor.NAME: String(table.raw(Tensor.NAME) or b""),
            Tensor.HAS_RANK: Number("B", int(tensor.rank_flag)),
        }
        if folded is not None:
            fields[Tensor.BUFFER] = Number("I", self._own_buffer(self._folded_data(index)))
        elif not tensor.is_variable:
            fields[Tensor.BUFFER] = Number("I", self._file_buffer(buffer))
        if tensor.is_variable:
            fields[Tensor.IS_VARIABLE] = Number("B", 1)
        if signature != shape:
            fields[Tensor.SHAPE_SIGNATURE] = Vector.of("i", signature)
        quantization, sparsity = table.table(Tensor.QUANTIZATION), table.table(Tensor.SPARSITY)
        if quantization is not None:
            fields[Tensor.QUANTIZATION] = Copy(quantization, QUANTIZATION, _details(scope, quantization))
        if sparsity is not None:
            fields[Tensor.SPARSITY] = Copy(sparsity, SPARSITY)
        variants = [Copy(variant, VARIANT) for variant in table.tables(Tensor.VARIANTS)]
        if variants:
            fields[Tensor.VARIANTS] = Tables(variants)
        return Fresh(fields)

    def _operator(self, scope: _Scope, op: OperatorRecord) -> Fresh:
        table = op.table
        fields: dict[int, Number | BlobSpan | Node] = {
            Operator.OPCODE_INDEX: Number("I", self._codes.setdefault(op.code_index, len(self._codes))),
            Operator.INPUTS: scope.indices(op.inputs),
            Operator.OUTPUTS: scope.indices(op.outputs),
        }
        if op.intermediates:
            fields[Operator.INTERMEDIATES] = scope.indices(op.intermediates)
        for slot in (Operator.CUSTOM_OPTIONS, Operator.MUTATING):
            raw = table.raw(slot)
            if raw is not None:
                self._model.flatbuffer.spend(len(raw))
                fields[slot] = Vector(raw, 1)
        unions: tuple[tuple[int, int, dict[int, Layout]], ...] = (
            (Operator.OPTIONS, Operator.OPTIONS_TYPE, OPTIONS),
            (Operator.OPTIONS_2, Operator.OPTIONS_2_TYPE, OPTIONS_2),
        )
        for slot, type_slot, layouts in unions:
            options, chosen = table.table(slot), table.scalar(type_slot, "B")
            if options is None:
                continue
            if chosen not in layouts:
                raise self._model.flatbuffer.broken(f"an op {op.code.kind} has options of the unknown type {chosen}")
            fields[type_slot] = Number("B", chosen)
            fields[slot] = Copy(options, layouts[chosen])
        offset = table.scalar(Operator.LARGE_CUSTOM_OFFSET, "Q")
        if offset > 1:
            blob = self._blob(self._model.span(offset, table.scalar(Operator.LARGE_CUSTOM_SIZE, "Q")))
            self._custom_options.append(blob)
            fields[Operator.LARGE_CUSTOM_OFFSET] = BlobSpan(blob, "offset")
            fields[Operator.LARGE_CUSTOM_SIZE] = BlobSpan(blob, "size")
        return Fresh(fields)

    def _file_buffer(self, original: int) -> int:
        """The index of a buffer of the file, the same in the segment; 0 for an empty one, as the schema has it.

        XNNPACK knows the weights that it has packed by this index, and so finds them again for every segment.
        """
        if original in self._buffers:
            return self._buffers[original]
        span = self._model.buffer_span(original)
        opened = self._opened.stored.get(original)
        blob = Blob(opened) if opened is not None else self._blob(span)
        return self._new_buffer(original, original, blob) if span else 0

    def _own_buffer(self, data: bytes) -> int:
        return self._buffers.get(data) or self._new_buffer(data, self._own_places[data], Blob(data))

    def _new_buffer(self, key: int | bytes, index: int, blob: Blob) -> int:
        self._blobs[key] = blob
        self._buffers[key] = index
        return index

    @cached_property
    def _own_places(self) -> dict[bytes, int]:
        """The indices of folded constants, after those of the file and the same in every segment of the model."""
        values = {self._folded_data(index) for index in self._constants.folded}
        return {data: place for place, data in enumerate(sorted(values), start=len(self._model.buffers))}

    def _folded_data(self, index: int) -> bytes:
        opened = self._opened.folded.get(index)
        value, type_name = self._constants.folded[index], self._model.main.tensors[index].type_name
        return pack_value(value, type_name) if opened is None else opened

    def _blob(self, span: range) -> Blob:
        """Bytes of the file that is cut, to be copied from file to file."""
        data = self._model.flatbuffer.data[span.start : span.stop]
        return Blob(data, FileSource(self._model.descriptor, span.start))


_EMPTY_SUBGRAPH = Fresh(
    {
        SubGraph.TENSORS: Tables([]),
        SubGraph.INPUTS: Vector.of("i", []),
        SubGraph.OUTPUTS: Vector.of("i", []),
        SubGraph.OPERATORS: Tables([]),
    }
)


def _scope(
    subgraph: SubgraphRecord,
    operators: tuple[OperatorRecord, ...],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
    used: set[int],
) -> _Scope:
    kept = used | set(inputs) | set(outputs)
    waiting = list(kept)
    while waiting:
        quantization = subgraph.tensors[waiting.pop()].table.table(Tensor.QUANTIZATION)
        for index in () if quantization is None else detail_tensors(quantization, len(subgraph.tensors)):
            if index >= 0 and index not in kept:
                kept.add(index)
                waiting.append(index)
    places = {index: place for place, index in enumerate(sorted(kept))}
    return _Scope(subgraph, operators, inputs, outputs, places)


def _bound(tensor: TensorRecord, known: tuple[int | None, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape and signature of a tensor of the segment: static where every dimension is known."""
    static = tuple(dimension for dimension in known if dimension is not None)
    return (static, static) if len(static) == len(known) else (tensor.shape, tensor.signature)


def _details(scope: _Scope, quantization: Table) -> dict[int, Node]:
    """The details of a quantisation that name tensors, with the tensors' indices in the segment."""
    found = detail_tensors(quantization, len(scope.subgraph.tensors))
    details = quantization.table(Quantization.DETAILS) if found else None
    if details is None:
        return {}
    scales, zero_points = (-1 if index < 0 else scope.places[index] for index in found)
    fields: dict[int, Number | BlobSpan | Node] = {
        Quantization.SCALES: Number("i", scales),
        Quantization.ZERO_POINTS: Number("i", zero_points),
        Quantization.BLOCK_SIZE: Number("i", details.scalar(Quantization.BLOCK_SIZE, "i")),
    }
    dimensions = details.raw(Quantization.DIMENSIONS, 4)
    if dimensions is not None:
        fields[Quantization.DIMENSIONS] = Vector(dimensions, 4)
    return {Quantization.DETAILS: Fresh(fields)}


def _buffer(blob: Blob, *, inside: bool) -> Fresh:
    """A Buffer whose bytes lie in the flatbuffer, or after it where the flatbuffer would exceed 2 GB."""
    if inside:
        return Fresh({Buffer.DATA: blob})
    return Fresh({Buffer.OFFSET: BlobSpan(blob, "offset"), Buffer.SIZE: BlobSpan(blob, "size")})
