"""Segments that read and write the runtime's own memory: equal to those that copy, and never overwritten in use."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.graph import read_graph
from models.runtime import Segment
from models.runtime_memory import is_runtime_memory, own
from models.slicer import slice_model
from testbed.carrier_models import write_carrier_model

SHAPE = (1, 80, 80, 3)  # 76,800 bytes: worth being read in place
Models = Callable[[str], Path]


@pytest.fixture
def carrier(tmp_path: Path) -> Segment:
    """A segment that negates what it is given."""
    path = tmp_path / "carrier.tflite"
    write_carrier_model(path, SHAPE, ops=1)
    return Segment(path)


def filled(value: float) -> np.ndarray:
    return np.full(SHAPE, value, np.float32)


def lent(segment: Segment, value: float) -> tuple[np.ndarray, ...]:
    """The segment's input memory, filled as tensors that come in would be."""
    arrays = segment.lend_inputs()
    assert arrays is not None
    for array in arrays:
        array[...] = value
    return arrays


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.tuples(st.just(1), *[st.integers(1, 90)] * 2, st.integers(1, 4)), seed=st.integers(0, 2**32 - 1))
def test_a_run_in_place_equals_one_that_copies(tmp_path: Path, shape: tuple[int, ...], seed: int) -> None:
    """Of every size, lent or given, the outputs are the same bit for bit, from one run to the next."""
    path = tmp_path / "model.tflite"
    write_carrier_model(path, shape, ops=2)
    copying, in_place = Segment(path), Segment(path)
    random = np.random.default_rng(seed)
    for _ in range(3):
        values = random.standard_normal(shape, np.float32)
        arrays = in_place.lend_inputs()
        if arrays is None:
            arrays = (values,)
        else:
            arrays[0][...] = values
        [output] = in_place.run_in_place(arrays)
        assert np.array_equal(output, copying.run([values])[0])
        in_place.release_outputs()


@pytest.mark.parametrize(
    "name", ["branchy", "branchy_int8", "dynamic_batch", "dynamic_size", "loops", "variables", "shared"]
)
def test_every_kind_of_segment_gives_the_same_in_place(small_model: Models, tmp_path: Path, name: str) -> None:
    """Branches, integers, open dimensions, inner graphs and variables: where nothing can be lent, the run copies."""
    path = tmp_path / "segment.tflite"
    slice_model(small_model(name), 0, len(read_graph(small_model(name)).ops), path)
    copying, in_place = Segment(path), Segment(path)
    random = np.random.default_rng(0)
    for _ in range(2):
        values = [(3 * random.standard_normal(spec.shape)).astype(spec.dtype) for spec in copying.inputs]
        expected = copying.run(values)
        arrays = in_place.lend_inputs()
        if arrays is not None:
            for array, value in zip(arrays, values, strict=True):
                array[...] = value
        outputs = in_place.run_in_place(arrays or values)
        assert all(map(np.array_equal, outputs, expected))
        in_place.release_outputs()


def test_large_tensors_are_not_copied(carrier: Segment) -> None:
    """What is lent is what the runtime reads, and what it gives is what it has written, for reading only."""
    arrays = lent(carrier, 2.0)
    [output] = carrier.run_in_place(arrays)
    assert is_runtime_memory(output)
    assert not output.flags.writeable
    assert output.max() == -2.0
    [again] = carrier.run_in_place(arrays)
    assert np.shares_memory(output, again)


def test_small_tensors_are_copied(tmp_path: Path) -> None:
    """Below what it is worth nothing is lent, and the outputs are the caller's own."""
    path = tmp_path / "small.tflite"
    write_carrier_model(path, (1, 4, 4, 3), ops=1)
    small = Segment(path)
    assert small.lend_inputs() is None
    assert not is_runtime_memory(small.run_in_place([np.zeros((1, 4, 4, 3), np.float32)])[0])


def test_what_run_returns_is_the_callers_own(carrier: Segment) -> None:
    """The next run changes nothing of it."""
    [first] = carrier.run([filled(1.0)])
    carrier.run([filled(2.0)])
    assert first.max() == -1.0


def test_views_are_made_the_callers_own(carrier: Segment) -> None:
    """What is the runtime's is copied, views of it among it; the rest stays what it is."""
    array = filled(1.0)
    [output] = carrier.run_in_place([array])
    kept, row, same = own([output, output.reshape(-1)[:5], array])
    assert same is array
    carrier.run_in_place([filled(2.0)])
    assert kept.max() == row.max() == -1.0


def test_the_memory_is_lent_to_one_at_a_time(carrier: Segment) -> None:
    """While somebody holds it nobody else gets it; once the arrays are gone, as after a failed transfer, they do."""
    arrays = carrier.lend_inputs()
    assert arrays is not None
    assert carrier.lend_inputs() is None
    del arrays
    gc.collect()
    assert carrier.lend_inputs() is not None


def test_nothing_is_lent_while_outputs_are_in_use(carrier: Segment) -> None:
    """The runtime may keep inputs and outputs in one place, so what comes in would overwrite what goes out."""
    outputs = carrier.run_in_place([filled(1.0)])
    assert carrier.lend_inputs() is None
    assert outputs[0].max() == -1.0
    carrier.release_outputs()
    assert carrier.lend_inputs() is not None


def test_a_run_between_leaves_what_is_being_written_alone(carrier: Segment) -> None:
    """A request that has to run while another's tensors come in gives its own result, and so does that other one."""
    arrays = lent(carrier, 5.0)
    arrays[0][0, :40] = 7.0
    assert carrier.run([filled(1.0)])[0].max() == -1.0
    arrays[0][0, 40:] = 7.0
    [output] = carrier.run_in_place(arrays)
    assert output.min() == output.max() == -7.0
    carrier.release_outputs()
    assert carrier.lend_inputs() is None


def test_what_was_lent_outlives_the_segment(tmp_path: Path) -> None:
    """A segment may be closed and freed while tensors come in for it: they are still written into memory."""
    path = tmp_path / "model.tflite"
    write_carrier_model(path, SHAPE, ops=1)
    segment = Segment(path)
    arrays = lent(segment, 1.0)
    segment.close()
    del segment
    gc.collect()
    arrays[0][...] = 3.0
    assert arrays[0].min() == 3.0


def test_a_segment_with_a_state_lends_nothing(small_model: Models) -> None:
    """It must never be loaded anew."""
    assert Segment(small_model("variables")).lend_inputs() is None
