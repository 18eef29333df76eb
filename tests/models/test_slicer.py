"""Segments cut out of a .tflite give, chained, what the whole model gives."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chains import assert_every_cut_exact, assert_same, made_inputs, run_chain, run_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import CutError, ModelError, ModelFileError
from models.graph import read_graph
from models.modelfile import open_model
from models.runtime import Segment
from models.slicer import slice_model

EXACT = [
    "branchy",
    "branchy_fp16",
    "branchy_dynamic_range",
    "branchy_int8",
    "branchy_int16x8",
    "dynamic_batch",
    "dynamic_size",
    "dynamic_width",
    "loops",
    "lstm",
    "attention",
    "variables",
    "signatures",
    "shared",
]
Models = Callable[[str], Path]


@pytest.mark.parametrize("name", EXACT)
def test_every_allowed_cut_is_exact(small_model: Models, tmp_path: Path, name: str) -> None:
    """Two segments give the whole model's outputs bit for bit, wherever the cut is allowed."""
    assert assert_every_cut_exact(small_model(name), tmp_path) >= 2


@pytest.mark.parametrize(("name", "quantize"), [("mobilenetv2", "none"), ("mobilenetv2", "int8"), ("alexnet", "none")])
def test_every_cut_of_a_zoo_model_is_exact(
    zoo_model: Callable[..., Path], tmp_path: Path, name: str, quantize: str
) -> None:
    """The zoo's models allow every cut, and all are exact."""
    path = zoo_model(name, quantize)
    assert assert_every_cut_exact(path, tmp_path) == len(read_graph(path).ops) + 1


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_chains_are_exact(small_model: Models, tmp_path: Path, name: str, data: st.DataObject) -> None:
    """A chain of any number of segments, relays among them, gives the whole model's outputs bit for bit."""
    graph = read_graph(small_model(name))
    allowed = [cut.k for cut in graph.cuts if cut.allowed]
    between = data.draw(st.lists(st.sampled_from(allowed), max_size=6).map(sorted))
    arrays = made_inputs(graph, data.draw(st.integers(0, 2**32)))
    chained = run_chain(small_model(name), (0, *between, len(graph.ops)), arrays, tmp_path)
    assert_same(chained, run_file(small_model(name), arrays))


@pytest.mark.parametrize("name", ["branchy", "branchy_int8", "dynamic_batch", "loops", "shared"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_slices_compose(small_model: Models, tmp_path: Path, name: str, data: st.DataObject) -> None:
    """A segment of a segment computes what the same ops cut from the model at once compute."""
    path = small_model(name)
    graph = read_graph(path)
    allowed = [cut.k for cut in graph.cuts if cut.allowed]
    start, stop = sorted(data.draw(st.lists(st.sampled_from(allowed), min_size=2, max_size=2, unique=True)))
    outer, inner, straight = tmp_path / "outer.tflite", tmp_path / "inner.tflite", tmp_path / "straight.tflite"
    slice_model(path, 0, stop, outer)
    # Constant ops are folded away or doubled, so that ops are found again by the tensors that they make.
    cut = {graph.tensors[index].name for index in graph.cuts[start].tensors}
    segment = read_graph(outer)
    inner_start = next(
        (point.k for point in segment.cuts if {segment.tensors[index].name for index in point.tensors} == cut), None
    )
    if inner_start is None or inner_start == len(segment.ops):
        return
    slice_model(outer, inner_start, len(segment.ops), inner)
    slice_model(path, start, stop, straight)
    first, second = Segment(inner), Segment(straight)
    assert {spec.name: spec for spec in first.inputs} == {spec.name: spec for spec in second.inputs}
    random = np.random.default_rng(0)
    made = {spec.name: (10 * random.standard_normal(spec.shape)).astype(spec.dtype) for spec in second.inputs}
    assert_same(
        first.run([made[spec.name] for spec in first.inputs]), second.run([made[spec.name] for spec in second.inputs])
    )


def test_dynamic_size_is_kept(small_model: Models, tmp_path: Path) -> None:
    """Where height and width are dynamic, the segments take whatever size the whole model takes."""
    path = small_model("dynamic_size")
    image = np.random.default_rng(3).standard_normal((1, 17, 23, 3)).astype(np.float32)
    assert assert_every_cut_exact(path, tmp_path, [image]) == len(read_graph(path).ops) + 1


def test_dynamic_batch_is_bound(small_model: Models, tmp_path: Path) -> None:
    """The segments of a model with an open batch are static, so that the runtime can plan them as a whole."""
    path = small_model("dynamic_batch")
    for k in range(1, len(read_graph(path).ops)):
        slice_model(path, 0, k, tmp_path / "head.tflite")
        head = read_graph(tmp_path / "head.tflite")
        assert not any(tensor.dynamic for tensor in head.tensors)
        assert not {"SHAPE", "PACK"} & {op.kind for op in head.ops}


def test_names_order_and_quantisation_are_kept(small_model: Models, tmp_path: Path) -> None:
    """A segment's inputs and outputs are the cut tensors in order, as the whole model names and quantises them."""
    path = small_model("branchy_int8")
    graph = read_graph(path)
    whole = Segment(path)._interpreter.get_tensor_details()
    quantised = {detail["name"]: detail["quantization"] for detail in whole}
    slice_model(path, 2, 6, tmp_path / "middle.tflite")
    middle = Segment(tmp_path / "middle.tflite")
    assert [spec.name for spec in middle.inputs] == [graph.tensors[index].name for index in graph.cuts[2].tensors]
    assert [spec.name for spec in middle.outputs] == [graph.tensors[index].name for index in graph.cuts[6].tensors]
    for detail in (*middle._interpreter.get_input_details(), *middle._interpreter.get_output_details()):
        assert detail["quantization"] == quantised[detail["name"]]


def test_only_the_weights_that_are_needed_are_kept(small_model: Models, tmp_path: Path) -> None:
    """The other signature's subgraph and its weights are not in a segment."""
    path = small_model("signatures")
    slice_model(path, 0, len(read_graph(path).ops), tmp_path / "one.tflite")
    assert path.stat().st_size > 8_000
    assert (tmp_path / "one.tflite").stat().st_size < 2_000


@pytest.mark.parametrize(
    ("start", "stop", "words"),
    [
        (0, 99, "0..9"),
        (-1, 3, "0..9"),
        (5, 2, "rising order"),
        (3, 3, "relays"),
    ],
)
def test_range_is_checked(small_model: Models, tmp_path: Path, start: int, stop: int, words: str) -> None:
    """A segment that does not exist, or is empty, is refused with the range that does exist."""
    words = words.replace("9", str(len(read_graph(small_model("branchy")).ops)))
    with pytest.raises(CutError, match=words):
        slice_model(small_model("branchy"), start, stop, tmp_path / "out.tflite")
    assert not list(tmp_path.iterdir())


def test_forbidden_cut_is_refused_with_its_reason(small_model: Models, tmp_path: Path) -> None:
    """A cut inside a range of resource variables is refused, and the words say what ties the ops together."""
    with pytest.raises(CutError, match=r"CALL_ONCE.*share resource variables"):
        slice_model(small_model("variables"), 0, 3, tmp_path / "out.tflite")


def test_flex_op_is_refused_where_it_is_held(small_model: Models, tmp_path: Path) -> None:
    """A range that holds a Flex op is refused by its index and kind; one beside it is cut."""
    with pytest.raises(CutError, match=r"op 1 is FlexErf.*TFLITE_BUILTINS"):
        slice_model(small_model("flex"), 0, 3, tmp_path / "out.tflite")
    slice_model(small_model("flex"), 2, 3, tmp_path / "tail.tflite")
    one = np.ones((1, 4), np.float32)
    assert run_file(tmp_path / "tail.tflite", [one])[0] == pytest.approx(np.tanh(one), abs=1e-6)


def test_output_is_written_whole_or_not_at_all(small_model: Models, tmp_path: Path) -> None:
    """What stood at the output stays there when the segment cannot be cut or written, and no part is left over."""
    out = tmp_path / "out.tflite"
    out.write_bytes(b"precious")
    with pytest.raises(CutError):
        slice_model(small_model("variables"), 0, 3, out)
    with pytest.raises(ModelFileError, match="cannot be written"):
        slice_model(small_model("branchy"), 0, 3, tmp_path / "no" / "out.tflite")
    with pytest.raises(ModelFileError, match="it is a directory"):
        slice_model(small_model("branchy"), 0, 3, Path())
    assert [path.name for path in tmp_path.iterdir()] == ["out.tflite"]
    assert out.read_bytes() == b"precious"


def test_model_is_never_overwritten_by_its_segment(small_model: Models, tmp_path: Path) -> None:
    """The file that is cut is refused as the output."""
    path = tmp_path / "model.tflite"
    path.write_bytes(small_model("branchy").read_bytes())
    with pytest.raises(CutError, match="overwrite"):
        slice_model(path, 0, 3, path)


@pytest.mark.parametrize("name", ["branchy", "branchy_int8", "dynamic_batch", "loops", "variables"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_never_worse_than_a_model_error(
    small_model: Models, tmp_path: Path, name: str, data: st.DataObject
) -> None:
    """Whatever bytes are flipped or lost, reading and cutting end well or with a ModelError."""
    damaged = bytearray(small_model(name).read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=4)):
        damaged[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.tflite"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))])
    try:
        graph = read_graph(path)
        allowed = [cut.k for cut in graph.cuts if cut.allowed]
        slice_model(path, 0, data.draw(st.sampled_from(allowed)), tmp_path / "out.tflite")
    except ModelError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["branchy", "branchy_int8", "dynamic_batch", "shared"])
def test_a_buffer_keeps_its_number_in_every_segment(small_model: Models, tmp_path: Path, name: str) -> None:
    """So that what a runtime keeps by a buffer's number is right for all segments of the model."""
    path = small_model(name)
    held: dict[int, bytes] = {}
    for start, stop in itertools.combinations([cut.k for cut in read_graph(path).cuts if cut.allowed], 2):
        slice_model(path, start, stop, tmp_path / "piece.tflite")
        with open_model(tmp_path / "piece.tflite") as piece:
            for index in range(len(piece.buffers)):
                data = bytes(piece.buffer_data(index))
                if data:
                    assert held.setdefault(index, data) == data
