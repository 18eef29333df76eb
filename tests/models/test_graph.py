"""What read_graph says of ops, tensors and cut points."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import ModelFileError, ModelFormatError
from models.graph import Graph, read_graph

Models = Callable[[str], Path]


def cut_names(graph: Graph, k: int) -> list[str]:
    return [graph.tensors[index].name for index in graph.cuts[k].tensors]


@pytest.mark.parametrize("name", ["branchy", "branchy_int8", "shared", "variables", "loops", "dynamic_batch", "flex"])
def test_ends_are_the_models_own(small_model: Models, name: str) -> None:
    """There are N+1 cut points; the first has the model's inputs and the last its outputs, and both are allowed."""
    graph = read_graph(small_model(name))
    assert [cut.k for cut in graph.cuts] == list(range(len(graph.ops) + 1))
    assert [op.index for op in graph.ops] == list(range(len(graph.ops)))
    assert (graph.cuts[0].tensors, graph.cuts[-1].tensors) == (graph.inputs, graph.outputs)
    assert graph.cuts[0].allowed
    assert graph.cuts[-1].allowed
    assert all(cut.allowed == (cut.why is None) for cut in graph.cuts)


def test_cut_tensors_are_made_before_and_read_after(small_model: Models) -> None:
    """Inputs that are read late, outputs that are early and an input that is an output cross every cut between."""
    graph = read_graph(small_model("shared"))
    early, idle, late = graph.inputs
    assert graph.cuts[0].tensors == (early, idle, late)
    assert early in graph.outputs
    assert [op.kind for op in graph.ops[:3]] == ["FULLY_CONNECTED", "SIN", "FULLY_CONNECTED"]
    for k in range(1, len(graph.ops)):
        tensors = graph.cuts[k].tensors
        assert idle not in tensors
        assert early in tensors
        assert (late in tensors) == (k <= 4)
        assert (graph.ops[1].outputs[0] in tensors) == (k >= 2)
        assert graph.ops[k - 1].outputs[0] in tensors


def test_bytes_are_those_of_the_cut_tensors(small_model: Models) -> None:
    """The bytes at a cut are the sum over its tensors of elements times element size."""
    graph = read_graph(small_model("branchy_int8"))
    assert graph.cuts[0].size_bytes == 12 * 12 * 3
    assert graph.tensors[graph.ops[0].outputs[0]].size_bytes == 12 * 12 * 8
    assert graph.cuts[1].size_bytes == sum(graph.tensors[index].size_bytes for index in graph.cuts[1].tensors)


def test_residual_and_branches_cross(small_model: Models) -> None:
    """Between a branch and its join, several tensors cross."""
    assert max(len(cut.tensors) for cut in read_graph(small_model("branchy")).cuts) >= 3


def test_constant_derived_ops_are_never_live(small_model: Models) -> None:
    """An fp16 model's DEQUANTIZE ops give no cut tensors; their stored bytes are the weights of the op that reads."""
    half, full = read_graph(small_model("branchy_fp16")), read_graph(small_model("branchy"))
    constant = [op for op in half.ops if op.constant]
    assert {op.kind for op in constant} == {"DEQUANTIZE"}
    assert sum(op.weight_bytes for op in constant) == 0
    made = {index for op in constant for index in op.outputs}
    assert not any(made & set(cut.tensors) for cut in half.cuts)
    convolutions = [[op.weight_bytes for op in graph.ops if op.kind == "CONV_2D"] for graph in (half, full)]
    assert convolutions[0] == [size / 2 for size in convolutions[1]]


def test_shape_chains_of_an_open_batch_are_constant(small_model: Models) -> None:
    """With the batch bound, ops that only compute shapes are constant, and every shape is known."""
    graph = read_graph(small_model("dynamic_batch"))
    assert {op.kind for op in graph.ops if op.constant} >= {"SHAPE", "STRIDED_SLICE", "PACK"}
    assert {op.kind for op in graph.ops if not op.constant} == {"CONV_2D", "RESHAPE", "TRANSPOSE", "FULLY_CONNECTED"}
    assert not any(graph.tensors[index].dynamic for op in graph.ops for index in op.outputs)


def test_dynamic_size_stays_dynamic(small_model: Models) -> None:
    """What depends on an open height and width is dynamic, and its SHAPE an op like any other."""
    graph = read_graph(small_model("dynamic_size"))
    shape = next(op for op in graph.ops if op.kind == "SHAPE")
    assert not shape.constant
    assert graph.tensors[graph.ops[0].outputs[0]].dynamic


def test_subgraph_weights_count_for_the_op_that_runs_them(small_model: Models) -> None:
    """The weights of a loop's body are those of the WHILE op."""
    graph = read_graph(small_model("lstm"))
    loop = next(op for op in graph.ops if op.kind == "WHILE")
    assert loop.weight_bytes >= 4 * (5 * 16 + 4 * 16)


def test_resource_variables_tie_their_ops(small_model: Models) -> None:
    """From the first resource op to the last, no cut is allowed; outside it is."""
    graph = read_graph(small_model("variables"))
    resource = [op.index for op in graph.ops if op.kind in ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE")]
    for cut in graph.cuts[1:-1]:
        assert cut.allowed != (resource[0] < cut.k <= resource[-1])
    assert "share resource variables" in str(graph.cuts[resource[0] + 1].why)


def test_tensor_without_a_rank_cannot_be_cut(small_model: Models) -> None:
    """A tensor whose number of dimensions is not known before the model runs crosses no allowed cut."""
    graph = read_graph(small_model("strings"))
    assert not any(cut.allowed for cut in graph.cuts[1:-1])
    assert "no shape before the model runs" in str(graph.cuts[-2].why)


def test_flex_ops_are_listed(small_model: Models) -> None:
    """A Flex op is an op like others in the graph, under its own name."""
    graph = read_graph(small_model("flex"))
    assert [(op.kind, op.custom) for op in graph.ops] == [("SIN", False), ("FlexErf", True), ("TANH", False)]


def test_names_are_the_files(small_model: Models) -> None:
    """Cut tensors bear the names that the file gives them."""
    assert cut_names(read_graph(small_model("flex")), 0) == ["serving_default_x:0"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 a zip, not a model", "does not begin as"),
        (b"\x00\x00\x00\x10TFL3", "points to byte"),
        (b"\x08\x00\x00\x00TFL3" + bytes(64), "broken vtable"),
    ],
)
def test_files_that_are_no_model_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """The error names the file and what is wrong with it."""
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=rf"bad\.tflite: not a .*{words}"):
        read_graph(path)


def test_truncated_model_is_refused(small_model: Models, tmp_path: Path) -> None:
    """A model that lost its tail is not taken for a whole one."""
    whole = small_model("branchy").read_bytes()
    path = tmp_path / "short.tflite"
    for kept in (len(whole) // 4, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:kept])
        with pytest.raises(ModelFormatError):
            read_graph(path)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A missing file and a directory are errors that say which."""
    with pytest.raises(ModelFileError, match="No such file"):
        read_graph(tmp_path / "absent.tflite")
    with pytest.raises(ModelFileError, match="directory"):
        read_graph(tmp_path)
