"""`splitrail convert`: a .tflite from a zoo model, a Keras file or a SavedModel; `models.convert` does the work."""

import argparse
import contextlib
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from models.convert import QUANTIZE_CHOICES, convert_model, convert_zoo_model
from models.errors import ConversionError
from models.preprocessing import PREPROCESSINGS, split_labels
from models.runtime import runtime_identity
from models.weights import WeightsSource
from models.zoo import ZOO, find_zoo_model
from splitrail.commands.needed_package import package_needed

EXAMPLE = "splitrail convert mobilenetv2 --quantize int8 -o mobilenetv2.tflite"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="SOURCE", help=f"{', '.join(ZOO)}, a .keras file or a SavedModel directory")
    parser.add_argument(
        "--quantize",
        choices=QUANTIZE_CHOICES,
        default="none",
        help="none: 32-bit floats; fp16: weights in 16 bits; dynamic: weights in 8 bits; "
        "int8: all in 8 bits, int8 input and output included (default: none)",
    )
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the .tflite file to write")
    parser.add_argument(
        "--weights",
        metavar="imagenet|random|FILE",
        help="of a zoo model: ImageNet's, fetched by Keras (the default), random ones, or those in a file",
    )
    parser.add_argument("--seed", type=int, help="of random weights; the same seed draws the same ones (default: 0)")
    parser.add_argument(
        "--images",
        metavar="PLACE",
        type=Path,
        nargs="+",
        default=[],
        help="images, or directories of them, that int8 is calibrated on, and that --evaluate runs "
        "(default: scikit-learn's two photographs)",
    )
    parser.add_argument(
        "--preprocessing",
        choices=PREPROCESSINGS,
        help="how a model of your own wants its pixels, by Keras's names (default: none recorded, and tf assumed)",
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="measure then what packing the tensors at each cut saves, takes and changes, as `splitrail profile "
        "--codecs` does, and keep that in OUT's .codecs.json",
    )
    parser.add_argument("--labels", metavar="FILE", type=Path, help="the names of the classes, one a line, to record")


def run(arguments: argparse.Namespace) -> int:
    """Convert, with progress on stderr, and print the path of the file that was written."""
    labels = _read_labels(arguments.labels)
    if arguments.evaluate:
        _check_evaluation()
    # Images of an evaluation alone do not calibrate anything.
    images = arguments.images if arguments.quantize == "int8" or not arguments.evaluate else []
    with _own_stderr() as stderr:

        def report(step: str) -> None:
            print(f"{step} ...", file=stderr, flush=True)

        if _is_path(arguments.source):
            if arguments.weights is not None or arguments.seed is not None:
                raise ConversionError(
                    f"--weights and --seed are for zoo models; {arguments.source} has its own weights"
                )
            convert_model(
                Path(arguments.source),
                arguments.quantize,
                arguments.output,
                images=images,
                preprocessing=PREPROCESSINGS[arguments.preprocessing] if arguments.preprocessing else None,
                labels=labels,
                report=report,
            )
        else:
            zoo_model = find_zoo_model(arguments.source)
            if arguments.preprocessing is not None:
                raise ConversionError(f"--preprocessing is for models of your own; {zoo_model.name} has its own")
            convert_zoo_model(
                zoo_model.name,
                arguments.quantize,
                _weights_source(arguments.weights),
                arguments.output,
                images=images,
                labels=labels,
                seed=arguments.seed or 0,
                report=report,
            )
    print(arguments.output)
    if arguments.evaluate:
        _evaluate(arguments.output, arguments.images)
    return 0


def _check_evaluation() -> None:
    """Say now, and not after minutes of converting, what the evaluation lacks."""
    with package_needed("`splitrail convert --evaluate`", "agent"):
        importlib.import_module("splitrail.commands.codec_table")
    runtime_identity()


def _evaluate(model: Path, images: Sequence[Path]) -> None:
    from splitrail.commands.codec_table import measure_codecs, print_table  # noqa: PLC0415  # an agent's packages

    print_table(model, measure_codecs(model, images))


def _is_path(source: str) -> bool:
    return source not in ZOO and (Path(source).exists() or os.sep in source or bool(Path(source).suffix))


def _weights_source(given: str | None) -> WeightsSource:
    if given is None or given == "imagenet":
        return "imagenet"
    return "random" if given == "random" else Path(given)


def _read_labels(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return split_labels(path.read_bytes())
    except OSError as error:
        raise ConversionError(f"cannot read the labels in {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def _own_stderr() -> Iterator[TextIO]:
    """The real stderr, while what TensorFlow's C++ and Python write to it goes nowhere."""
    sys.stderr.flush()
    real = os.dup(2)
    try:
        with tempfile.TemporaryFile() as noise, warnings.catch_warnings(), os.fdopen(os.dup(real), "w") as stderr:
            warnings.simplefilter("ignore")
            os.dup2(noise.fileno(), 2)
            yield stderr
    finally:
        sys.stderr.flush()
        os.dup2(real, 2)
        os.close(real)
