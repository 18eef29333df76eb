"""Where a zoo model's weights come from: ImageNet's through Keras, a file, or a seeded draw that stays lively."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.calibration import calibration_samples
from models.errors import ConversionError, WeightsUnavailableError
from models.export import one_line
from models.images import sample_photographs, to_input
from models.zoo import ZooModel

_FETCH_TIMEOUT_S = 30.0
_LOGIT_SPREAD = 2.0
_FEATURES_BATCH = 8


WeightsSource = Literal["imagenet", "random"] | Path


def check_weights(zoo_model: ZooModel, weights: WeightsSource) -> None:
    """Refuse, before anything slow, what cannot be: WeightsUnavailableError or ConversionError."""
    if weights == "imagenet" and not zoo_model.has_imagenet_weights:
        raise WeightsUnavailableError(
            f"Keras has no ImageNet weights for {zoo_model.name}: give --weights random or --weights FILE"
        )
    if isinstance(weights, Path) and not weights.is_file():
        raise ConversionError(f"there is no file of weights {weights}; give imagenet, random or a file")


def with_imagenet_weights(zoo_model: ZooModel) -> Any:
    """The Keras model with ImageNet's weights; WeightsUnavailableError where they cannot be fetched."""
    try:
        with _bounded_waits():
            return zoo_model.build("imagenet")
    # Keras raises a bare Exception where it cannot fetch, and h5py an OSError where a fetched file is cut short.
    except Exception as error:
        raise WeightsUnavailableError(
            f"the ImageNet weights of {zoo_model.name} cannot be had ({one_line(error)}): "
            "give --weights random, whose classes mean nothing, or --weights FILE"
        ) from error


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes; empty where Keras cannot fetch them."""
    from keras.applications.imagenet_utils import decode_predictions  # noqa: PLC0415  # only conversion needs Keras

    try:
        with _bounded_waits():
            decoded = decode_predictions(np.eye(1000, dtype=np.float32), top=1)
    # As above: a bare Exception.
    except Exception:
        return ()
    return tuple(best[0][1].replace("_", " ") for best in decoded)


def with_weights_from(zoo_model: ZooModel, path: Path) -> Any:
    """The Keras model with the weights of a .weights.h5, .h5 or .keras file; ConversionError where they do not fit."""
    model = zoo_model.build(None)
    try:
        model.load_weights(path)
    # Keras and h5py raise many kinds, none of them documented.
    except Exception as error:
        raise ConversionError(f"{path} does not hold weights of {zoo_model.name}: {one_line(error)}") from error
    return model


def with_random_weights(zoo_model: ZooModel, seed: int) -> Any:
    """The Keras model with weights drawn from `seed`, such that its answer depends on the image.

    Kernels are drawn after He et al., "Delving Deep into Rectifiers" (2015). A random network's outputs would
    yet be nearly the same for every image: so each batch normalisation takes its statistics, and the last layer its
    bias and scale, from the sample photographs.
    """
    model = zoo_model.build(None)
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            _draw_kernel(layer, generator)
    shape = (1, *model.input_shape[1:])
    samples = calibration_samples(sample_photographs())
    batch = np.concatenate(
        [to_input(sample, shape, np.float32, preprocessing=zoo_model.preprocessing) for sample in samples]
    )
    _set_batch_statistics(model, batch)
    _spread_logits(model, batch)
    return model


def _draw_kernel(layer: Any, generator: np.random.Generator) -> None:
    shape = tuple(layer.kernel.shape)
    # A depthwise kernel (height, width, channels, 1) reads one channel.
    depthwise = "Depthwise" in type(layer).__name__
    fan_in = int(np.prod(shape[:2])) if depthwise else int(np.prod(shape[:-1]))
    kernel = generator.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2.0 / fan_in))
    layer.kernel.assign(kernel)


def _set_batch_statistics(model: Any, batch: NDArray[np.float32]) -> None:
    normalisations = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    if not normalisations:
        return
    for layer in normalisations:
        layer.momentum = 0.0
    model(batch, training=True)
    for layer in normalisations:
        layer.moving_mean.assign(_rounded(np.asarray(layer.moving_mean)))
        layer.moving_variance.assign(_rounded(np.asarray(layer.moving_variance)))


def _spread_logits(model: Any, batch: NDArray[np.float32]) -> None:
    """Give the last layer's outputs, over the batch, a mean of 0 and a spread of 2 before the softmax."""
    from keras import Model  # noqa: PLC0415  # only conversion needs Keras

    last = model.layers[-1]
    features = Model(model.inputs, last.input).predict(batch, batch_size=_FEATURES_BATCH, verbose=0)
    kernel = np.asarray(last.kernel)
    logits = features @ kernel
    scale = _rounded(np.float32(_LOGIT_SPREAD / logits.std(axis=0).mean()))
    last.kernel.assign(kernel * scale)
    last.bias.assign(_rounded(-logits.mean(axis=0) * scale))


def _rounded(values: Any) -> NDArray[np.float32]:
    """To 10 bits: what the order of a sum changes in the last bits must not change the file."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float32))
    return np.ldexp(np.rint(mantissa * 1024.0) / 1024.0, exponent).astype(np.float32)


@contextlib.contextmanager
def _bounded_waits() -> Iterator[None]:
    """Keras opens its addresses without a timeout; so give every new socket one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_FETCH_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
