"""What classifiers want and give, read once from their files: images made into their inputs, outputs into classes."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from broker.messages import ClassScore
from models.cache import ModelCache
from models.classification import top_classes
from models.graph import Tensor, read_graph
from models.images import load_image, to_input
from models.preprocessing import Preprocessing, read_labels, read_preprocessing

CLASSIFIERS_KEPT = 16


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model that takes an image and gives scores."""

    input: Tensor
    output: Tensor
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]

    def input_of(self, image: bytes) -> np.ndarray[Any, Any]:
        """The image as the model takes it; ImageError where it is none that can be read."""
        return to_input(
            load_image(image), self.input.shape, self.input.dtype, self.input.quantization, self.preprocessing
        )

    def best(self, output: np.ndarray[Any, Any], top: int) -> tuple[ClassScore, ...]:
        """The `top` classes of the model's output, the best first; ModelError where it is no vector of scores."""
        best = top_classes(output, top, self.labels, self.output.quantization)
        return tuple(ClassScore(index=one.index, label=one.label, score=one.score) for one in best)


class Classifiers:
    """The classifiers of the models in a cache; may be used by several threads."""

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._known: dict[str, Classifier] = {}

    def of(self, sha256: str) -> Classifier | None:
        """The model with this digest; None where it is not in the cache. ModelError where it cannot be read."""
        with self._lock:
            known = self._known.get(sha256)
            path = self._cache.get(sha256) if known is None else None
            if path is None:
                return known
            graph = read_graph(path)
            if len(self._known) >= CLASSIFIERS_KEPT:
                del self._known[next(iter(self._known))]
            self._known[sha256] = classifier = Classifier(
                graph.tensors[graph.inputs[0]],
                graph.tensors[graph.outputs[0]],
                read_preprocessing(path),
                read_labels(path),
            )
            return classifier
