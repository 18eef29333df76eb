"""Makes a .tflite file of batch 1 from a zoo model, a Keras file or a SavedModel, quantised as asked.

TensorFlow is imported when a conversion begins. That takes seconds and gigabytes of a process: a long-lived one had
better run `splitrail convert`.
"""

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.calibration import calibration_samples, find_images
from models.errors import ConversionError, ImageError, ModelError
from models.export import Exported, export_keras, export_saved_model, load_keras, load_tensorflow, one_line
from models.images import sample_photographs, to_input
from models.metadata import attach_metadata
from models.preprocessing import Preprocessing, metadata_entries
from models.weights import (
    WeightsSource,
    check_weights,
    imagenet_labels,
    with_imagenet_weights,
    with_random_weights,
    with_weights_from,
)
from models.zoo import find_zoo_model

Quantize = Literal["none", "fp16", "dynamic", "int8"]
QUANTIZE_CHOICES: tuple[Quantize, ...] = get_args(Quantize)

Report = Callable[[str], None]
"""Told each step that takes more than a second, before it begins."""


_CONVERTING = {
    "none": "converting",
    "fp16": "converting, with weights in 16 bits",
    "dynamic": "converting, with weights in 8 bits",
    "int8": "converting to int8, calibrated on images",
}
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNSUPPORTED_OPS = re.compile(r"(?:TF Select|Flex|Custom) ops: ([\w, ]+)")
_UNQUANTIZED_OP = re.compile(r"[Qq]uantization not yet supported for op: '?([\w, ]+)'?")


def _say_nothing(_step: str) -> None: ...


def convert_zoo_model(
    name: str,
    quantize: Quantize,
    weights: WeightsSource,
    out: Path,
    *,
    images: Sequence[Path] = (),
    labels: Sequence[str] = (),
    seed: int = 0,
    report: Report = _say_nothing,
) -> None:
    """Write a zoo model to `out`, with its preprocessing and, for ImageNet's weights, its labels in the metadata.

    Without `images`, int8 is calibrated on the sample photographs. The same `seed` draws the same random weights.
    WeightsUnavailableError where ImageNet's weights cannot be had; ConversionError, ImageError otherwise.
    """
    zoo_model = find_zoo_model(name)
    check_weights(zoo_model, weights)
    _check_out(out)
    photographs = _calibration_photographs(quantize, images)
    report("loading TensorFlow")
    tensorflow = load_tensorflow()
    if weights == "imagenet":
        report(f"fetching the ImageNet weights of {name}, unless Keras has them")
        model = with_imagenet_weights(zoo_model)
        labels = labels or imagenet_labels()
    elif weights == "random":
        report(f"drawing random weights for {name}")
        model = with_random_weights(zoo_model, seed)
    else:
        report(f"loading {weights}")
        model = with_weights_from(zoo_model, weights)
    with tempfile.TemporaryDirectory(prefix="splitrail-convert-") as scratch:
        report(f"tracing {name}")
        exported = export_keras(model, Path(scratch))
        report(_CONVERTING[quantize])
        content = _tflite(tensorflow, exported, quantize, photographs, zoo_model.preprocessing)
    _write(out, content, metadata_entries(zoo_model.preprocessing, labels))


def convert_model(
    source: Path,
    quantize: Quantize,
    out: Path,
    *,
    images: Sequence[Path] = (),
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] = (),
    report: Report = _say_nothing,
) -> None:
    """Write the Keras file (.keras, .h5) or SavedModel directory `source` to `out`.

    `preprocessing` and `labels` are recorded in the metadata, where they are given, and the former is used in
    calibration. ConversionError says what of the source cannot be converted.
    """
    _check_source(source)
    _check_out(out)
    photographs = _calibration_photographs(quantize, images)
    report("loading TensorFlow")
    tensorflow = load_tensorflow()
    with tempfile.TemporaryDirectory(prefix="splitrail-convert-") as scratch:
        report(f"loading {source}")
        if source.is_dir():
            exported = export_saved_model(tensorflow, source, Path(scratch))
        else:
            exported = export_keras(load_keras(source), Path(scratch))
        report(_CONVERTING[quantize])
        content = _tflite(tensorflow, exported, quantize, photographs, preprocessing)
    _write(out, content, metadata_entries(preprocessing, labels))


def _check_source(source: Path) -> None:
    if source.is_dir():
        if not (source / "saved_model.pb").is_file():
            raise ConversionError(f"the directory {source} is no SavedModel: it has no saved_model.pb")
    elif not source.is_file():
        raise ConversionError(f"there is no file or directory {source}")
    elif source.suffix not in (".keras", ".h5"):
        raise ConversionError(
            f"{source} is no .keras file; a Keras file, a SavedModel directory or a zoo model is needed"
        )
    else:
        with source.open("rb") as file:
            is_hdf5 = file.read(len(_HDF5_SIGNATURE)) == _HDF5_SIGNATURE
        # A zip archive's directory stands at its end, so that one which was cut short is none.
        if not is_hdf5 and not zipfile.is_zipfile(source):
            raise ConversionError(
                f"{source} is not what Keras writes, a whole zip archive or HDF5; save or copy the model again"
            )


def _check_out(out: Path) -> None:
    if out.is_dir():
        raise ConversionError(f"{out} is a directory; the output needs the name of a file")
    if not out.parent.is_dir():
        raise ConversionError(f"the directory {out.parent} of the output does not exist; make it first")


def _calibration_photographs(quantize: Quantize, images: Sequence[Path]) -> tuple[Path, ...]:
    if quantize != "int8":
        if images:
            raise ConversionError(f"images calibrate int8; --quantize {quantize} has no use for {images[0]}")
        return ()
    return find_images(images) if images else sample_photographs()


def _tflite(
    tensorflow: Any,
    exported: Exported,
    quantize: Quantize,
    photographs: Sequence[Path],
    preprocessing: Preprocessing | None,
) -> bytes:
    """The content of the .tflite file, without our metadata."""
    converter = tensorflow.lite.TFLiteConverter.from_saved_model(str(exported.directory))
    if quantize != "none":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if quantize == "dynamic":
        # One scale for a dense layer's weights: with one a channel, tflite-runtime 2.14 (32-bit Arm) refuses the op.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if quantize == "fp16":
        converter.target_spec.supported_types = [tensorflow.float16]
    if quantize == "int8":
        samples = _calibration_inputs(exported, photographs, preprocessing)
        converter.representative_dataset = lambda: ([sample] for sample in samples())
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tensorflow.int8
        converter.inference_output_type = tensorflow.int8
    try:
        return bytes(converter.convert())
    # The converter raises its own kinds and TensorFlow's, some without a common root.
    except Exception as error:
        raise ConversionError(_why_not_convertible(error, quantize)) from error


def _calibration_inputs(
    exported: Exported, photographs: Sequence[Path], preprocessing: Preprocessing | None
) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """What gives the model's input for each calibration image, as often as it is called."""
    if len(exported.input_shapes) != 1 or exported.input_dtypes != ("float32",) or None in exported.input_shapes[0]:
        described = ", ".join(
            f"{dtype} {shape}" for shape, dtype in zip(exported.input_shapes, exported.input_dtypes, strict=True)
        )
        raise ConversionError(
            f"int8 is calibrated on images, which need one float32 input of a fixed shape, and the model takes "
            f"{described}; use --quantize dynamic"
        )
    shape = tuple(size for size in exported.input_shapes[0] if size is not None)
    try:
        samples = [
            to_input(sample, shape, np.float32, preprocessing=preprocessing)
            for sample in calibration_samples(photographs)
        ]
    except ImageError as error:
        raise ConversionError(f"int8 cannot be calibrated: {error}") from error
    return lambda: iter(samples)


def _why_not_convertible(error: Exception, quantize: Quantize) -> str:
    text = str(error)
    named = sorted({op for match in _UNSUPPORTED_OPS.finditer(text) for op in re.findall(r"\w+", match[1])})
    if named:
        return (
            f"the model needs ops that TensorFlow Lite's own set lacks ({', '.join(named)}); the runtimes on the nodes "
            "have no Flex or custom ops, so express them by others"
        )
    unquantized = _UNQUANTIZED_OP.search(text)
    if unquantized:
        return f"the op {unquantized[1].strip()} cannot be quantised to int8; use --quantize dynamic or fp16"
    return f"TensorFlow cannot convert the model with --quantize {quantize}: {one_line(error)}"


def _write(out: Path, content: bytes, entries: dict[str, bytes]) -> None:
    """Put the file in place at once, so that no reader ever sees half of it."""
    try:
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp") as unlabelled:
            unlabelled.write(content)
            unlabelled.flush()
            attach_metadata(Path(unlabelled.name), entries, out)
    except ModelError:
        raise
    except OSError as error:
        raise ConversionError(f"cannot write {out}: {error.strerror or error}") from error
