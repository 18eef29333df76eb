"""Where the offsets lie in each table of tensorflow/lite/schema/schema.fbs: all that a copy of a table needs.

A table that is not named here is never copied; a test compares this page with the runtime's own schema.
"""

from dataclasses import dataclass

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True)
class Scalars:
    """A vector of scalars."""

    slot: int
    item_bytes: int


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    slot: int


@dataclass(frozen=True, slots=True)
class Child:
    """A table."""

    slot: int
    layout: "Layout"


@dataclass(frozen=True, slots=True)
class Children:
    """A vector of tables."""

    slot: int
    layout: "Layout"


@dataclass(frozen=True, slots=True)
class Union:
    """A table whose layout the byte in `type_slot` chooses."""

    slot: int
    type_slot: int
    layouts: dict[int, "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table: how many fields it has, and which of them are offsets."""

    name: str
    fields: int
    offsets: tuple[Scalars | Text | Child | Children | Union, ...] = ()


class Model:
    """Slots of the root table."""

    VERSION, OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS, METADATA_BUFFER, METADATA, SIGNATURE_DEFS = range(8)


class SubGraph:
    """Slots of SubGraph."""

    TENSORS, INPUTS, OUTPUTS, OPERATORS, NAME = range(5)


class Tensor:
    """Slots of Tensor."""

    SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, IS_VARIABLE, SPARSITY, SHAPE_SIGNATURE, HAS_RANK, VARIANTS, EXTERNAL = (
        range(11)
    )


class Operator:
    """Slots of Operator."""

    OPCODE_INDEX, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS, CUSTOM_OPTIONS, CUSTOM_FORMAT = range(7)
    MUTATING, INTERMEDIATES, LARGE_CUSTOM_OFFSET, LARGE_CUSTOM_SIZE, OPTIONS_2_TYPE, OPTIONS_2 = range(7, 13)


class OperatorCode:
    """Slots of OperatorCode."""

    DEPRECATED_CODE, CUSTOM_CODE, VERSION, CODE = range(4)


class Buffer:
    """Slots of Buffer; with OFFSET > 1 the bytes lie in the file outside the flatbuffer."""

    DATA, OFFSET, SIZE = range(3)


class Metadata:
    """Slots of Metadata."""

    NAME, BUFFER = range(2)


class Quantization:
    """Slots of QuantizationParameters and of its blockwise and multi-axis details."""

    SCALE, ZERO_POINT, DETAILS_TYPE, DETAILS = 2, 3, 4, 5
    SCALES, ZERO_POINTS, BLOCK_SIZE, DIMENSIONS = range(4)


# The elements of the types 0..22, their numpy names where numpy has them, and bits per element.
TENSOR_TYPES: tuple[tuple[str, int], ...] = (
    ("float32", 32),
    ("float16", 16),
    ("int32", 32),
    ("uint8", 8),
    ("int64", 64),
    ("string", 0),
    ("bool", 8),
    ("int16", 16),
    ("complex64", 64),
    ("int8", 8),
    ("float64", 64),
    ("complex128", 128),
    ("uint64", 64),
    ("resource", 0),
    ("variant", 0),
    ("uint32", 32),
    ("uint16", 16),
    ("int4", 4),
    ("bfloat16", 16),
    ("int2", 2),
    ("uint4", 4),
    ("float8_e4m3fn", 8),
    ("float8_e5m2", 8),
)
_NOT_IN_NUMPY = frozenset(
    ("string", "resource", "variant", "int4", "bfloat16", "int2", "uint4", "float8_e4m3fn", "float8_e5m2")
)
SENDABLE_TYPES = frozenset(name for name, _ in TENSOR_TYPES) - _NOT_IN_NUMPY
"""The types that a cut tensor may have: those that numpy holds as they are."""

DETAILS_BLOCKWISE, DETAILS_MULTI_AXIS = 2, 3
INDEXED_DETAILS = {
    DETAILS_BLOCKWISE: Layout("BlockwiseQuantization", 4, (Scalars(3, 4),)),
    DETAILS_MULTI_AXIS: Layout("MultiAxisQuantization", 4, (Scalars(3, 4),)),
}
"""Quantisation details that name tensors by index, so that they are rebuilt and not only copied."""

QUANTIZATION = Layout(
    "QuantizationParameters",
    7,
    (
        Scalars(0, 4),
        Scalars(1, 4),
        Scalars(2, 4),
        Scalars(3, 8),
        Union(5, 4, {1: Layout("CustomQuantization", 1, (Scalars(0, 1),)), **INDEXED_DETAILS}),
    ),
)

_SPARSE_INDICES = {
    1: Layout("Int32Vector", 1, (Scalars(0, 4),)),
    2: Layout("Uint16Vector", 1, (Scalars(0, 2),)),
    3: Layout("Uint8Vector", 1, (Scalars(0, 1),)),
}
SPARSITY = Layout(
    "SparsityParameters",
    3,
    (
        Scalars(0, 4),
        Scalars(1, 4),
        Children(2, Layout("DimensionMetadata", 6, (Union(3, 2, _SPARSE_INDICES), Union(5, 4, _SPARSE_INDICES)))),
    ),
)
VARIANT = Layout("VariantSubType", 3, (Scalars(0, 4),))
OPERATOR_CODE = Layout("OperatorCode", 4, (Text(1),))

# The members of the unions BuiltinOptions and BuiltinOptions2 in order of their type, from 1: name:fields.
_OPTIONS = """
Conv2D:7 DepthwiseConv2D:7 ConcatEmbeddings:3 LSHProjection:1 Pool2D:6 SVDF:3 RNN:2 FullyConnected:6 Softmax:1
Concatenation:2 Add:2 L2Norm:1 LocalResponseNormalization:4 LSTM:5 ResizeBilinear:4 Call:1 Reshape:1 SkipGram:3
SpaceToDepth:1 EmbeddingLookupSparse:1 Mul:1 Pad:0 Gather:2 BatchToSpaceND:0 SpaceToBatchND:0 Transpose:0
Reducer:1 Sub:2 Div:1 Squeeze:1 SequenceRNN:3 StridedSlice:6 Exp:0 TopKV2:0 Split:1 LogSoftmax:0 Cast:2
Dequantize:0 MaximumMinimum:0 ArgMax:1 Less:0 Neg:0 PadV2:0 Greater:0 GreaterEqual:0 LessEqual:0 Select:0
Slice:0 TransposeConv:5 SparseToDense:1 Tile:0 ExpandDims:0 Equal:0 NotEqual:0 Shape:1 Pow:0 ArgMin:1
FakeQuant:4 Pack:2 LogicalOr:0 OneHot:1 LogicalAnd:0 LogicalNot:0 Unpack:2 FloorDiv:0 Square:0 ZerosLike:0
Fill:0 BidirectionalSequenceLSTM:6 BidirectionalSequenceRNN:4 UnidirectionalSequenceLSTM:6 FloorMod:0 Range:0
ResizeNearestNeighbor:2 LeakyRelu:1 SquaredDifference:0 MirrorPad:1 Abs:0 SplitV:1 Unique:1 ReverseV2:0 AddN:0
GatherNd:0 Cos:0 Where:0 Rank:0 ReverseSequence:2 MatrixDiag:0 Quantize:0 MatrixSetDiag:0 HardSwish:0 If:2
While:2 DepthToSpace:1 NonMaxSuppressionV4:0 NonMaxSuppressionV5:0 ScatterNd:0 SelectV2:0 Densify:0 SegmentSum:0
BatchMatMul:3 Cumsum:2 CallOnce:1 BroadcastTo:0 Rfft2d:0 Conv3D:8 Hashtable:3 HashtableFind:0 HashtableImport:0
HashtableSize:0 VarHandle:2 ReadVariable:0 AssignVariable:0 Random:2 Bucketize:1 Gelu:1 DynamicUpdateSlice:0
UnsortedSegmentProd:0 UnsortedSegmentMax:0 UnsortedSegmentMin:0 UnsortedSegmentSum:0 ATan2:0 Sign:0 Bitcast:0
BitwiseXor:0 RightShift:0
"""
_OPTIONS_2 = """
StablehloConcatenate:1 StablehloBroadcastInDim:1 StablehloSlice:3 StablehloConvolution:17 StablehloCustomCall:6
StablehloReduce:2 StablehloScatter:7 StablehloCompare:2 StablehloDynamicSlice:1 StablehloPad:3 StablehloIota:1
StablehloDotGeneral:5 StablehloReduceWindow:6 StablehloSort:3 StablehloWhile:2 StablehloGather:6
StablehloTranspose:1 Dilate:0 StablehloRngBitGenerator:1 ReduceWindow:1 StableHLOComposite:5
StablehloShiftLeft:0 StablehloCase:1
"""


def _vectors(item_bytes: int, *slots: int) -> tuple[Scalars, ...]:
    return tuple(Scalars(slot, item_bytes) for slot in slots)


_OPTION_OFFSETS: dict[str, tuple[Scalars | Text, ...]] = {
    "Bucketize": _vectors(4, 0),
    "ConcatEmbeddings": _vectors(4, 1, 2),
    "FullyConnected": _vectors(1, 5),
    "Reshape": _vectors(4, 0),
    "Squeeze": _vectors(4, 0),
    "StableHLOComposite": (Text(0), Scalars(2, 1)),
    "StablehloBroadcastInDim": _vectors(8, 0),
    "StablehloCase": _vectors(4, 0),
    "StablehloConvolution": (*_vectors(8, 0, 1, 2, 3, 7, 10, 13), Scalars(4, 1), Scalars(16, 4)),
    "StablehloCustomCall": (Text(0), Text(2), Scalars(4, 4), Scalars(5, 1)),
    "StablehloDotGeneral": (*_vectors(8, 0, 1, 2, 3), Scalars(4, 4)),
    "StablehloDynamicSlice": _vectors(8, 0),
    "StablehloGather": _vectors(8, 0, 1, 2, 4),
    "StablehloPad": _vectors(8, 0, 1, 2),
    "StablehloReduce": _vectors(8, 0),
    "StablehloReduceWindow": _vectors(8, 0, 1, 2, 3, 4),
    "StablehloScatter": _vectors(8, 1, 2, 3),
    "StablehloSlice": _vectors(8, 0, 1, 2),
    "StablehloTranspose": _vectors(8, 0),
    "VarHandle": (Text(0), Text(1)),
}


def _layouts(listing: str) -> dict[int, Layout]:
    layouts = {}
    for code, entry in enumerate(listing.split(), start=1):
        name, fields = entry.split(":")
        layouts[code] = Layout(f"{name}Options", int(fields), _OPTION_OFFSETS.get(name, ()))
    return layouts


OPTIONS = _layouts(_OPTIONS)
OPTIONS_2 = _layouts(_OPTIONS_2)
