"""How a model takes an image, by its file: the form of its one input, and what becomes of an image on the way there.

Reading images, and what their pixels become, is `models.images`'.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.graph import Graph, Quantization
from models.images import from_pixels, load_image, to_pixels
from models.preprocessing import Preprocessing, read_preprocessing


@dataclass(frozen=True, slots=True)
class ImageForm:
    """How a model takes an image: its input, of shape (1, height, width, 3 or 1), and what becomes of the pixels."""

    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    preprocessing: Preprocessing | None

    def pixels_of(self, file: bytes) -> np.ndarray[Any, Any]:
        """The pixels of an image file at the input's size; ImageError where it cannot be read."""
        return to_pixels(load_image(file), self.shape)

    def tensor_of(self, pixels: np.ndarray[Any, Any], room: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """The model's input of such pixels; a float32 one is written to `room` where that is given."""
        return from_pixels(pixels, self.dtype, self.quantization, self.preprocessing, room)


def image_form(path: Path, graph: Graph) -> ImageForm | None:
    """How the .tflite at `path`, whose graph this is, takes an image; None where it has several inputs."""
    if len(graph.inputs) != 1:
        return None
    tensor = graph.tensors[graph.inputs[0]]
    return ImageForm(tensor.shape, tensor.dtype, tensor.quantization, read_preprocessing(path))
