"""The models that `splitrail convert` knows by name: how Keras builds each, and how each wants its images.

Weights are left to `models.weights`; Keras is imported only when a model is built.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.errors import ConversionError
from models.preprocessing import PREPROCESSINGS, Preprocessing


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A classifier of 1000 classes: `build(weights)` makes its Keras model, with ImageNet's weights or untrained."""

    name: str
    preprocessing: Preprocessing
    has_imagenet_weights: bool
    build: Callable[[str | None], Any]


def find_zoo_model(name: str) -> ZooModel:
    """The zoo model of this name; ConversionError names those there are, and the nearest."""
    if name in ZOO:
        return ZOO[name]
    nearest = difflib.get_close_matches(name.lower(), ZOO, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise ConversionError(
        f"{name!r} is neither a zoo model ({', '.join(ZOO)}) nor an existing .keras file or SavedModel{hint}"
    )


def _build_alexnet(_weights: str | None) -> Any:
    """AlexNet for 227 x 227 images, in a single tower.

    Widths, kernels and strides are those of Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
    Convolutional Neural Networks" (2012). As in torchvision's form of it, the two towers are one (no groups), and
    there is no local response normalisation. The paper's 224 pixels give its 55 x 55 outputs only if they are 227.
    """
    from keras import Sequential, layers  # noqa: PLC0415  # seconds and a gigabyte that only conversion needs

    return Sequential(
        [
            layers.Input((227, 227, 3)),
            layers.Conv2D(96, 11, strides=4, activation="relu", name="conv1"),
            layers.MaxPooling2D(3, 2, name="pool1"),
            layers.Conv2D(256, 5, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(3, 2, name="pool2"),
            layers.Conv2D(384, 3, padding="same", activation="relu", name="conv3"),
            layers.Conv2D(384, 3, padding="same", activation="relu", name="conv4"),
            layers.Conv2D(256, 3, padding="same", activation="relu", name="conv5"),
            layers.MaxPooling2D(3, 2, name="pool5"),
            layers.Flatten(name="flatten"),
            layers.Dense(4096, activation="relu", name="fc6"),
            layers.Dense(4096, activation="relu", name="fc7"),
            layers.Dense(1000, activation="softmax", name="fc8"),
        ],
        name="alexnet",
    )


def _build_vgg16(weights: str | None) -> Any:
    """VGG16 for 224 x 224 images, as keras.applications has it."""
    from keras.applications import VGG16  # noqa: PLC0415  # as above

    return VGG16(weights=weights)


def _build_resnet50(weights: str | None) -> Any:
    """ResNet50 for 224 x 224 images, as keras.applications has it."""
    from keras.applications import ResNet50  # noqa: PLC0415  # as above

    return ResNet50(weights=weights)


def _build_mobilenetv2(weights: str | None) -> Any:
    """MobileNetV2 of width 1.0 for 224 x 224 images, as keras.applications has it."""
    from keras.applications import MobileNetV2  # noqa: PLC0415  # as above

    return MobileNetV2(weights=weights)


ZOO = {
    model.name: model
    for model in (
        ZooModel("alexnet", PREPROCESSINGS["torch"], False, _build_alexnet),
        ZooModel("resnet50", PREPROCESSINGS["caffe"], True, _build_resnet50),
        ZooModel("vgg16", PREPROCESSINGS["caffe"], True, _build_vgg16),
        ZooModel("mobilenetv2", PREPROCESSINGS["tf"], True, _build_mobilenetv2),
    )
}
