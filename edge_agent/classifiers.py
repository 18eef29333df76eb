"""What classifiers want and give, read once from their files: images made into their inputs, outputs into classes."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from broker.messages import ClassScore, CodecName
from edge_agent.packing import ImageInput, packed_inputs
from models.cache import ModelCache
from models.classification import top_classes
from models.codec_figures import IMAGE_CODECS
from models.errors import ImageError
from models.graph import Tensor, read_graph
from models.image_form import ImageForm, image_form
from models.preprocessing import read_labels

CLASSIFIERS_KEPT = 16


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model that takes an image and gives scores."""

    form: ImageForm
    output: Tensor
    labels: tuple[str, ...]

    def input_of(self, image: bytes, codec: CodecName) -> ImageInput:
        """The image as an input that is made ready to travel by a codec; ImageError where it is none that can be read.

        Of a file that travels as it is only the header has been looked at: decoding it is the reader's part.
        """
        made = ImageInput(image, self.form)
        packed_inputs(made, codec if codec in IMAGE_CODECS else "raw")
        return made

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
            form = image_form(path, graph)
            if form is None:
                raise ImageError(f"{path}: the model takes {len(graph.inputs)} inputs, and an image is one")
            if len(self._known) >= CLASSIFIERS_KEPT:
                del self._known[next(iter(self._known))]
            self._known[sha256] = classifier = Classifier(
                form,
                graph.tensors[graph.outputs[0]],
                read_labels(path),
            )
            return classifier
