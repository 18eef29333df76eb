"""Files that are valid byte by byte and yet would cost too much are refused in bounded time and memory."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from models.emitter import write_flatbuffer
from models.errors import ModelFormatError
from models.graph import MAX_OPS, read_graph
from models.modelfile import open_model
from models.nodes import Fresh, Node, Number, String, Tables, Vector
from models.operators import BUILTIN_NAMES
from models.schema import IDENTIFIER, Model, Operator, OperatorCode, SubGraph, Tensor


def write_model(path: Path, kind: str, tensors: list[Fresh], operators: list[Fresh]) -> Path:
    """A model with one subgraph and one operator code."""
    subgraph: dict[int, Number | Node] = {
        SubGraph.TENSORS: Tables(tensors),
        SubGraph.INPUTS: Vector.of("i", [0]),
        SubGraph.OUTPUTS: Vector.of("i", [0]),
        SubGraph.OPERATORS: Tables(operators),
    }
    code = Fresh({OperatorCode.CODE: Number("i", BUILTIN_NAMES.index(kind))})
    root = Fresh(
        {
            Model.VERSION: Number("I", 3),
            Model.OPERATOR_CODES: Tables([code]),
            Model.SUBGRAPHS: Tables([Fresh(subgraph)]),
            Model.BUFFERS: Tables([Fresh({})]),
        }
    )
    write_flatbuffer(root, IDENTIFIER, path)
    return path


def tensor(*shape: int) -> Fresh:
    return Fresh({Tensor.SHAPE: Vector.of("i", shape), Tensor.NAME: String(b"t")})


def operator(inputs: list[int], outputs: list[int]) -> Fresh:
    return Fresh({Operator.INPUTS: Vector.of("i", inputs), Operator.OUTPUTS: Vector.of("i", outputs)})


def test_written_model_is_read(tmp_path: Path) -> None:
    """What the emitter writes, the reader reads."""
    path = write_model(tmp_path / "model.tflite", "RELU", [tensor(2), tensor(2)], [operator([0], [1])])
    graph = read_graph(path)
    assert [op.kind for op in graph.ops] == ["RELU"]
    assert graph.tensors[1].shape == (2,)


def test_too_many_ops_are_refused(tmp_path: Path) -> None:
    """A model of more ops than a plan can name is refused."""
    path = write_model(tmp_path / "model.tflite", "RELU", [tensor(2)] * 2, [operator([0], [1])] * (MAX_OPS + 1))
    with pytest.raises(ModelFormatError, match=f"has {MAX_OPS + 1} ops"):
        read_graph(path)


@pytest.mark.parametrize(
    ("operators", "words"),
    [
        ([operator([1], [2]), operator([0], [1])], "reads tensor 1, which nothing has made"),
        ([operator([0], [1]), operator([0], [1])], "is made twice"),
        ([operator([0], [0])], "is made twice"),
        ([operator([7], [1])], "names tensor 7 of 3"),
        ([operator([0], [-1])], "names tensor -1 of 3"),
    ],
)
def test_graphs_that_no_runtime_could_execute_are_refused(tmp_path: Path, operators: list[Fresh], words: str) -> None:
    """Tensors that do not exist, are made twice, or are read too early are named."""
    path = write_model(tmp_path / "model.tflite", "RELU", [tensor(2), tensor(2), tensor(2)], operators)
    with pytest.raises(ModelFormatError, match=words):
        read_graph(path)


def test_one_long_vector_shared_by_many_tables_is_refused(tmp_path: Path) -> None:
    """A small file whose tables all share one long vector does not unfold into gigabytes."""
    path = write_model(tmp_path / "model.tflite", "RELU", [tensor(*[1] * 20_000)] * 2, [operator([0], [1])])
    with open_model(path) as model:
        first = next(model.root.tables(Model.SUBGRAPHS)).target(SubGraph.TENSORS)
        assert first is not None
    content = bytearray(path.read_bytes())
    content += bytes(-len(content) % 4)
    one = first + 4 + int.from_bytes(content[first + 4 : first + 8], "little")
    copies = 20_000
    start = len(content)
    content += copies.to_bytes(4, "little")
    # Offsets are unsigned, so that a vector at the end can only point back by wrapping, which is refused too;
    # therefore the one long tensor moves behind the vector.
    moved = bytes(content[:start])
    target = start + 4 + 4 * copies
    for index in range(copies):
        content += (target + one - (start + 4 + 4 * index)).to_bytes(4, "little")
    content += moved
    with open_model(path) as model:
        field = next(model.root.tables(Model.SUBGRAPHS)).field(SubGraph.TENSORS, 4)
        assert field is not None
    content[field : field + 4] = (start - field).to_bytes(4, "little")
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelFormatError, match="hold more than"):
        read_graph(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kilobytes


def test_vector_longer_than_the_file_is_never_allocated(tmp_path: Path, small_model: Callable[[str], Path]) -> None:
    """A vector that claims 4 GB in a file of kilobytes is refused by its length alone."""
    with open_model(small_model("branchy")) as model:
        position = next(model.root.tables(Model.SUBGRAPHS)).target(SubGraph.INPUTS)
        content = bytearray(model.flatbuffer.data)
    assert position is not None
    content[position : position + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "long.tflite").write_bytes(content)
    with pytest.raises(ModelFormatError, match="runs past the end"):
        read_graph(tmp_path / "long.tflite")
