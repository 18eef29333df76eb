"""The tables of tensorflow/lite/schema/schema.fbs: their fields' widths, and where offsets lie in them.

A table that is not named here is never copied nor looked into; a test compares this page with the runtime's schema.
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
    """A table: the bytes that each field takes, a digit for each (0: no longer read), and which of them are offsets."""

    name: str
    widths: str
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

    SCALE, ZERO_POINT, DETAILS_TYPE, DETAILS, DIMENSION = 2, 3, 4, 5, 6
    SCALES, ZERO_POINTS, BLOCK_SIZE, DIMENSIONS = range(4)


class Sparsity:
    """Slots of SparsityParameters and of its DimensionMetadata."""

    TRAVERSAL_ORDER, BLOCK_MAP, LEVELS = range(3)
    FORMAT, DENSE_SIZE, SEGMENTS_TYPE, SEGMENTS, INDICES_TYPE, INDICES = range(6)


class SignatureDef:
    """Slots of SignatureDef and of its TensorMap."""

    INPUTS, OUTPUTS, KEY, SUBGRAPH = 0, 1, 2, 4
    NAME, TENSOR = range(2)


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
    DETAILS_BLOCKWISE: Layout("BlockwiseQuantization", "4444", (Scalars(3, 4),)),
    DETAILS_MULTI_AXIS: Layout("MultiAxisQuantization", "4444", (Scalars(3, 4),)),
}
"""Quantisation details that name tensors by index, so that they are rebuilt and not only copied."""

QUANTIZATION = Layout(
    "QuantizationParameters",
    "4444144",
    (
        Scalars(0, 4),
        Scalars(1, 4),
        Scalars(2, 4),
        Scalars(3, 8),
        Union(5, 4, {1: Layout("CustomQuantization", "4", (Scalars(0, 1),)), **INDEXED_DETAILS}),
    ),
)

_SPARSE_INDICES = {
    1: Layout("Int32Vector", "4", (Scalars(0, 4),)),
    2: Layout("Uint16Vector", "4", (Scalars(0, 2),)),
    3: Layout("Uint8Vector", "4", (Scalars(0, 1),)),
}
SPARSITY = Layout(
    "SparsityParameters",
    "444",
    (
        Scalars(0, 4),
        Scalars(1, 4),
        Children(
            2, Layout("DimensionMetadata", "141414", (Union(3, 2, _SPARSE_INDICES), Union(5, 4, _SPARSE_INDICES)))
        ),
    ),
)
VARIANT = Layout("VariantSubType", "411", (Scalars(0, 4),))
OPERATOR_CODE = Layout("OperatorCode", "1444", (Text(1),))

# The members of the unions BuiltinOptions and BuiltinOptions2 in order of their type, from 1: name:widths.
_OPTIONS = """
Conv2D:1441441 DepthwiseConv2D:1444144 ConcatEmbeddings:444 LSHProjection:1 Pool2D:144441 SVDF:411 RNN:11
FullyConnected:111114 Softmax:4 Concatenation:41 Add:11 L2Norm:1 LocalResponseNormalization:4444 LSTM:14411
ResizeBilinear:0011 Call:4 Reshape:4 SkipGram:441 SpaceToDepth:4 EmbeddingLookupSparse:1 Mul:1 Pad: Gather:44
BatchToSpaceND: SpaceToBatchND: Transpose: Reducer:1 Sub:11 Div:1 Squeeze:4 SequenceRNN:111 StridedSlice:444441 Exp:
TopKV2: Split:4 LogSoftmax: Cast:11 Dequantize: MaximumMinimum: ArgMax:1 Less: Neg: PadV2: Greater: GreaterEqual:
LessEqual: Select: Slice: TransposeConv:14411 SparseToDense:1 Tile: ExpandDims: Equal: NotEqual: Shape:1 Pow:
ArgMin:1 FakeQuant:4441 Pack:44 LogicalOr: OneHot:4 LogicalAnd: LogicalNot: Unpack:44 FloorDiv: Square: ZerosLike:
Fill: BidirectionalSequenceLSTM:144111 BidirectionalSequenceRNN:1111 UnidirectionalSequenceLSTM:144111 FloorMod:
Range: ResizeNearestNeighbor:11 LeakyRelu:4 SquaredDifference: MirrorPad:1 Abs: SplitV:4 Unique:1 ReverseV2: AddN:
GatherNd: Cos: Where: Rank: ReverseSequence:44 MatrixDiag: Quantize: MatrixSetDiag: HardSwish: If:44 While:44
DepthToSpace:4 NonMaxSuppressionV4: NonMaxSuppressionV5: ScatterNd: SelectV2: Densify: SegmentSum: BatchMatMul:111
Cumsum:11 CallOnce:4 BroadcastTo: Rfft2d: Conv3D:14441444 Hashtable:411 HashtableFind: HashtableImport:
HashtableSize: VarHandle:44 ReadVariable: AssignVariable: Random:88 Bucketize:4 Gelu:1 DynamicUpdateSlice:
UnsortedSegmentProd: UnsortedSegmentMax: UnsortedSegmentMin: UnsortedSegmentSum: ATan2: Sign: Bitcast: BitwiseXor:
RightShift:
"""
_OPTIONS_2 = """
StablehloConcatenate:8 StablehloBroadcastInDim:4 StablehloSlice:444 StablehloConvolution:44444884884884884
StablehloCustomCall:414444 StablehloReduce:44 StablehloScatter:1444814 StablehloCompare:44 StablehloDynamicSlice:4
StablehloPad:444 StablehloIota:8 StablehloDotGeneral:44444 StablehloReduceWindow:444444 StablehloSort:814
StablehloWhile:44 StablehloGather:444841 StablehloTranspose:4 Dilate: StablehloRngBitGenerator:1 ReduceWindow:4
StableHLOComposite:44414 StablehloShiftLeft: StablehloCase:4
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
        name, widths = entry.split(":")
        layouts[code] = Layout(f"{name}Options", widths, _OPTION_OFFSETS.get(name, ()))
    return layouts


OPTIONS = _layouts(_OPTIONS)
OPTIONS_2 = _layouts(_OPTIONS_2)

_BUFFER = Layout("Buffer", "488", _vectors(1, 0))
_METADATA = Layout("Metadata", "44", (Text(0),))
_TENSOR_MAP = Layout("TensorMap", "44", (Text(0),))
_SIGNATURE_DEF = Layout("SignatureDef", "44404", (Children(0, _TENSOR_MAP), Children(1, _TENSOR_MAP), Text(2)))
_TENSOR = Layout(
    "Tensor",
    "41444144144",
    (
        Scalars(0, 4),
        Text(3),
        Child(4, QUANTIZATION),
        Child(6, SPARSITY),
        Scalars(7, 4),
        Children(9, VARIANT),
    ),
)
_OPERATOR = Layout(
    "Operator",
    "44414414488144",
    (
        *_vectors(4, 1, 2, 8),
        *_vectors(1, 5, 7),
        Union(4, 3, OPTIONS),
        Union(12, 11, OPTIONS_2),
    ),
)
_SUBGRAPH = Layout("SubGraph", "444444", (Children(0, _TENSOR), *_vectors(4, 1, 2), Children(3, _OPERATOR), Text(4)))
_EXTERNAL_BUFFER_GROUP = Layout("ExternalBufferGroup", "4", (Text(0),))
_EXTERNAL_BUFFER = Layout("ExternalBuffer", "44884", (Text(4),))
MODEL = Layout(
    "Model",
    "4444444444",
    (
        Children(1, OPERATOR_CODE),
        Children(2, _SUBGRAPH),
        Text(3),
        Children(4, _BUFFER),
        Scalars(5, 4),
        Children(6, _METADATA),
        Children(7, _SIGNATURE_DEF),
        Children(8, _EXTERNAL_BUFFER_GROUP),
        Children(9, _EXTERNAL_BUFFER),
    ),
)
"""The root table, and so all that a file can hold."""
