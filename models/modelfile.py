"""A .tflite file as typed records: its subgraphs, tensors, operators and buffers, all indices checked.

Weights stay in the file, seen through mmap; what the graph means is graph.py's business.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from models.errors import ModelFileError, ModelFormatError
from models.flatbuffer import FlatBuffer, Table
from models.operators import SUBGRAPH_SLOTS, SUBGRAPH_VECTOR_SLOTS, kind_name
from models.schema import IDENTIFIER, SCHEMA_VERSION, TENSOR_TYPES, Buffer, Metadata, Model, Operator, OperatorCode
from models.schema import SubGraph as SubGraphSlots
from models.schema import Tensor as TensorSlots
from models.verify import verify

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor as the file has it; a `signature` dimension of -1 is dynamic.

    `rank_flag` is False where the file does not say that an empty shape means a scalar; old converters never say it.
    """

    table: Table
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type_name: str
    bits: int
    buffer: int
    is_variable: bool
    rank_flag: bool


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """An operator code: which op, in which version."""

    table: Table
    kind: str
    version: int
    custom: bool


@dataclass(frozen=True, slots=True)
class OperatorRecord:
    """An operator; an input of -1 is absent. `subgraphs` are those that it runs."""

    table: Table
    code_index: int
    code: CodeRecord
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    mutates: bool
    subgraphs: tuple[int, ...]

    def options(self) -> Table | None:
        """The op's builtin options."""
        return self.table.table(Operator.OPTIONS) or self.table.table(Operator.OPTIONS_2)


@dataclass(frozen=True, slots=True)
class SubgraphRecord:
    """A subgraph: its tensors and operators, and which tensors are its inputs and outputs."""

    name: str
    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class ModelFile:
    """An open .tflite; get one from `open_model`."""

    def __init__(self, flatbuffer: FlatBuffer, descriptor: int) -> None:
        self.flatbuffer = flatbuffer
        self.descriptor = descriptor
        self.root = flatbuffer.root()
        version = self.root.scalar(Model.VERSION, "I")
        if version != SCHEMA_VERSION:
            raise ModelFormatError(
                f"{flatbuffer.name}: its schema version is {version}, but Splitrail and the runtimes read "
                f"version {SCHEMA_VERSION}; convert the model again"
            )
        self.codes = tuple(_code(table) for table in self.root.tables(Model.OPERATOR_CODES))
        self.buffers = tuple(self.root.tables(Model.BUFFERS))
        self._subgraph_tables = tuple(self.root.tables(Model.SUBGRAPHS))
        self._subgraphs: dict[int, SubgraphRecord] = {}
        if not self._subgraph_tables:
            raise flatbuffer.broken("it has no subgraph")
        for index in range(len(self.buffers)):
            self.buffer_span(index)  # a truncated file has lost weights: say so now, not when they are needed

    @property
    def subgraph_count(self) -> int:
        """How many subgraphs there are, the main one included."""
        return len(self._subgraph_tables)

    @property
    def main(self) -> SubgraphRecord:
        """The main subgraph."""
        return self.subgraph(0)

    def subgraph(self, index: int) -> SubgraphRecord:
        """One subgraph, decoded when first asked for."""
        if index not in self._subgraphs:
            self._subgraphs[index] = self._decode(self._item(self._subgraph_tables, index, "subgraph"))
        return self._subgraphs[index]

    def buffer_span(self, index: int) -> range:
        """The byte positions of a buffer in the file; empty where the buffer is."""
        buffer = self.buffers[index]
        offset = buffer.scalar(Buffer.OFFSET, "Q")
        if offset > 1:  # 0 and 1 both say that the bytes are in the flatbuffer (schema.fbs, table Buffer)
            return self.span(offset, buffer.scalar(Buffer.SIZE, "Q"))
        position = buffer.target(Buffer.DATA)
        return range(0) if position is None else self.flatbuffer.vector_span(position, 1)

    def buffer_data(self, index: int) -> memoryview:
        """The bytes of a buffer, uncopied."""
        span = self.buffer_span(index)
        return self.flatbuffer.data[span.start : span.stop]

    def span(self, offset: int, size: int) -> range:
        """The byte positions of what the file holds outside the flatbuffer."""
        if offset + size > len(self.flatbuffer.data):
            raise self.flatbuffer.broken("weights outside the flatbuffer run past the end of the file")
        return range(offset, offset + size)

    def metadata(self) -> Iterator[tuple[str, int]]:
        """The names and buffer indices of the model's metadata."""
        for table in self.root.tables(Model.METADATA):
            buffer = table.scalar(Metadata.BUFFER, "I")
            self._item(self.buffers, buffer, "buffer")
            yield table.text(Metadata.NAME), buffer

    def subgraphs_reached(self, operators: tuple[OperatorRecord, ...]) -> tuple[int, ...]:
        """The indices of all subgraphs that these operators run, directly or not, in rising order."""
        reached: set[int] = set()
        waiting = [index for operator in operators for index in operator.subgraphs]
        while waiting:
            index = waiting.pop()
            if index not in reached:
                reached.add(index)
                subgraph = self.subgraph(index)
                # Many ops that reach many subgraphs would otherwise cost a hostile file nothing and us minutes.
                self.flatbuffer.spend(8 * (len(subgraph.tensors) + len(subgraph.operators)))
                waiting += [inner for operator in subgraph.operators for inner in operator.subgraphs]
        return tuple(sorted(reached))

    def _item(self, items: tuple[T, ...], index: int, what: str) -> T:
        if not 0 <= index < len(items):
            raise self.flatbuffer.broken(f"it names {what} {index} of {len(items)}")
        return items[index]

    def _decode(self, table: Table) -> SubgraphRecord:
        tensors = tuple(self._tensor(item) for item in table.tables(SubGraphSlots.TENSORS))

        def indices(owner: Table, slot: int, lowest: int) -> tuple[int, ...]:
            found = owner.integers(slot) or ()
            for index in found:
                if not lowest <= index < len(tensors):
                    raise self.flatbuffer.broken(f"it names tensor {index} of {len(tensors)}")
            return found

        return SubgraphRecord(
            name=table.text(SubGraphSlots.NAME),
            tensors=tensors,
            operators=tuple(self._operator(item, indices) for item in table.tables(SubGraphSlots.OPERATORS)),
            inputs=indices(table, SubGraphSlots.INPUTS, 0),
            outputs=indices(table, SubGraphSlots.OUTPUTS, 0),
        )

    def _tensor(self, table: Table) -> TensorRecord:
        type_name, bits = self._item(TENSOR_TYPES, table.scalar(TensorSlots.TYPE, "b"), "tensor type")
        buffer = table.scalar(TensorSlots.BUFFER, "I")
        self._item(self.buffers, buffer, "buffer")
        name = table.text(TensorSlots.NAME)
        if table.scalar(TensorSlots.EXTERNAL, "I"):
            raise ModelFormatError(
                f"{self.flatbuffer.name}: tensor {name!r} has its weights in another file; "
                "convert the model into one file"
            )
        shape = table.integers(TensorSlots.SHAPE) or ()
        signature = table.integers(TensorSlots.SHAPE_SIGNATURE) or shape
        if any(dimension < 0 for dimension in shape) or len(signature) != len(shape) or min(signature, default=0) < -1:
            raise self.flatbuffer.broken(f"tensor {name!r} has the shape {list(shape)}, signature {list(signature)}")
        is_variable = bool(table.scalar(TensorSlots.IS_VARIABLE, "B"))
        rank_flag = bool(table.scalar(TensorSlots.HAS_RANK, "B"))
        return TensorRecord(table, name, shape, signature, type_name, bits, buffer, is_variable, rank_flag)

    def _operator(self, table: Table, indices: Callable[[Table, int, int], tuple[int, ...]]) -> OperatorRecord:
        code_index = table.scalar(Operator.OPCODE_INDEX, "I")
        code = self._item(self.codes, code_index, "operator code")
        return OperatorRecord(
            table=table,
            code_index=code_index,
            code=code,
            inputs=indices(table, Operator.INPUTS, -1),
            outputs=indices(table, Operator.OUTPUTS, 0),
            intermediates=indices(table, Operator.INTERMEDIATES, 0),
            mutates=any(table.raw(Operator.MUTATING) or b""),
            subgraphs=self._subgraph_indices(table, code.kind),
        )

    def _subgraph_indices(self, table: Table, kind: str) -> tuple[int, ...]:
        if kind not in SUBGRAPH_SLOTS and kind not in SUBGRAPH_VECTOR_SLOTS:
            return ()
        options = table.table(Operator.OPTIONS) or table.table(Operator.OPTIONS_2)
        if options is None:
            raise self.flatbuffer.broken(f"an op {kind} does not say which subgraph it runs")
        if kind in SUBGRAPH_VECTOR_SLOTS:
            found = options.integers(SUBGRAPH_VECTOR_SLOTS[kind]) or ()
        else:
            found = tuple(options.scalar(slot, "i") for slot in SUBGRAPH_SLOTS[kind])
        if kind == "STABLEHLO_COMPOSITE":
            found = tuple(index for index in found if index >= 0)  # -1 where there is no decomposition
        for index in found:
            self._item(self._subgraph_tables, index, "subgraph")
        return found


def _code(table: Table) -> CodeRecord:
    # Converters before 2020 wrote only the byte-wide field; newer ones clamp it to 127 (schema.fbs, OperatorCode).
    builtin = max(table.scalar(OperatorCode.DEPRECATED_CODE, "b"), table.scalar(OperatorCode.CODE, "i"))
    if builtin < 0:
        raise table.buffer.broken(f"it has the operator code {builtin}")
    custom_code = table.text(OperatorCode.CUSTOM_CODE)
    kind = kind_name(builtin, custom_code)
    return CodeRecord(table, kind, table.scalar(OperatorCode.VERSION, "i", 1), kind_name(builtin, "") == "CUSTOM")


@contextmanager
def open_model(path: Path) -> Iterator[ModelFile]:
    """Open a .tflite by mmap for as long as the block lasts.

    Raises ModelFileError where the file cannot be read, ModelFormatError where it is not a .tflite.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            head = file.read(8)
            size = os.fstat(file.fileno()).st_size
            if len(head) < 8 or head[4:] != IDENTIFIER:
                what = "it is empty" if size == 0 else "it does not begin as a TensorFlow Lite model does"
                raise ModelFormatError(f"{path}: not a .tflite file: {what}; `splitrail convert` makes one")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from None
        view = memoryview(mapped)
        stack.callback(_release, view, mapped)
        verify(view, str(path))
        yield ModelFile(FlatBuffer(view, str(path)), file.fileno())


def _release(view: memoryview, mapped: mmap.mmap) -> None:
    """Unmap now where nothing looks into the file any more; otherwise the last view to go unmaps it."""
    try:
        view.release()
        mapped.close()
    except BufferError:
        pass
