"""A classifier's output: the best classes, with probabilities, whatever form the model gives them in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from models.classification import ScoredClass, top_classes
from models.errors import NotAClassifierError
from models.graph import Quantization


def test_a_distribution_is_shown_as_it_is() -> None:
    """Probabilities are not put through a softmax again."""
    output = np.array([[0.1, 0.7, 0.2]], np.float32)
    assert [(c.index, c.label, round(c.score, 6)) for c in top_classes(output, 2, ["cat", "dog", "cow"])] == [
        (1, "dog", 0.7),
        (2, "cow", 0.2),
    ]


def test_logits_become_probabilities() -> None:
    """Scores that are no distribution go through a softmax, however large they are."""
    best, second = top_classes(np.array([1000.0, 1000.0 + np.log(3.0)]), 2)
    assert (best.index, second.index) == (1, 0)
    assert best.score == pytest.approx(0.75)


@pytest.mark.parametrize(("kind", "zero_point"), [(np.int8, -128), (np.uint8, 0)])
def test_a_quantised_softmax_is_recognised(kind: type, zero_point: int) -> None:
    """The output of a quantised SOFTMAX is probabilities, even where rounding has lost many of them."""
    output = np.full((1, 1000), zero_point, kind)
    output[0, 7] += 64
    (best,) = top_classes(output, 1, quantization=Quantization(1 / 256, zero_point))
    assert best == ScoredClass(7, "class 7", 0.25)


def test_quantised_logits_become_probabilities() -> None:
    """Other quantised outputs are logits."""
    (best,) = top_classes(np.array([[10, 0]], np.int8), 1, quantization=Quantization(0.5, 4))
    assert best.score == pytest.approx(1 / (1 + np.exp(-5.0)))


def test_classes_without_a_name_have_a_number() -> None:
    """Too few or empty labels leave the class's number."""
    assert [c.label for c in top_classes(np.array([0.5, 0.3, 0.2]), 3, ["", "b"])] == ["class 0", "b", "class 2"]


def test_more_than_there_are_is_all() -> None:
    """Asking for more classes than the model has gives those it has."""
    assert len(top_classes(np.array([0.5, 0.5]), 10)) == 2


@pytest.mark.parametrize("output", [np.zeros((1, 7, 7, 5)), np.zeros((2, 10)), np.zeros((1, 0)), np.float32(1)])
def test_another_shape_is_no_classifier(output: np.ndarray) -> None:
    """Feature maps, batches and nothing at all are refused in one sentence."""
    with pytest.raises(NotAClassifierError, match="holds no class scores"):
        top_classes(output, 5)


def test_values_that_are_no_numbers_are_refused() -> None:
    """A model that went astray gives an error, not an order at random."""
    with pytest.raises(NotAClassifierError, match="not finite numbers"):
        top_classes(np.array([0.1, np.nan]), 1)


@given(numpy_strategies.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32)))
def test_scores_are_probabilities_in_order(output: np.ndarray) -> None:
    """Whatever the output, all scores are probabilities, best first, that sum to one."""
    scores = [c.score for c in top_classes(output, len(output))]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.0
    assert sum(scores) == pytest.approx(1.0, abs=0.011)
