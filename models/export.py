"""A Keras model or SavedModel brought into one form: a SavedModel on the disk with one signature, of batch 1.

Imports TensorFlow when it is asked to; making a .tflite from the export is `models.convert`.
"""

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ConversionError


@dataclass(frozen=True, slots=True)
class Exported:
    """A SavedModel on the disk whose one signature has the batch 1, and the shapes and types of its inputs."""

    directory: Path
    input_shapes: tuple[tuple[int | None, ...], ...]
    input_dtypes: tuple[str, ...]


def load_tensorflow() -> Any:
    """TensorFlow, with its own log turned down and Keras set as the conversion needs it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN's kernels sum in an order that depends on the processor; the same seed is to give the same file.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        tensorflow = importlib.import_module("tensorflow")
        keras = importlib.import_module("keras")
    except ModuleNotFoundError as error:
        raise ConversionError(
            f"converting needs the package {error.name!r}: pip install 'splitrail[convert]'"
        ) from error
    tensorflow.get_logger().setLevel("ERROR")
    keras.config.disable_interactive_logging()
    keras.config.set_image_data_format("channels_last")
    return tensorflow


def load_keras(path: Path) -> Any:
    """The Keras model in a .keras or .h5 file; ConversionError says why it cannot be loaded."""
    keras = importlib.import_module("keras")
    try:
        return keras.saving.load_model(path, compile=False)
    # Keras and h5py raise many kinds, none of them documented.
    except Exception as error:
        raise ConversionError(f"{path} cannot be loaded as a Keras model: {one_line(error)}") from error


def export_keras(model: Any, directory: Path) -> Exported:
    """Export a Keras model into an empty directory; ConversionError if its inputs have no shapes yet."""
    keras = importlib.import_module("keras")

    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ConversionError(
            f"the Keras model {model.name!r} does not tell its inputs' shapes, as functional and Sequential models do; "
            "export it as a SavedModel and convert that"
        )
    specs = [keras.InputSpec(shape=(1, *tensor.shape[1:]), dtype=tensor.dtype, name=tensor.name) for tensor in inputs]
    # A functional model over the same layers, whatever structure the inputs of this one had.
    alone = len(specs) == 1
    functional = keras.Model(inputs[0] if alone else inputs, model.outputs)
    functional.export(directory, verbose=False, input_signature=specs if alone else [specs])
    return Exported(directory, tuple(tuple(spec.shape) for spec in specs), tuple(spec.dtype for spec in specs))


def export_saved_model(tensorflow: Any, source: Path, directory: Path) -> Exported:
    """Export the serving signature of the SavedModel `source`, traced anew; ConversionError if it has none."""
    try:
        loaded = tensorflow.saved_model.load(str(source))
    # TensorFlow raises many kinds, down to bare RuntimeErrors.
    except Exception as error:
        raise ConversionError(f"{source} cannot be loaded as a SavedModel: {one_line(error)}") from error
    signatures = dict(loaded.signatures)
    if "serving_default" not in signatures and len(signatures) != 1:
        found = f"only {', '.join(signatures)}" if signatures else "none at all"
        raise ConversionError(f"{source} has no signature named serving_default, but {found}; save it with that one")
    serving = signatures.get("serving_default") or next(iter(signatures.values()))
    specs = {
        name: tensorflow.TensorSpec(_at_batch_one(spec.shape), spec.dtype, name=name)
        for name, spec in serving.structured_input_signature[1].items()
    }
    module = tensorflow.Module()
    # The variables belong to what was loaded; the module keeps hold of them.
    module.loaded = loaded
    traced = tensorflow.function(serving).get_concrete_function(**specs)
    tensorflow.saved_model.save(module, str(directory), signatures=traced)
    return Exported(
        directory,
        tuple(tuple(spec.shape.as_list()) if spec.shape.rank is not None else () for spec in specs.values()),
        tuple(spec.dtype.name for spec in specs.values()),
    )


def _at_batch_one(shape: Any) -> Any:
    if shape.rank is None or shape.rank == 0 or shape[0] is not None:
        return shape
    return [1, *shape[1:]]


def one_line(error: Exception) -> str:
    """The first sentence of a message that may fill pages."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(". :")[:300]
