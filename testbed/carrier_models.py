"""Writes models that are there for what their cuts carry: one float tensor of one shape at each, and hardly a compute.

For benchmarks and tests of what lies between the computes; they need no TensorFlow.
"""

from pathlib import Path

from models.emitter import write_flatbuffer
from models.nodes import Fresh, Number, String, Tables, Vector
from models.operators import BUILTIN_NAMES
from models.schema import SCHEMA_VERSION, Model, Operator, OperatorCode, SubGraph, Tensor

_KIND = BUILTIN_NAMES.index("NEG")


def write_carrier_model(path: Path, shape: tuple[int, ...], ops: int) -> None:
    """Write to `path` a model of `ops` negations in a row, of float32 tensors of `shape`; OSError if that fails."""
    tensors = [
        Fresh(
            {
                Tensor.SHAPE: Vector.of("i", shape),
                Tensor.BUFFER: Number("I", 0),
                Tensor.NAME: String(f"carried_{number}".encode()),
            }
        )
        for number in range(ops + 1)
    ]
    operators = [
        Fresh(
            {
                Operator.OPCODE_INDEX: Number("I", 0),
                Operator.INPUTS: Vector.of("i", [number]),
                Operator.OUTPUTS: Vector.of("i", [number + 1]),
            }
        )
        for number in range(ops)
    ]
    main = Fresh(
        {
            SubGraph.TENSORS: Tables(tensors),
            SubGraph.INPUTS: Vector.of("i", [0]),
            SubGraph.OUTPUTS: Vector.of("i", [ops]),
            SubGraph.OPERATORS: Tables(operators),
            SubGraph.NAME: String(b"main"),
        }
    )
    code = Fresh(
        {
            OperatorCode.DEPRECATED_CODE: Number("b", _KIND),
            OperatorCode.VERSION: Number("i", 1),
            OperatorCode.CODE: Number("i", _KIND),
        }
    )
    root = Fresh(
        {
            Model.VERSION: Number("I", SCHEMA_VERSION),
            Model.OPERATOR_CODES: Tables([code]),
            Model.SUBGRAPHS: Tables([main]),
            Model.BUFFERS: Tables([Fresh({})]),
        }
    )
    write_flatbuffer(root, b"TFL3", path)
