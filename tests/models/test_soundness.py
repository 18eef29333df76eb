"""Models that are whole as files and yet would crash the runtime are refused, by name."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from models.emitter import write_flatbuffer
from models.errors import ModelFormatError
from models.graph import read_graph
from models.nodes import Fresh, Node, Number, String, Tables, Vector
from models.operators import BUILTIN_NAMES
from models.runtime import Segment
from models.schema import (
    IDENTIFIER,
    OPTIONS,
    TENSOR_TYPES,
    Buffer,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    Quantization,
    SignatureDef,
    Sparsity,
    SubGraph,
    Tensor,
)

SPLIT = next(code for code, layout in OPTIONS.items() if layout.name == "SplitOptions")
ADD = next(code for code, layout in OPTIONS.items() if layout.name == "AddOptions")
WHILE = next(code for code, layout in OPTIONS.items() if layout.name == "WhileOptions")
LRN = next(code for code, layout in OPTIONS.items() if layout.name == "LocalResponseNormalizationOptions")
REVERSE = next(code for code, layout in OPTIONS.items() if layout.name == "ReverseSequenceOptions")
Fields = dict[int, Number | Node]


@dataclass(frozen=True, slots=True)
class Op:
    """An operator of a model that a test makes up."""

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: tuple[int, Fields] | None = None

    def fresh(self, code: int) -> Fresh:
        fields: Fields = {
            Operator.OPCODE_INDEX: Number("I", code),
            Operator.INPUTS: Vector.of("i", self.inputs),
            Operator.OUTPUTS: Vector.of("i", self.outputs),
        }
        if self.options is not None:
            fields[Operator.OPTIONS_TYPE] = Number("B", self.options[0])
            fields[Operator.OPTIONS] = Fresh(self.options[1])
        return Fresh(fields)


def tensor(*shape: int, kind: str = "float32", buffer: int = 0, more: Fields | None = None) -> Fresh:
    code = [name for name, _ in TENSOR_TYPES].index(kind)
    return Fresh(
        {
            Tensor.SHAPE: Vector.of("i", shape),
            Tensor.TYPE: Number("b", code),
            Tensor.BUFFER: Number("I", buffer),
            Tensor.NAME: String(b"t"),
            **(more or {}),
        }
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A model of one or more equal subgraphs."""

    tensors: Sequence[Fresh]
    ops: Sequence[Op]
    outputs: Sequence[int]
    inputs: Sequence[int] = (0,)
    buffers: Sequence[bytes] = ()
    subgraphs: int = 1
    more: Fields = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        codes = [Fresh({OperatorCode.CODE: Number("i", BUILTIN_NAMES.index(op.kind))}) for op in self.ops]
        subgraph = Fresh(
            {
                SubGraph.TENSORS: Tables(self.tensors),
                SubGraph.INPUTS: Vector.of("i", self.inputs),
                SubGraph.OUTPUTS: Vector.of("i", self.outputs),
                SubGraph.OPERATORS: Tables([op.fresh(code) for code, op in enumerate(self.ops)]),
            }
        )
        buffers = [Fresh({}), *(Fresh({Buffer.DATA: Vector(data, 1)}) for data in self.buffers)]
        root: Fields = {
            Model.VERSION: Number("I", 3),
            Model.OPERATOR_CODES: Tables(codes),
            Model.SUBGRAPHS: Tables([subgraph] * self.subgraphs),
            Model.BUFFERS: Tables(buffers),
            **self.more,
        }
        write_flatbuffer(Fresh(root), IDENTIFIER, path)
        return path


def quantised(scales: Sequence[float], zero_points: Sequence[int], dimension: int = 0) -> Fields:
    return {
        Tensor.QUANTIZATION: Fresh(
            {
                Quantization.SCALE: Vector(struct.pack(f"<{len(scales)}f", *scales), 4),
                Quantization.ZERO_POINT: Vector.of("q", zero_points),
                Quantization.DIMENSION: Number("i", dimension),
            }
        )
    }


def sparse(segments: Sequence[int], indices: Sequence[int]) -> Fields:
    """A row of four that keeps the elements at `indices`."""
    level = Fresh(
        {
            Sparsity.FORMAT: Number("b", 1),
            Sparsity.SEGMENTS_TYPE: Number("B", 1),
            Sparsity.SEGMENTS: Fresh({0: Vector.of("i", segments)}),
            Sparsity.INDICES_TYPE: Number("B", 3),
            Sparsity.INDICES: Fresh({0: Vector(bytes(indices), 1)}),
        }
    )
    return {
        Tensor.SPARSITY: Fresh({Sparsity.TRAVERSAL_ORDER: Vector.of("i", [0]), Sparsity.LEVELS: Tables([level])}),
    }


def signature(tensor_index: int, subgraph: int = 0) -> Fields:
    entry = Fresh({SignatureDef.NAME: String(b"x"), SignatureDef.TENSOR: Number("I", tensor_index)})
    return {
        Model.SIGNATURE_DEFS: Tables(
            [
                Fresh(
                    {
                        SignatureDef.INPUTS: Tables([entry]),
                        SignatureDef.OUTPUTS: Tables([]),
                        SignatureDef.KEY: String(b"serve"),
                        SignatureDef.SUBGRAPH: Number("I", subgraph),
                    }
                )
            ]
        )
    }


def ints(*items: int) -> bytes:
    return struct.pack(f"<{len(items)}i", *items)


T = tensor(4)
RELU = Op("RELU", [0], [1])
FOUR = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)
STRINGS = struct.pack("<III", 1, 12, 14) + b"ab"
SOUND = {
    "one op": Made([T, T], [RELU], [1]),
    "a constant": Made([T, T, tensor(4, buffer=1)], [Op("ADD", [0, 2], [1])], [1], buffers=[FOUR]),
    "strings": Made([T, T, tensor(1, kind="string", buffer=1)], [RELU], [1], buffers=[STRINGS]),
    "sparse": Made([T, T, tensor(4, buffer=1, more=sparse([0, 2], [1, 3]))], [RELU], [1], buffers=[FOUR[:8]]),
    "quantised": Made(
        [T, T, tensor(2, kind="int8", buffer=1, more=quantised([0.5, 1], [0, 1]))], [RELU], [1], buffers=[b"ab"]
    ),
    "a signature": Made([T, T], [RELU], [1], more=signature(0)),
    "an absent bias": Made(
        [tensor(1, 4), tensor(1, 1), tensor(1, 4, buffer=1)],
        [Op("FULLY_CONNECTED", [0, 2, -1], [1])],
        [1],
        buffers=[FOUR],
    ),
}
UNSOUND = {
    "two op inputs missing": (Made([T, T], [Op("ADD", [0], [1])], [1]), "has 1 inputs, and needs 2"),
    "an input absent": (Made([T, T], [Op("ADD", [0, -1], [1])], [1]), "lacks its input 1"),
    "no output": (Made([T, T], [Op("RELU", [0], [])], [0]), "has 0 outputs, and needs 1"),
    "output stored": (Made([T, tensor(4, buffer=1)], [RELU], [1], buffers=[FOUR]), "and yet its data are stored"),
    "input stored": (Made([tensor(4, buffer=1), T], [RELU], [1], buffers=[FOUR]), "is its input, and yet"),
    "read before made": (Made([T, T, T], [Op("ADD", [0, 2], [1])], [1]), "which nothing has made"),
    "output never made": (Made([T, T, T], [RELU], [2]), "which nothing makes"),
    "too few bytes": (Made([T, T, tensor(5, buffer=1)], [RELU], [1], buffers=[FOUR]), "has 16 bytes of data"),
    "too large": (Made([T, T, tensor(65_536, 65_536)], [RELU], [1]), "too large"),
    "too many dimensions": (Made([T, T, tensor(*[1] * 9)], [RELU], [1]), "has 9 dimensions"),
    "options of another op": (Made([T, T], [Op("SOFTMAX", [0], [1], (ADD, {}))], [1]), "does not have the options"),
    "options of an unknown kind": (Made([T, T], [Op("ADD", [0, 0], [1], (250, {}))], [1]), "does not have the options"),
    "splits without outputs": (
        Made([T, T], [Op("SPLIT", [0, 0], [1], (SPLIT, {0: Number("i", 55)}))], [1]),
        "says that it has 55 outputs, and has 1",
    ),
    "runs itself": (
        Made([T, T], [Op("WHILE", [0], [1], (WHILE, {0: Number("i", 1), 1: Number("i", 1)}))], [1], subgraphs=2),
        "runs itself",
    ),
    "a scale that is no number": (
        Made([T, T, tensor(4, more=quantised([float("nan")], [0]))], [RELU], [1]),
        "has a scale that is none",
    ),
    "scales without zero points": (
        Made([T, T, tensor(2, more=quantised([0.5, 1.0], [0]))], [RELU], [1]),
        "not as many zero points",
    ),
    "more scales than channels": (
        Made([T, T, tensor(4, more=quantised([0.5, 1.0], [0, 0]))], [RELU], [1]),
        "2 scales along its dimension 0",
    ),
    "a zero point out of range": (
        Made([T, T, tensor(4, kind="int8", more=quantised([0.5], [128]))], [RELU], [1]),
        "zero point that is no int8",
    ),
    "strings outside": (
        Made([T, T, tensor(1, kind="string", buffer=1)], [RELU], [1], buffers=[struct.pack("<III", 1, 12, 99)]),
        "has a string outside its data",
    ),
    "fewer strings": (
        Made([T, T, tensor(2, kind="string", buffer=1)], [RELU], [1], buffers=[STRINGS]),
        "does not hold the 2 strings",
    ),
    "sparse index": (
        Made([T, T, tensor(4, buffer=1, more=sparse([0, 2], [1, 9]))], [RELU], [1], buffers=[FOUR[:8]]),
        "indices that do not fit",
    ),
    "sparse segments": (
        Made([T, T, tensor(4, buffer=1, more=sparse([0, 9], [1, 3]))], [RELU], [1], buffers=[FOUR[:8]]),
        "indices that do not fit",
    ),
    "sparse size": (
        Made([T, T, tensor(4, buffer=1, more=sparse([0, 2], [1, 3]))], [RELU], [1], buffers=[FOUR]),
        "has 16 bytes of data",
    ),
    "a signature of no tensor": (Made([T, T], [RELU], [1], more=signature(7)), "names tensor 7 of 2"),
    "a signature of no subgraph": (Made([T, T], [RELU], [1], more=signature(0, 3)), "names subgraph 3 of 1"),
    "metadata without a name": (
        Made([T, T], [RELU], [1], more={Model.METADATA: Tables([Fresh({Metadata.BUFFER: Number("I", 0)})])}),
        "has no name",
    ),
    "a radius below zero": (
        Made([T, T], [Op("LOCAL_RESPONSE_NORMALIZATION", [0], [1], (LRN, {0: Number("i", -1)}))], [1]),
        "has the radius -1",
    ),
    "negative padding": (
        Made([T, T, tensor(2, kind="int32", buffer=1)], [Op("PAD", [0, 2], [1])], [1], buffers=[ints(0, -4)]),
        "pads by less than nothing",
    ),
    "a huge resize": (
        Made(
            [T, T, tensor(2, kind="int32", buffer=1)],
            [Op("RESIZE_BILINEAR", [0, 2], [1])],
            [1],
            buffers=[ints(2**24, 2**24)],
        ),
        "makes a tensor of the shape",
    ),
    "reversing too much": (
        Made(
            [T, T, tensor(1, kind="int32", buffer=1)],
            [Op("REVERSE_SEQUENCE", [0, 2], [1], (REVERSE, {}))],
            [1],
            buffers=[ints(5)],
        ),
        "reverses more than there is",
    ),
    "values outside": (
        Made(
            [T, T, tensor(1, kind="int32", buffer=1), tensor(1, kind="int32", buffer=2)],
            [Op("SPARSE_TO_DENSE", [2, 3, 0, 0], [1])],
            [1],
            buffers=[ints(9), ints(4)],
        ),
        "puts values outside",
    ),
    "a name that is not UTF-8": (
        Made([T, T, tensor(4, more={Tensor.NAME: String(b"\xff")})], [RELU], [1]),
        "is not UTF-8",
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_models_are_read(name: str, tmp_path: Path) -> None:
    """What the rules ask for can be had."""
    read_graph(SOUND[name].write(tmp_path / "model.tflite"))


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_models_are_refused(name: str, tmp_path: Path) -> None:
    """The reader names what does not hold together, and the runtime is not asked."""
    made, words = UNSOUND[name]
    path = made.write(tmp_path / "model.tflite")
    with pytest.raises(ModelFormatError, match=words):
        read_graph(path)
    with pytest.raises(ModelFormatError, match=words):
        Segment(path)


@pytest.mark.parametrize(
    "name", ["branchy_int8", "branchy_int16x8", "loops", "lstm", "attention", "strings", "signatures"]
)
def test_models_of_the_converter_are_sound(name: str, small_model: Callable[[str], Path]) -> None:
    """Nothing that TensorFlow writes is doubted."""
    read_graph(small_model(name))
