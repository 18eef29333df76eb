"""A classifier's output made readable: its best classes with their names and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import NotAClassifierError
from models.graph import Quantization

# TensorFlow Lite fixes SOFTMAX's output to this scale, with the zero point at the type's least value
# (https://ai.google.dev/edge/litert/models/quantization_spec).
_SOFTMAX_SCALE = 1.0 / 256.0
_SUM_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One class of an answer: its place in the output, its name and its probability (0..1)."""

    index: int
    label: str
    score: float


def top_classes(
    output: NDArray[Any], k: int, labels: Sequence[str] = (), quantization: Quantization | None = None
) -> tuple[ScoredClass, ...]:
    """The `k` likeliest classes of an output of shape (classes,) or (1, ..., classes), best first.

    An output that is no distribution yet (logits) goes through a softmax. A class without a label is "class 7".
    NotAClassifierError where the output has another shape or values that are no numbers.
    """
    scores = np.asarray(output)
    if scores.size == 0 or scores.ndim == 0 or scores.size != scores.shape[-1]:
        raise NotAClassifierError(f"an output of shape {scores.shape} holds no class scores, which have (1, classes)")
    values = scores.reshape(-1).astype(np.float64)
    if quantization is not None:
        values = (values - quantization.zero_point) * quantization.scale
    if not np.isfinite(values).all():
        raise NotAClassifierError("the model's output has values that are not finite numbers")
    if not _is_distribution(values, scores.dtype, quantization):
        exponentials = np.exp(values - values.max())
        values = exponentials / exponentials.sum()
    best = np.argsort(-values, kind="stable")[:k]
    return tuple(ScoredClass(int(index), _label(labels, int(index)), float(values[index])) for index in best)


def _is_distribution(values: NDArray[np.float64], dtype: np.dtype[Any], quantization: Quantization | None) -> bool:
    if dtype.kind in "iu" and quantization is not None:
        # Rounded to 256 steps, a thousand probabilities need not sum to nearly one.
        return quantization.scale == _SOFTMAX_SCALE and quantization.zero_point == np.iinfo(dtype).min
    return bool(values.min() >= 0.0 and abs(values.sum() - 1.0) <= _SUM_TOLERANCE)


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) and labels[index] else f"class {index}"
