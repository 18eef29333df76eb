"""Codecs in a segment's graph: ops at its ends that read and write float16 or int8 in the place of float32.

The rest of the segment is `models.segment`'s; the same codecs outside a graph are `models.codecs`'.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from models.codec_figures import Scale
from models.codecs import Number as CodecNumber
from models.errors import CodecError
from models.nodes import BlobSpan, Copy, Fresh, Node, Number, String, Tables, Vector, Within
from models.operators import BUILTIN_NAMES
from models.schema import OPTIONS, TENSOR_TYPES, Model, Operator, OperatorCode, Quantization, SubGraph, Tensor

_TYPES: Final = {name: code for code, (name, _) in enumerate(TENSOR_TYPES)}
_PACKED: Final = {"fp16": _TYPES["float16"], "int8": _TYPES["int8"]}
_CAST_OPTIONS: Final = next(code for code, layout in OPTIONS.items() if layout.name == "CastOptions")
# The versions that know these types (tensorflow/lite/tools/versioning/op_version.cc): a runtime without them says so.
_TO_PACKED: Final = {"fp16": ("CAST", 5), "int8": ("QUANTIZE", 1)}
_TO_FLOAT: Final = {"fp16": ("DEQUANTIZE", 3), "int8": ("DEQUANTIZE", 2)}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GraphCodec:
    """How the float32 tensors at one end of a segment are written; int8 has a scale for each, in the cut's order."""

    number: CodecNumber = "raw"
    scales: tuple[Scale, ...] = ()


AS_THEY_ARE: Final = GraphCodec()


def with_codecs(root: Fresh, taken: GraphCodec, given: GraphCodec) -> Fresh:
    """The tree of a segment whose float32 inputs and outputs are written by these codecs; others stay as they are.

    CodecError where int8 has not as many scales as there are such tensors.
    """
    return root if taken == given == AS_THEY_ARE else _Ends(root).packed(taken, given)


class _Ends:
    """A segment's main subgraph, whose inputs and outputs become tensors of other types."""

    def __init__(self, root: Fresh) -> None:
        self._root = root
        subgraphs = _field(root, Model.SUBGRAPHS, Tables).items
        self._main, self._others = _of_type(subgraphs[0], Fresh), subgraphs[1:]
        self._tensors = list(_field(self._main, SubGraph.TENSORS, Tables).items)
        self._operators = list(_field(self._main, SubGraph.OPERATORS, Tables).items)
        self._codes = list(_field(root, Model.OPERATOR_CODES, Tables).items)

    def packed(self, taken: GraphCodec, given: GraphCodec) -> Fresh:
        inputs, outputs = self._indices(SubGraph.INPUTS), self._indices(SubGraph.OUTPUTS)
        unpacking, packing = self._twins(inputs, taken), self._twins(outputs, given)
        before = [self._operator(*_TO_FLOAT[taken.number], twin, index) for index, twin in unpacking.items()]
        after = [self._operator(*_TO_PACKED[given.number], index, twin) for index, twin in packing.items()]
        main = Fresh(
            {
                **self._main.fields,
                SubGraph.TENSORS: Tables(self._tensors),
                SubGraph.INPUTS: Vector.of("i", [unpacking.get(index, index) for index in inputs]),
                SubGraph.OUTPUTS: Vector.of("i", [packing.get(index, index) for index in outputs]),
                SubGraph.OPERATORS: Tables([*before, *self._operators, *after]),
            }
        )
        return Fresh(
            {
                **self._root.fields,
                Model.SUBGRAPHS: Tables([main, *self._others]),
                Model.OPERATOR_CODES: Tables(self._codes),
            }
        )

    def _indices(self, slot: int) -> tuple[int, ...]:
        data = bytes(_field(self._main, slot, Vector).data)
        return struct.unpack(f"<{len(data) // 4}i", data)

    def _twins(self, ends: Sequence[int], codec: GraphCodec) -> dict[int, int]:
        """For each float32 tensor among these, by its index: the index of a new one that is packed."""
        if codec.number == "raw":
            return {}
        floats = [index for index in dict.fromkeys(ends) if self._type(index) == _TYPES["float32"]]
        if codec.number == "int8" and floats and len(codec.scales) != len(floats):
            raise CodecError(
                f"int8 needs a scale for each float tensor: there are {len(floats)}, and {len(codec.scales)} scales"
            )
        scales = codec.scales if codec.number == "int8" else (None,) * len(floats)
        return {index: self._twin(index, codec.number, scale) for index, scale in zip(floats, scales, strict=False)}

    def _type(self, index: int) -> int:
        return _field(_of_type(self._tensors[index], Fresh), Tensor.TYPE, Number).value

    def _twin(self, index: int, number: CodecNumber, scale: Scale | None) -> int:
        tensor = _of_type(self._tensors[index], Fresh)
        kept = (Tensor.SHAPE, Tensor.SHAPE_SIGNATURE, Tensor.HAS_RANK)
        fields: dict[int, Number | BlobSpan | Node] = {
            slot: value for slot, value in tensor.fields.items() if slot in kept
        }
        fields[Tensor.TYPE] = Number("b", _PACKED[number])
        fields[Tensor.NAME] = String(bytes(_field(tensor, Tensor.NAME, String).data) + f";{number}".encode())
        if scale is not None:
            fields[Tensor.QUANTIZATION] = Fresh(
                {
                    Quantization.SCALE: Vector(struct.pack("<f", scale.scale), 4),
                    Quantization.ZERO_POINT: Vector.of("q", [scale.zero_point]),
                }
            )
        self._tensors.append(Fresh(fields))
        return len(self._tensors) - 1

    def _operator(self, kind: str, version: int, source: int, target: int) -> Fresh:
        fields: dict[int, Number | BlobSpan | Node] = {
            Operator.OPCODE_INDEX: Number("I", self._code(kind, version)),
            Operator.INPUTS: Vector.of("i", [source]),
            Operator.OUTPUTS: Vector.of("i", [target]),
        }
        if kind == "CAST":
            fields[Operator.OPTIONS_TYPE] = Number("B", _CAST_OPTIONS)
            fields[Operator.OPTIONS] = Fresh({0: Number("b", self._type(source)), 1: Number("b", self._type(target))})
        return Fresh(fields)

    def _code(self, kind: str, version: int) -> int:
        """The index of a new operator code; a segment that has the same one already only names it twice."""
        builtin = BUILTIN_NAMES.index(kind)
        self._codes.append(
            Fresh(
                {
                    OperatorCode.DEPRECATED_CODE: Number("b", builtin),
                    OperatorCode.VERSION: Number("i", version),
                    OperatorCode.CODE: Number("i", builtin),
                }
            )
        )
        return len(self._codes) - 1


def _field(table: Fresh, slot: int, kind: type[T]) -> T:
    return _of_type(table.fields[slot], kind)


def _of_type(node: Number | BlobSpan | Node | Copy | Within, kind: type[T]) -> T:
    """`models.segment` builds these nodes itself, so their kinds are known."""
    if not isinstance(node, kind):
        raise TypeError(f"a segment's tree has a {type(node).__name__} where a {kind.__name__} is due")
    return node
