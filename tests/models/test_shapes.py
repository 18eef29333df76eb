"""Shape inference and partial evaluation, held against numpy where numpy knows the answer."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.shapes import MAX_DIMENSION, OpView, Shape, Value, broadcast, elements, infer, reshaped


def value(*items: int | None) -> Value:
    return Value((len(items),), items)


def hide(data: st.DataObject, shape: tuple[int, ...]) -> Shape:
    """The shape with some dimensions unknown."""
    return tuple(None if data.draw(st.booleans()) else dimension for dimension in shape)


def agrees(known: Shape, true: tuple[int, ...]) -> bool:
    return len(known) == len(true) and all(a in (None, b) for a, b in zip(known, true, strict=True))


@given(st.data(), arrays.mutually_broadcastable_shapes(num_shapes=2, min_side=1))
def test_broadcasting_is_numpys(data: st.DataObject, shapes: arrays.BroadcastableShapes) -> None:
    """Known shapes broadcast as numpy's do; with unknown dimensions, what is said is still true."""
    assert broadcast(shapes.input_shapes) == shapes.result_shape
    assert agrees(broadcast([hide(data, shape) for shape in shapes.input_shapes]), shapes.result_shape)


@given(st.lists(st.integers(1, 6), max_size=4), st.data())
def test_reshape_is_numpys(shape: list[int], data: st.DataObject) -> None:
    """A -1 takes what remains, as in numpy; of an unknown shape it stays unknown."""
    size = prod(shape)
    first = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    assert reshaped(tuple(shape), (first, -1)) == np.zeros(shape).reshape(first, -1).shape
    assert reshaped((None, *shape), (first, -1)) == (first, None)


@given(arrays.array_shapes(min_dims=2, max_dims=4), st.data())
def test_transpose_reduction_and_slice_are_numpys(shape: tuple[int, ...], data: st.DataObject) -> None:
    """The rules for permuted, reduced and sliced dimensions agree with numpy's results."""
    array, unknown = np.zeros(shape), (None,) * len(shape)
    order = data.draw(st.permutations(range(len(shape))))
    seen = hide(data, shape)
    transposed = infer(OpView("TRANSPOSE", (seen, (len(order),)), (None, value(*order)), None), unknown)
    assert agrees(transposed, array.transpose(order).shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    summed = infer(OpView("SUM", (seen, (1,)), (None, value(axis)), None), unknown[1:])
    assert agrees(summed, array.sum(axis).shape)
    begin = [data.draw(st.integers(0, dimension - 1)) for dimension in shape]
    rest = value(*[-1] * len(shape))
    sliced = infer(OpView("SLICE", (shape, None, None), (None, value(*begin), rest), None), unknown)
    assert sliced == array[tuple(slice(first, None) for first in begin)].shape


def test_only_what_the_file_leaves_open_is_inferred() -> None:
    """Where the file states a dimension, the file is believed."""
    assert infer(OpView("RELU", ((7, 5),), (None,), None), (None, 9)) == (7, 9)


@pytest.mark.parametrize("target", [(-2, 3), (MAX_DIMENSION + 1, 1)])
def test_impossible_dimensions_are_not_believed(target: tuple[int, ...]) -> None:
    """A dimension that no file could state is left unknown."""
    view = OpView("RESHAPE", ((6,), (2,)), (None, value(*target)), None)
    assert infer(view, (None, None)) == (None, None)


def test_unknown_ops_and_dimensions_stay_unknown() -> None:
    """What no rule covers is not guessed."""
    assert infer(OpView("WHERE", ((3, 4),), (None,), None), (None, 2)) == (None, 2)
    assert elements((2, None)) is None
    assert value(1, None).known() is None
