"""Segments on weights that are packed once for a whole model give what the interpreter gives."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chains import assert_same, made_inputs, run_file

from models.compiled import CompiledInterpreter, compiled_interpreter, pack_weights, ports_of
from models.errors import SegmentRunError
from models.graph import read_graph
from models.litert_calls import litert_calls
from models.modelfile import open_model
from models.runtime import Segment
from models.slicer import slice_model

pytestmark = pytest.mark.skipif(litert_calls() is None, reason="the installed runtime is no LiteRT that is called so")

PACKED = ["branchy", "branchy_fp16", "branchy_dynamic_range", "branchy_int8", "branchy_int16x8", "dynamic_batch"]
LEFT_TO_THE_INTERPRETER = ["dynamic_size", "dynamic_width", "loops", "lstm", "shared", "strings", "variables"]
Models = Callable[[str], Path]


def whole_of(path: Path, scratch: Path) -> Path:
    """All ops of a model as one segment."""
    whole = scratch / "whole.tflite"
    slice_model(path, 0, len(read_graph(path).ops), whole)
    return whole


def compiled(path: Path, packed: Path) -> CompiledInterpreter | None:
    """An interpreter of a file that suits."""
    with open_model(path) as model:
        ports = ports_of(model)
    assert ports is not None
    return compiled_interpreter(path, ports, packed, 1)


@pytest.mark.parametrize("name", PACKED)
def test_every_segment_on_packed_weights_is_exact(small_model: Models, tmp_path: Path, name: str) -> None:
    """Whichever segment, its outputs are the interpreter's bit for bit, and the packed file stays as it was."""
    path, packed, piece = small_model(name), tmp_path / "packed", tmp_path / "piece.tflite"
    assert pack_weights(whole_of(path, tmp_path), packed)
    content = packed.read_bytes()
    for start, stop in itertools.combinations([cut.k for cut in read_graph(path).cuts if cut.allowed], 2):
        slice_model(path, start, stop, piece)
        arrays = made_inputs(read_graph(piece), start)
        segment = Segment(piece, packed=packed)
        assert_same(segment.run(arrays), run_file(piece, arrays))
        assert_same(segment.run(arrays), run_file(piece, arrays))
        segment.close()
    assert packed.read_bytes() == content


@pytest.mark.parametrize("name", LEFT_TO_THE_INTERPRETER)
def test_what_does_not_suit_takes_the_interpreter(small_model: Models, tmp_path: Path, name: str) -> None:
    """Open sizes, several subgraphs, states and elements that numpy lacks are not packed, and run as ever."""
    path, packed = small_model(name), tmp_path / "packed"
    assert not pack_weights(path, packed)
    packed.touch()
    assert not Segment(path, packed=packed).shares_weights


def test_the_shared_memory_takes_part_in_lending(small_model: Models, tmp_path: Path) -> None:
    """What is written to the lent inputs is what the run reads."""
    path, packed = small_model("branchy"), tmp_path / "packed"
    whole = whole_of(path, tmp_path)
    pack_weights(whole, packed)
    interpreter = compiled(whole, packed)
    assert interpreter is not None
    image = made_inputs(read_graph(whole))[0]
    interpreter.tensor(interpreter.get_input_details()[0]["index"])()[:] = image
    interpreter.invoke()
    outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    assert_same(outputs, run_file(whole, [image]))


def test_weights_that_are_not_in_the_file_are_packed_in_memory(small_model: Models, tmp_path: Path) -> None:
    """A file packed from other ops serves none of these, and does no harm."""
    path, packed, piece = small_model("branchy"), tmp_path / "packed", tmp_path / "piece.tflite"
    slice_model(path, 0, 2, piece)
    assert pack_weights(piece, packed)
    whole = whole_of(path, tmp_path)
    arrays = made_inputs(read_graph(whole))
    assert_same(Segment(whole, packed=packed).run(arrays), run_file(whole, arrays))


def test_an_empty_file_is_refused(small_model: Models, tmp_path: Path) -> None:
    """As an error of the run, by which its owner knows to do without; no file at all means the interpreter."""
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    assert compiled(whole, packed) is None
    packed.touch()
    segment = Segment(whole, packed=packed)
    with pytest.raises(SegmentRunError, match=r"whole\.tflite: .*LiteRT refuses RunCompiledModel with status 3"):
        segment.run(made_inputs(read_graph(whole)))


def test_no_file_stays_open(small_model: Models, tmp_path: Path) -> None:
    """LiteRT closes what it was given, as the segment goes."""
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    pack_weights(whole, packed)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        Segment(whole, packed=packed).warm_up()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_array_of_another_type_is_never_taken(small_model: Models, tmp_path: Path) -> None:
    """The tensors' memory is copied to as it is, without conversion."""
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    pack_weights(whole, packed)
    interpreter = compiled(whole, packed)
    assert interpreter is not None
    with pytest.raises(TypeError, match="Cannot cast"):
        interpreter.set_tensor(0, np.zeros((1, 12, 12, 3), np.float64))


def test_a_path_that_toml_cannot_hold_is_not_packed(small_model: Models, tmp_path: Path) -> None:
    """A quote would end the option in which it stands."""
    assert not pack_weights(whole_of(small_model("branchy"), tmp_path), tmp_path / 'pac"ked')


def test_inputs_are_lent_and_outputs_read_in_place(
    small_model: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the interpreter: what is written to the lent memory is what the next run reads, without a copy."""
    monkeypatch.setattr("models.runtime.WORTH_IT_BYTES", 0)
    whole, packed = whole_of(small_model("branchy"), tmp_path), tmp_path / "packed"
    pack_weights(whole, packed)
    segment = Segment(whole, packed=packed)
    assert segment.shares_weights
    for seed in range(3):
        image = made_inputs(read_graph(whole), seed)[0]
        lent = segment.lend_inputs()
        assert lent is not None
        lent[0][:] = image
        assert_same(segment.run_in_place(lent), run_file(whole, [image]))
        del lent
        segment.release_outputs()
